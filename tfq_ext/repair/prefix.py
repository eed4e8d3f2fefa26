"""`auto`, second look: choose each range on the quantized prefix, layer by layer.

A range that is best for float inputs need not be best for the inputs that the integer file will
see: on MobileNetV2 the residual sums fall on two lattices whose rounding shifts whole channels.
Judged on the prefix, with rounded weights, the logits gained 0.4 to 5 dB (20 held-back images).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from tfq_ext.repair.auto import Trial, logit_error, relative_error, rounded
from tfq_ext.repair.layerwise import Values, Walk
from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.spec import QParams, Range
from tfq_ext.tflite.read import Graph

Between = Callable[[Walk, int], bool]  # see PrefixJudge
FACTORS = (0.8, 0.9, 1.1, 1.25)  # neighbours of the winner that are tried too


class PrefixJudge:
    """One walk through a subgraph that settles the ranges of its trials.

    Args:
        graph: the float subgraph.
        rounded_graph: the same with rounded weights.
        feeds: graph inputs, one mapping a sample.
        trials: by the tensor that is produced first; each for a grid of one source.
        grids: tensor -> grid of everything that is decided already (fixed outputs, overrides).
        judges: how many of the feeds judge ranges, the first ones; None: all.
        between: called with the walk and an op's index when the op has run in the float network
            and not yet in the other; it may change the rounded graph (`Walk.change`), and says
            whether it has run the op there itself.
    """

    def __init__(
        self,
        graph: Graph,
        rounded_graph: Graph,
        feeds: Sequence[Values],
        trials: Mapping[int, Trial],
        grids: Mapping[int, QParams],
        *,
        judges: int | None = None,
        between: Between | None = None,
        threads: int = 2,
    ) -> None:
        self.walk = Walk(graph, rounded_graph, feeds, threads=threads)
        self._judges = len(feeds) if judges is None else judges
        self._between = between
        self.graph, self.trials, self.grids = graph, trials, dict(grids)
        self._wanted: dict[tuple[int, int], np.ndarray] = {}

    def run(self, watch: Watch = unwatched) -> Iterator[tuple[Trial, str, Range, float]]:
        """Walk the ops in order; yields (trial, name of the winner, range, its noise).

        Args:
            watch: shows the ops as they are passed.
        """
        for tensor in self.graph.inputs:
            yield from self._arrive(tensor)
        ops = self.graph.ops
        for k, op in watch(enumerate(ops), label="rounding layers", total=len(ops)):
            self.walk.step_real(k)
            if self._between is None or not self._between(self.walk, k):
                self.walk.step_rough(k)
            for tensor in op.outputs:
                yield from self._arrive(int(tensor))
            self.walk.forget(k)

    def _arrive(self, tensor: int) -> Iterator[tuple[Trial, str, Range, float]]:
        """Settle the tensor's range if it is open, then put its rough values on the grid."""
        trial = self.trials.get(tensor)
        if trial is not None:
            name, chosen, noise = self._settle(tensor, trial)
            grid = QParams.from_range(trial.spec, chosen)
            self.grids |= dict.fromkeys(trial.grid.tensors, grid)
            yield trial, name, chosen, noise
        if tensor in self.grids:
            for values in self.walk.rough:
                x = values[tensor]
                values[tensor] = rounded(x, self.grids[tensor], np.empty_like(x))

    def _settle(self, tensor: int, trial: Trial) -> tuple[str, Range, float]:
        self._wanted.clear()
        scored = [
            (self._noise(tensor, trial, r), name, r)
            for name, r in zip(trial.names, trial.ranges, strict=True)
        ]
        for name, r in self._lattice_mates(tensor, trial):
            scored.append((self._noise(tensor, trial, r), name, r))
        best = min(scored, key=lambda row: row[0])
        for factor in FACTORS:
            r = best_neighbour(best[2], factor, trial.ranges[0]) | trial.tightest
            noise = self._noise(tensor, trial, r)
            scored.append((noise, f"{best[1]} x {factor:g}", r))
        noise, name, r = min(scored, key=lambda row: row[0])
        self._wanted.clear()
        return name, r, noise

    def _lattice_mates(self, tensor: int, trial: Trial) -> Iterator[tuple[str, Range]]:
        """Ranges with the scale of a tensor that this one is added to, or is the sum of.

        A sum of two lattices with one step lies on that lattice: ADD then rounds nothing.
        """
        widest = trial.ranges[0]
        codes = trial.spec.qmax - trial.spec.qmin
        for mate in dict.fromkeys(self._summed_with(tensor)):
            if mate in self.grids:
                width = codes * float(self.grids[mate].scale)
                lo = widest.min * width / widest.width
                r = Range(lo, lo + width)
                if r | trial.tightest == r:
                    yield f"scale of {self.graph.name(mate)}", r

    def _summed_with(self, tensor: int) -> Iterator[int]:
        near = [self.graph.producer.get(tensor), *self.graph.consumers.get(tensor, ())]
        for k in near:
            if k is not None and self.graph.code(self.graph.ops[k]) in ("ADD", "SUB"):
                op = self.graph.ops[k]
                yield from (int(t) for t in (*op.inputs, *op.outputs) if t != tensor)

    def _noise(self, tensor: int, trial: Trial, r: Range) -> float:
        """Mean relative error at the readers that can run already; at the tensor itself if none."""
        grid, members = QParams.from_range(trial.spec, r), set(trial.grid.tensors)
        total = 0.0
        for i, rough in enumerate(self.walk.rough[: self._judges]):
            on_grid = rounded(rough[tensor], grid, np.empty_like(rough[tensor]))
            errors = list(self._reader_errors(i, {tensor: on_grid}, members))
            if not errors:
                errors = [self._own_error(i, tensor, on_grid)]
            total += sum(errors)
        return total / max(self._judges, 1)

    def _own_error(self, i: int, tensor: int, on_grid: np.ndarray) -> float:
        """Relative error of a tensor that nobody reads; of logits with what softmax sees of it."""
        real = self.walk.real[i][tensor]
        error = relative_error(on_grid, real)
        return error + logit_error(on_grid, real) if tensor in self.graph.outputs else error

    def _reader_errors(self, i: int, made: Values, members: set[int]) -> Iterator[float]:
        """Errors at the outputs of everything that reads `made`, through PAD, RESHAPE, ..."""
        rough = {**self.walk.rough[i], **made}
        real = self.walk.real[i]
        for k in dict.fromkeys(k for t in made for k in self.graph.consumers.get(t, ())):
            op = self.graph.ops[k]
            bench = self.walk.bench(k, rounded=True)
            if (
                any(t not in rough for t in bench.feeds)
                or self.graph.dtype(op.outputs[0]) != "float32"
            ):
                continue
            bench.set({t: rough[t] for t in bench.feeds})
            if int(op.outputs[0]) in members:
                yield from self._reader_errors(i, bench.run_all(), members)
                continue
            wanted = self._float_output(i, k, real)
            if wanted is not None:
                yield relative_error(bench.run(), wanted)

    def _float_output(self, i: int, k: int, real: Values) -> np.ndarray | None:
        """What op `k` gives in the float network; computed once a sample, PADs before it too."""
        if (i, k) not in self._wanted:
            bench = self.walk.bench(k, rounded=False)
            values = dict(real)
            for t in bench.feeds:
                if t not in values and not self._derive(t, values):
                    return None
            bench.set({t: values[t] for t in bench.feeds})
            self._wanted[i, k] = np.array(bench.run())
        return self._wanted[i, k]

    def _derive(self, tensor: int, values: Values) -> bool:
        """Compute `tensor` and what it needs from live values; False when something is missing."""
        k = self.graph.producer.get(tensor)
        if k is None:
            return False
        bench = self.walk.bench(k, rounded=False)
        if any(t not in values and not self._derive(t, values) for t in bench.feeds):
            return False
        bench.set({t: values[t] for t in bench.feeds})
        values.update(bench.run_all())
        return True


