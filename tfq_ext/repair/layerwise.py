"""Layer by layer: the float network and its quantized prefix side by side, one op at a time.

Only the tensors that later ops still need are in memory, for all samples at once. Choosing a range
(or, later, rounding a weight) here sees the errors that everything before it has made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.slice import Bench, can_cut

Values = dict[int, np.ndarray]  # tensor index -> array


def walkable(graph: Graph) -> bool:
    """Whether every op can run on its own (no control flow, state or custom ops)."""
    return all(can_cut(graph, k) for k in range(len(graph.ops)))


def with_codes(pivot: Model, weights: Mapping[str, WeightCodes]) -> Model:
    """The pivot with each weight replaced by the reals that its codes stand for."""
    return with_constants(pivot, {n: w.params.decode(w.codes) for n, w in weights.items()})


def with_constants(pivot: Model, values: Mapping[str, np.ndarray]) -> Model:
    """A copy of the model with other values, float32, for the constants named."""
    model = pivot.copy()
    for graph in model.graphs:
        for name, reals in values.items():
            tensor = graph.by_name.get(name)
            if tensor is not None and graph.is_constant(tensor):
                set_constant(graph, tensor, reals)
    return model


def set_constant(graph: Graph, tensor: int, reals: np.ndarray) -> None:
    """Give a float32 constant other values, in a buffer of its own."""
    raw = np.ascontiguousarray(reals, np.float32).reshape(-1).view(np.uint8)
    graph.tensors[tensor].buffer = patch.add_buffer(graph.model, raw)


class Walk:
    """Two runs of one subgraph in step.

    Args:
        graph: the float subgraph.
        rounded: the same subgraph with rounded weights.
        feeds: the graph's inputs, one mapping a sample.
        threads: LiteRT threads.

    `real[i]` and `rough[i]` hold sample i's live tensors: float, and in the quantized prefix.
    Tensors in `kept` stay although every reader has run.
    """

    def __init__(
        self, graph: Graph, rounded: Graph, feeds: Sequence[Values], *, threads: int = 2
    ) -> None:
        self.graph, self._rounded, self._threads = graph, rounded, threads
        self.kept: set[int] = set()
        self.real: list[Values] = [dict(f) for f in feeds]
        self.rough: list[Values] = [dict(f) for f in feeds]
        self._benches: dict[tuple[int, bool], Bench] = {}
        self._last = _last_use(graph)

    def bench(self, k: int, *, rounded: bool) -> Bench:
        """Op `k` on its own interpreter, kept until the walk has passed it."""
        key = (k, rounded)
        if key not in self._benches:
            graph = self._rounded if rounded else self.graph
            self._benches[key] = Bench(graph, k, threads=self._threads)
        return self._benches[key]

    def change(self, k: int, constant: int, reals: np.ndarray) -> None:
        """Give op `k` of the rounded graph another constant."""
        set_constant(self._rounded, constant, reals)
        self._benches.pop((k, True), None)

    def step(self, k: int) -> None:
        """Run op `k` on all samples, in both networks; its results join the live tensors."""
        self.step_real(k)
        self.step_rough(k)

    def step_real(self, k: int) -> None:
        """Op `k` in the float network."""
        self._run(self.bench(k, rounded=False), self.real)

    def step_rough(self, k: int) -> None:
        """Op `k` in the quantized prefix; again, after a `change`."""
        self._run(self.bench(k, rounded=True), self.rough)

    def _run(self, bench: Bench, live: list[Values]) -> None:
        for values in live:
            bench.set({t: values[t] for t in bench.feeds})
            values.update(bench.run_all())

    def forget(self, k: int) -> None:
        """Drop op `k`'s benches and the tensors that nobody reads after it."""
        self._benches.pop((k, False), None)
        self._benches.pop((k, True), None)
        for tensor in set(self._last.get(k, ())) - self.kept:
            for values in (*self.real, *self.rough):
                values.pop(tensor, None)


def _last_use(graph: Graph) -> dict[int, list[int]]:
    """op index -> tensors whose last reader it is (or that nobody reads); outputs are kept."""
    last: dict[int, int] = {}
    for k, op in enumerate(graph.ops):
        for t in (*op.inputs, *op.outputs):
            last[int(t)] = k
    table: dict[int, list[int]] = {}
    for tensor, k in last.items():
        if tensor >= 0 and tensor not in graph.outputs:
            table.setdefault(k, []).append(tensor)
    return table
