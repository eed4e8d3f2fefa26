"""One model on one kernel set against the reference; lives in a child process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfq_ext.numerics.fixedpoint import quantize_multipliers
from tfq_ext.tflite import arithmetic
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.validation.integer.call import Array, Call, Unsupported
from tfq_ext.validation.integer.linear import Layer, rescale
from tfq_ext.validation.integer.record import Read, Recorder, read_call
from tfq_ext.validation.integer.table import KERNELS, Kernel
from tfq_ext.validation.integer.values import Accumulator, Multipliers

WHY = {
    arithmetic.HYBRID: "hybrid: float activations, quantized at run time",
    arithmetic.FLOAT: "computes in floats",
    arithmetic.INDEX: "works on shapes, ids or masks: no quantized tensor",
    arithmetic.CONTROL_FLOW: "runs other subgraphs or holds state",
    arithmetic.CUSTOM: "a custom op: its arithmetic is not known",
}


@dataclass(frozen=True)
class Part:
    """What one kernel set made of one op, over all samples so far."""

    values: int = 0
    differing: int = 0
    max_lsb: int = 0
    arithmetic: str = ""
    delegated: bool = False
    multipliers: Multipliers | None = None
    accumulator: Accumulator | None = None


@dataclass(frozen=True)
class Parts:
    """What a session found: op index -> Part, op index -> why not compared."""

    found: dict[int, Part]
    skipped: dict[int, str]


class Session:
    """A model, recorded on one kernel set.

    Args:
        content: the .tflite.
        kernels: of tflite.run.KERNEL_SETS.

    Raises:
        ModelError: the model cannot be read.
    """

    def __init__(self, content: bytes, kernels: str):
        self._model = Model.parse(content)
        self._graph = self._model.graphs[0]
        self._kernels = kernels
        self._recorder = Recorder(self._model, content, kernels)
        self._found: dict[int, Part] = {}
        self._skipped = {k: why for k, why in unknown(self._graph).items() if why}

    def add(self, inputs: dict[str, Array]) -> None:
        """Run one sample of reals and compare every op.

        Raises:
            ModelError: LiteRT cannot load or run it on these kernels.
            DataError: an input that has no code.
        """
        read = self._recorder.invoke(inputs)
        delegated = self._recorder.delegated()
        for k, op in enumerate(self._graph.ops):
            if k in self._skipped:
                continue
            try:
                part = self._compare(op, read, delegated)
            except Unsupported as why:
                self._skipped[k] = f"the reference does not cover {why}"
            except (ValueError, TypeError, IndexError, OverflowError) as error:
                self._skipped[k] = f"the reference failed ({type(error).__name__}: {error})"
            else:
                self._found[k] = merge(self._found.get(k, Part()), part)

    def finish(self) -> Parts:
        """What was found."""
        found = {k: part for k, part in self._found.items() if k not in self._skipped}
        return Parts(found, dict(self._skipped))

    def _compare(self, op: Any, read: Read, delegated: frozenset[int] | None) -> Part:
        call, recorded = read_call(self._graph, op, read)
        kernel = KERNELS[call.code]
        if self._kernels in kernel.broken:
            raise Unsupported(f"this kernel: {kernel.broken[self._kernels]}")
        taken = delegated is None or int(op.outputs[0]) in delegated
        tried = (True, False) if delegated is None and self._kernels == "xnnpack" else (taken,)
        parts = [self._against(kernel, call, recorded, choice) for choice in tried]
        return min(parts, key=lambda p: p.differing)

    def _against(
        self, kernel: Kernel, call: Call, recorded: tuple[Array, ...], taken: bool
    ) -> Part:
        rounding = kernel.rounding(self._kernels, taken, call.y.dtype)
        call = replace(call, rounding=rounding)
        layer = None if kernel.layer is None else kernel.layer(call)
        wanted = kernel.compute(call) if layer is None else (rescale(call, layer),)
        part = difference(call, wanted, recorded)
        part = replace(part, arithmetic=rounding, delegated=taken and self._kernels == "xnnpack")
        if layer is None:
            return part
        return replace(part, multipliers=multipliers(layer), accumulator=accumulator(call, layer))


def unknown(graph: Graph) -> dict[int, str]:
    """op index -> why it is not compared, "" where it is."""
    reasons = {}
    for k, op in enumerate(graph.ops):
        kind = arithmetic.arithmetic(graph, op)
        code = graph.code(op)
        known = "" if code in KERNELS else f"the reference has no {code}"
        reasons[k] = WHY.get(kind) or known
    return reasons


def difference(call: Call, wanted: tuple[Array, ...], recorded: tuple[Array, ...]) -> Part:
    """How many values differ, and by how much: in codes, of the input's where the output is float.

    Raises:
        Unsupported: the outputs have other shapes than LiteRT's.
    """
    values, differing, largest = 0, 0, 0.0
    for mine, theirs in zip(wanted, recorded, strict=True):
        if mine.shape != theirs.shape:
            raise Unsupported(f"this shape: {mine.shape} here, {theirs.shape} in LiteRT")
        values += theirs.size
        wrong = mine != theirs
        if theirs.dtype.kind == "f":
            wrong &= ~(np.isnan(mine) & np.isnan(theirs))
        count = int(np.count_nonzero(wrong))
        if count:
            unit = float(call.grid().s) if theirs.dtype.kind == "f" else 1.0
            gap = np.abs(mine.astype(np.float64) - theirs.astype(np.float64))[wrong]
            largest = max(largest, float(np.nan_to_num(gap, nan=2.0**31).max()) / unit)
            differing += count
    return Part(values, differing, int(np.ceil(largest)))


def multipliers(layer: Layer) -> Multipliers:
    """Fixed-point multipliers of a layer's channels."""
    m0, shift = quantize_multipliers(layer.reals)
    return Multipliers(
        (int(m0[0]), int(shift[0])),
        (int(m0.min()), int(m0.max())),
        (int(shift.min()), int(shift.max())),
    )


def accumulator(call: Call, layer: Layer) -> Accumulator:
    """Sums seen, and the most that any input can make."""
    bounds = layer.largest * layer.deviation + np.abs(layer.bias)
    seen = int(np.abs(layer.accumulators).max(initial=0))
    return Accumulator(seen, int(bounds.max(initial=0)), 64 if call.y.dtype == "int16" else 32)


def merge(a: Part, b: Part) -> Part:
    """Both samples' counts together."""
    sums = b.accumulator
    if a.accumulator is not None and sums is not None:
        largest = max(a.accumulator.largest, sums.largest)
        sums = replace(sums, largest=largest, bound=max(a.accumulator.bound, sums.bound))
    return replace(
        b,
        values=a.values + b.values,
        differing=a.differing + b.differing,
        max_lsb=max(a.max_lsb, b.max_lsb),
        accumulator=sums,
    )