def best_neighbour(r: Range, factor: float, limit: Range) -> Range:
    """`r` stretched by `factor`, inside what was observed."""
    return Range(max(r.min * factor, limit.min), min(r.max * factor, limit.max))


def judges_that_fit(graph: Graph, budget: float = 2**30) -> int:
    """How many samples a walk can hold in `budget` bytes: the peak of live tensors, four times
    (float, rough, references, candidates)."""
    size = {t: 4.0 * np.prod([max(d, 1) for d in graph.shape(t)]) for t in _floats(graph)}
    last = {int(t): k for k, op in enumerate(graph.ops) for t in (*op.inputs, *op.outputs)}
    ends: dict[int, float] = {}
    for t, k in last.items():
        ends[k] = ends.get(k, 0.0) + size.get(t, 0.0)
    live = sum(size.get(t, 0.0) for t in graph.inputs)
    peak = live
    for k, op in enumerate(graph.ops):
        live += sum(size.get(int(t), 0.0) for t in op.outputs)
        peak = max(peak, live)
        live -= ends.get(k, 0.0)
    return max(4, int(budget / max(4 * peak, 1.0)))


def _floats(graph: Graph) -> Iterator[int]:
    return (
        t
        for t in range(len(graph.tensors))
        if graph.dtype(t) == "float32" and not graph.is_constant(t)
    )
