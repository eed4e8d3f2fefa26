"""An op's own error: the candidate's op fed with the reference's values."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.slice import Bench, can_cut
from tfq_ext.validation.comparison.nodes import View
from tfq_ext.validation.comparison.tensors import constant_real, grid_of, is_real

Read = Callable[[int], np.ndarray]


class Feeds:
    """What the candidate's tensors would hold if all before them were exact.

    Args:
        view: the candidate.
        known: candidate tensor -> reference tensor.
    """

    def __init__(self, view: View, known: Mapping[int, int]):
        self.view, self.known = view, known
        self._constants: dict[int, np.ndarray] = {}
        self._memo: dict[int, np.ndarray] = {}

    def source(self, tensor: int) -> int | None:
        """The reference's tensor that stands behind a candidate's; None if there is none."""
        return self.known.get(tensor, self.known.get(self.view.origin(tensor)))

    def missing(self, tensor: int) -> str:
        """Why a tensor cannot be fed; "" if it can."""
        graph = self.view.graph
        if tensor in self.view.static:
            return "" if self._constant(tensor) is not None else "a constant of unknown layout"
        if not is_real(graph, tensor):
            return ""
        if grid_of(graph, tensor) is None:
            return f"{graph.dtype(tensor)} without one usable scale"
        if self.source(tensor) is None:
            return "no counterpart in the reference"
        return ""

    def _constant(self, tensor: int) -> np.ndarray | None:
        if tensor not in self._constants:
            real = constant_real(self.view.graph, tensor)
            if real is None:
                return None
            dtype = self.view.graph.dtype(tensor)
            grid = grid_of(self.view.graph, tensor)
            if grid is None:
                return None
            self._constants[tensor] = grid.encode(real, np.dtype(dtype))
        return self._constants[tensor]

    def forget(self) -> None:
        """Drop the sample's values: LiteRT refuses to run while somebody holds a view."""
        self._memo.clear()

    def value(self, tensor: int, reference: Read, candidate: Read) -> np.ndarray:
        """What to feed; ids, masks and shapes are the candidate's own."""
        if tensor in self.view.static:
            found = self._constant(tensor)
            assert found is not None
            return found
        source = self.source(tensor)
        if source is None or not is_real(self.view.graph, tensor):
            return np.array(candidate(tensor))
        if tensor not in self._memo:
            grid = grid_of(self.view.graph, tensor)
            assert grid is not None
            dtype = np.dtype(self.view.graph.dtype(tensor))
            self._memo[tensor] = grid.encode(np.asarray(reference(source), np.float32), dtype)
        return self._memo[tensor]


class Own:
    """The candidate's ops, each on a bench of its own.

    Args:
        view: the candidate.
        ops: indices.
        feeds: where values come from.

    `reasons` says of every op without a bench why it has none.
    """

    def __init__(self, view: View, ops: list[int], feeds: Feeds, *, threads: int = 1):
        self.reasons: dict[int, str] = {}
        self.benches: dict[int, Bench] = {}
        self._feeds = feeds
        for k in ops:
            why = self._open(view.graph, k, threads)
            if why:
                self.reasons[k] = why

    def _open(self, graph: Graph, k: int, threads: int) -> str:
        code = graph.code(graph.ops[k])
        if not can_cut(graph, k):
            return f"{code} needs the rest of the model: state, control flow or a custom kernel"
        for t in dict.fromkeys(int(i) for i in graph.ops[k].inputs if i >= 0):
            if not graph.is_constant(t) and (why := self._feeds.missing(t)):
                return f"its input {graph.name(t)!r}: {why}"
        try:
            self.benches[k] = Bench(graph, k, threads=threads)
        except (ModelError, RuntimeError, ValueError) as error:
            return f"LiteRT does not take {code} on its own: {_first_line(error)}"
        return ""

    def run(self, k: int, reference: Read, candidate: Read) -> dict[int, np.ndarray] | None:
        """Outputs of op `k` by tensor; None where LiteRT refuses (then it is in `reasons`)."""
        bench = self.benches[k]
        try:
            values = {t: self._feeds.value(t, reference, candidate) for t in bench.feeds}
            bench.set(values)
            if len(bench.results) == 1:
                return {bench.results[0]: bench.run()}
            return bench.run_all()
        except (ModelError, RuntimeError, ValueError) as error:
            self.reasons[k] = f"LiteRT does not run it on its own: {_first_line(error)}"
            del self.benches[k]
            return None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]
