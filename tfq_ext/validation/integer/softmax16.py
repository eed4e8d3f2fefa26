"""SOFTMAX of int16 codes: two tables of 513 points with linear interpolation.

Source: TFLite lut.h, reference softmax.h (SoftmaxInt16); all kernel sets use it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfq_ext.numerics.fixedpoint import Integers, multiply_double, quantize_multiplier
from tfq_ext.validation.integer.call import Array, Call, finish

_LOW, _HIGH, _STEPS = -32768, 32767, 512
_UNIT = 32768.0  # codes of 1.0


def _table(start: float, end: float, function: Callable[[Array], Array]) -> Integers:
    """513 codes of a function on -1..1; each leans half of its interval's midpoint error."""
    step = (end - start) / _STEPS
    at = start + step * np.arange(_STEPS)
    value, middle, after = (function(at + d) * _UNIT for d in (0.0, step / 2, step))
    error = _round((after + _round(value)) / 2) - _round(middle)
    last = _round(function(np.array([end])) * _UNIT)
    points = np.concatenate([_round(value) - _round(error / 2), last])
    return np.clip(points, _LOW, _HIGH).astype(np.int64)


def _round(x: Array) -> Array:
    return np.asarray(np.copysign(np.floor(np.abs(x) + 0.5), x))


def _look_up(x: Integers, table: Integers) -> Integers:
    index = 256 + (x >> 7)
    slope = table[index + 1] - table[index]
    return np.asarray(table[index] + ((slope * (x & 0x7F) + 64) >> 7), np.int64)


def softmax(call: Call) -> Array:
    """SOFTMAX of int16: exp by a table, its reciprocal sum by another."""
    exp = _table(-10.0, 0.0, np.exp)
    inverse = _table(0.0, 1.0, lambda v: 1.0 / (1.0 + v))
    x = call.x().astype(np.int64)
    beta = float(np.float32(call.grid().s * np.float32(call.option("beta", 1.0))))
    m0, shift = quantize_multiplier(beta / (10.0 / 65535.0))
    difference = multiply_double(x - x.max(axis=-1, keepdims=True), m0, shift)
    e = _look_up(np.clip(difference + 32767, _LOW, _HIGH), exp)
    total = e.sum(axis=-1, keepdims=True)
    headroom = 32 - np.ceil(np.log2(total + 1.0)).astype(np.int64)
    shifted = ((total << (headroom - 1)) + (1 << 13)) >> 14
    factor = _look_up(np.clip(shifted - (1 << 15) - (1 << 16), _LOW, _HIGH), inverse)
    right = 31 - headroom
    codes = (e * factor + (np.int64(1) << (right - 1))) >> right
    return finish(call, np.clip(codes, 0, _HIGH))
