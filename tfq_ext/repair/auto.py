"""`auto`: of several ranges, the one whose rounding the tensor's consumers notice least."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.numerics.affine import fake_quant_into, squared_error
from tfq_ext.numerics.metrics import kl_divergence
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import NO_RANGE, QParams, QSpec, Range
from tfq_ext.tflite.grids import Grid
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import Keeper
from tfq_ext.tflite.slice import Bench, can_cut

Read = Callable[[int], np.ndarray]


@dataclass
class Trial:
    """The candidates for one grid, and the noise each has caused so far.

    Args:
        graph: where the grid lives.
        grid: tensors that share the range.
        spec: the codes.
        ranges: candidate ranges; the first is min-max.
        names: how each candidate was chosen.
        tightest: what further candidates must contain.
    """

    graph: Graph
    grid: Grid
    spec: QSpec
    ranges: tuple[Range, ...]
    names: tuple[str, ...]
    tightest: Range = NO_RANGE
    noise: np.ndarray = field(init=False)  # float64[candidates], relative squared error
    _benches: list[tuple[Bench, int]] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.noise = np.zeros(len(self.ranges))
        self._grids = [QParams.from_range(self.spec, r) for r in self.ranges]
        self._scratch: dict[int, np.ndarray] = {}

    def open(self, threads: int) -> None:
        """Build the consumers' benches."""
        members = set(self.grid.tensors)
        readers = dict.fromkeys(k for t in members for k in self.graph.consumers.get(t, ()))
        for k in readers:
            op = self.graph.ops[k]
            inside = any(int(o) in members for o in op.outputs)
            if not inside and can_cut(self.graph, k) and self._is_float(op.outputs[0]):
                self._benches.append((Bench(self.graph, k, threads=threads), int(op.outputs[0])))

    def _is_float(self, tensor: int) -> bool:
        return self.graph.dtype(int(tensor)) == "float32"

    def add(self, read: Read) -> None:
        """Let one sample judge all candidates."""
        if not self._benches:
            for tensor in self.grid.sources:
                self._judge_alone(tensor, np.asarray(read(tensor)))
        for bench, output in self._benches:
            self._judge_at(bench, np.array(read(output)), read)

    def _judge_alone(self, tensor: int, x: np.ndarray) -> None:
        for k, grid in enumerate(self._grids):
            on_grid = self._rounded(tensor, x, grid)
            self._count(k, on_grid, x)
            if tensor in self.graph.outputs:
                self.noise[k] += logit_error(on_grid, x)

    def _judge_at(self, bench: Bench, wanted: np.ndarray, read: Read) -> None:
        members = set(self.grid.tensors)
        bench.set({t: np.asarray(read(t)) for t in bench.feeds if t not in members})
        mine = [t for t in bench.feeds if t in members]
        for k, grid in enumerate(self._grids):
            bench.set({t: self._rounded(t, np.asarray(read(t)), grid) for t in mine})
            self._count(k, bench.run(), wanted)

    def _rounded(self, tensor: int, x: np.ndarray, grid: QParams) -> np.ndarray:
        out = self._scratch.get(tensor)
        if out is None or out.shape != x.shape:
            out = self._scratch[tensor] = np.empty_like(x)
        return rounded(x, grid, out)

    def _count(self, k: int, got: np.ndarray, wanted: np.ndarray) -> None:
        self.noise[k] += relative_error(got, wanted)

    @property
    def best(self) -> int:
        """Index of the least noisy candidate; the first (min-max) on ties."""
        return int(np.argmin(np.nan_to_num(self.noise, nan=np.inf)))


def rounded(x: np.ndarray, grid: QParams, out: np.ndarray) -> np.ndarray:
    """`x` on a grid with one scale, written to `out` (same shape)."""
    spec, flat = grid.spec, np.ascontiguousarray(x).reshape(-1)
    zero = np.float32(grid.zero_point)
    fake_quant_into(flat, np.float32(grid.scale), zero, spec.qmin, spec.qmax, out.reshape(-1))
    return out


def relative_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """sum (got - wanted)^2 / sum wanted^2; the plain error where `wanted` is 0 throughout."""
    error, power = squared_error(
        np.ascontiguousarray(got).reshape(-1), np.ascontiguousarray(wanted).reshape(-1)
    )
    return error / power if power > 0 else error


def logit_error(got: np.ndarray, wanted: np.ndarray) -> float:
    """Mean KL divergence of the softmax over the last axis, in nats; 0 for what cannot be logits.

    Cross-entropy less its floor, the entropy of the float model's own distribution.

    Source: Nagel et al. 2106.08295, section 3.1 (cross-entropy for the logits).
    """
    if wanted.ndim != 2 or wanted.shape[-1] < 2:
        return 0.0
    return float(kl_divergence(wanted, got))


def judge(
    pivot: Model, trials: Sequence[Trial], samples: Iterable[Sample], *, threads: int = 2
) -> int:
    """Run held-back samples through the pivot and fill in every trial's noise.

    For each tensor, its values are rounded to each candidate's grid and the ops that read it are
    run on the result; the noise is the squared error of their outputs, relative to the outputs'
    power, summed over readers and samples. Tensors that nobody reads are judged by themselves.

    Returns:
        Number of samples used.
    """
    keepers: dict[str, Keeper] = {}
    count = 0
    for trial in trials:
        trial.open(threads)
    for sample in samples:
        if sample.signature not in keepers:
            keepers[sample.signature] = Keeper(
                pivot, signature=sample.signature or None, threads=threads
            )
        keeper = keepers[sample.signature]
        read = keeper.invoke(sample.inputs)
        for trial in trials:
            if trial.graph.index == keeper.graph.index:
                trial.add(read)
        count += 1
    return count
