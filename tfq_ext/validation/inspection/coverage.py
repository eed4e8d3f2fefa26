"""Why an op does not compute in integers: a table of reasons, asked from the top."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from tfq_ext.emit.islands import INSIDE
from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.tflite.arithmetic import BRIDGE, CUSTOM, FLOAT, HYBRID, QUANTIZED
from tfq_ext.tflite.facts import FLOAT_ONLY, SAME_GRID
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene
from tfq_ext.validation.inspection.rows import Coverage, OpRow

FEW = 1024  # TFLiteConverter quantizes no smaller weight on its own


class Reason(NamedTuple):
    """Why an op is not integer.

    Args:
        text: one clause.
        cause: no integer form of it exists, so that its neighbours may be float because of it.
    """

    text: str
    cause: bool = False


Judge = Callable[[Scene, Place], Reason | None]


def _custom(scene: Scene, place: Place) -> Reason | None:
    if place.kind != CUSTOM:
        return None
    if place.code.startswith("FLEX:"):
        return Reason("a TensorFlow op (Flex): it runs in TensorFlow's own kernels", True)
    return Reason("a custom op: how it computes is not in the file", True)


def _hybrid(scene: Scene, place: Place) -> Reason | None:
    if place.kind != HYBRID:
        return None
    bits = macs.weight_bits(scene, place) or 8
    return Reason(f"dynamic range: {bits}-bit weights, activations float until it runs")


def _recurrent(scene: Scene, place: Place) -> Reason | None:
    return Reason(FLOAT_ONLY[place.code], True) if place.code in FLOAT_ONLY else None


def _float_file(scene: Scene, place: Place) -> Reason | None:
    """In a file without integer ops the weights tell what it is."""
    if scene.has_integers:
        return None
    stored = macs.weights(scene, place)
    types = {place.graph.dtype(t) for t in stored}
    if scene.has_hybrids and "float32" in types:
        fewest = min(prod(macs.sizes(place.graph, t)) for t in stored)
        few = f": fewer than {FEW} of them are left so" if fewest < FEW else ""
        return Reason(f"its weights are float32{few}")
    if scene.has_hybrids and not types:
        return Reason("no weights, and dynamic range quantizes nothing else")
    if "float16" in types:
        return Reason("float16 weights, computed in float32")
    if types & QUANTIZED:
        return Reason(f"weight-only: {', '.join(sorted(types))} weights are widened to float32")
    return Reason("nothing in the file is quantized")


def _no_kernel(scene: Scene, place: Place) -> Reason | None:
    if place.code in KERNELS and KERNELS[place.code].int8 is not None:
        return None
    return Reason(f"TFLite has no int8 kernel for {place.code}", True)


def _inside(scene: Scene, place: Place) -> Reason | None:
    return None if place.graph.is_entry else Reason(INSIDE, True)


def _moves(scene: Scene, place: Place) -> Reason | None:
    """Layout ops take what they are given."""
    if place.code not in SAME_GRID:
        return None
    makers = (scene.maker(place.graph, t) for t in place.read)
    source = next((m for m in makers if m is not None and m.kind != BRIDGE), None)
    return Reason(f"it passes on floats that {source.code} made") if source else None


def _weights(scene: Scene, place: Place) -> Reason | None:
    types = {place.graph.dtype(t) for t in macs.weights(scene, place)}
    if types & {"float32", "float16"}:
        return Reason(f"its weights are {', '.join(sorted(types))}: it was left float")
    if types & QUANTIZED:
        return Reason("weight-only: its weights are widened to float32 before use")
    return None


def _no_scale(scene: Scene, place: Place) -> Reason:
    return Reason("TFLite has an int8 kernel, but its output has no scale (no range, or by choice)")


REASONS: tuple[Judge, ...] = (
    _custom,
    _hybrid,
    _float_file,
    _recurrent,
    _no_kernel,
    _inside,
    _weights,
    _moves,
    _no_scale,
)


def reason(scene: Scene, place: Place) -> Reason | None:
    """Why this op is not integer; None where it is, or where it does not compute."""
    if place.kind not in (FLOAT, HYBRID, CUSTOM):
        return None
    return next(found for judge in REASONS if (found := judge(scene, place)) is not None)


def coverage(ops: Sequence[OpRow]) -> Coverage:
    """Counts by arithmetic, and MACs by arithmetic."""
    counts = Counter(row.arithmetic for row in ops)
    work: Counter[str] = Counter()
    for row in ops:
        work[row.arithmetic] += row.macs or 0
    unknown = sum(row.macs is None for row in ops)
    return Coverage(dict(counts), {k: n for k, n in work.items() if n}, unknown)
