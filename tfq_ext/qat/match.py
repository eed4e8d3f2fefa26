"""Which constant of the pivot is which trained weight: by value, for names do not survive.

A deployed weight holds codes times scales in float32, the converter only moves it, so the constant
that an op reads equals one trained weight bit for bit once both are laid out channels first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.qat.deploy import TrainedRange, TrainedWeight
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.facts import WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model

SAME_SCALE = 2e-6  # relative; 16 units in the last place of a float32
_SLOPES = WeightFact(1, -1, None)  # PRELU: one scale for all
FACTS: dict[str, WeightFact] = {**WEIGHTS, "PRELU": _SLOPES}


def match_weights(
    pivot: Model, trained: Iterable[TrainedWeight]
) -> dict[str, tuple[TrainedWeight, WeightCodes]]:
    """Constant name -> the trained weight that it is, and its codes in the constant's layout."""
    known: dict[tuple[tuple[int, ...], bytes], TrainedWeight] = {}
    for weight in trained:
        real = weight.real
        known.setdefault(_key(real), weight)
        known.setdefault(_key(real.reshape(1, -1)), weight)
    found = {}
    for graph, op, fact in weighted_ops(pivot):
        tensor = int(op.inputs[fact.weight])
        values = graph.constant(tensor)
        assert values is not None
        match = known.get(_key(_rows(values, fact.axis)))
        if match is not None:
            found[graph.name(tensor)] = match, _codes(match, values, fact.axis)
    return found


def weighted_ops(pivot: Model) -> Iterator[tuple[Graph, Any, WeightFact]]:
    """Every op that reads a float constant as its weight."""
    for graph, _, op, code in pivot.walk():
        fact = FACTS.get(code)
        if fact is None or len(op.inputs) <= fact.weight:
            continue
        tensor = int(op.inputs[fact.weight])
        if tensor >= 0 and graph.dtype(tensor) == "float32" and graph.is_constant(tensor):
            yield graph, op, fact


def _rows(values: np.ndarray, axis: int) -> np.ndarray:
    """float32[channels, rest]; one row for an op whose weight has one scale."""
    if axis < 0 or values.ndim <= axis:
        return values.reshape(1, -1)
    moved = np.moveaxis(values, axis, 0)
    return moved.reshape(moved.shape[0], -1)


def _key(rows: np.ndarray) -> tuple[tuple[int, ...], bytes]:
    return rows.shape, np.ascontiguousarray(rows + np.float32(0)).tobytes()  # -0.0 becomes 0.0


def _codes(weight: TrainedWeight, constant: np.ndarray, axis: int) -> WeightCodes:
    shape = constant.shape
    per_channel = weight.scale.ndim == 1 and axis >= 0
    if axis >= 0:  # with one scale too: a depthwise kernel's channels come last
        moved = (shape[axis], *(n for k, n in enumerate(shape) if k != axis))
        codes = np.moveaxis(weight.codes.reshape(moved), 0, axis)
    else:
        codes = weight.codes.reshape(shape)
    lowest = -(2 ** (weight.bits - 1))
    narrow = bool(codes.min(initial=0) > lowest)
    spec = QSpec(weight.bits, narrow=narrow, axis=axis if per_channel else None)
    params = QParams(spec, weight.scale)
    assert np.array_equal(params.decode(codes) + np.float32(0), constant + np.float32(0))
    stored = "int4" if weight.bits <= 4 else "int8"
    return WeightCodes(np.ascontiguousarray(codes, np.int8), params, stored)


def exact_ranges(
    absorbed: Mapping[str, Range], trained: Iterable[TrainedRange]
) -> dict[str, tuple[TrainedRange | None, Range]]:
    """Tensor name -> the quantizer that stood there, and its raw range.

    The converter computes FAKE_QUANT's grid in another order of operations: a few units in the
    last place of the scale, and the zero point where it lies at a tie.

    Args:
        absorbed: what the pairs in the pivot say, on 8 bits.
        trained: the quantizers.
    """
    known = [(_grid(Range.of(t.min, t.max)), t) for t in trained]
    rows = {}
    for name, r in absorbed.items():
        row = _nearest(_grid(r), known)
        rows[name] = row, (r if row is None else Range.of(row.min, row.max))
    return rows


def _nearest(
    grid: tuple[float, int], known: list[tuple[tuple[float, int], TrainedRange]]
) -> TrainedRange | None:
    scale, zero = grid
    near = [
        (abs(s / scale - 1.0), k)
        for k, ((s, z), _) in enumerate(known)
        if abs(s / scale - 1.0) < SAME_SCALE and abs(z - zero) <= 1
    ]
    return known[min(near)[1]][1] if near else None


def _grid(r: Range) -> tuple[float, int]:
    params = QParams.from_range(INT8_ACTIVATION, r)
    return float(params.scale), int(params.zero_point)
