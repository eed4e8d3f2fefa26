"""Binary ops of two activations: ADD, SUB, MUL, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE.

Source: TFLite reference add.h, sub.cc, mul.h, squared_difference.cc; XNNPACK qs8 vadd, vmul.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tfq_ext.numerics.fixedpoint import Integers
from tfq_ext.validation.integer.call import (
    Array,
    Call,
    Unsupported,
    finish,
    fused_range,
    scaled,
    to_output,
    to_output_float,
)

_MIXED = ("single", "double")  # optimized int16 ADD: the inputs, then their sum


def add(call: Call) -> tuple[Array, ...]:
    """ADD: both inputs to a common finer grid, summed there, then to the output's."""
    return (_sum(call, 1),)


def sub(call: Call) -> tuple[Array, ...]:
    """SUB: as ADD with the second input negated."""
    return (_sum(call, -1),)


def _sum(call: Call, sign: int) -> Array:
    if call.rounding == "xnnpack":
        return _sum_xnnpack(call, sign)
    if call.y.dtype == "int16" and _powers_of_two(call):
        raise Unsupported("int16 with power-of-two scales (the LSTM path)")
    bits = 15 if call.y.dtype == "int16" else 20
    s1, s2 = float(call.grid(0).s), float(call.grid(1).s)
    finer = 2.0 * max(s1, s2)
    each, total = _MIXED if call.rounding == "mixed" else (call.rounding, call.rounding)
    first = replace(call, rounding=each)
    a = scaled(first, call.centred(0, np.int64) << bits, s1 / finer)
    b = scaled(first, call.centred(1, np.int64) << bits, s2 / finer)
    last, multiplier = replace(call, rounding=total), finer / ((1 << bits) * float(call.y.s))
    return to_output(last, a + sign * b, multiplier, fused_range(call))


def _powers_of_two(call: Call) -> bool:
    if not call.option("potScaleInt16", True):
        return False
    scales = (call.grid(0).s, call.grid(1).s, call.y.s)
    return all(abs(math.log2(s) - round(math.log2(s))) < 1e-3 for s in scales)


def _sum_xnnpack(call: Call, sign: int) -> Array:
    """21-bit multipliers with one common shift, rounded half up."""
    a, b = call.grid(0).s / call.y.s, call.grid(1).s / call.y.s
    shift = 20 - (math.frexp(max(a, b))[1] - 1)
    m1, m2 = (int(np.rint(np.ldexp(np.float32(m), shift))) for m in (a, b))
    total = call.centred(0, np.int64) * m1 + sign * call.centred(1, np.int64) * m2
    return finish(call, ((total + (1 << (shift - 1))) >> shift) + call.y.z, fused_range(call))


def mul(call: Call) -> tuple[Array, ...]:
    """MUL: z + M (q1 - z1) (q2 - z2), M = s1 s2 / s."""
    product = call.centred(0, np.int64) * call.centred(1, np.int64)
    s1, s2, s = call.grid(0).s, call.grid(1).s, call.y.s
    if call.rounding == "xnnpack":
        return (to_output_float(call, product, s1 * s2 / s, fused_range(call)),)
    return (to_output(call, product, float(s1 * s2 / s), fused_range(call)),)  # M in float32


def maximum(call: Call) -> tuple[Array, ...]:
    """MAXIMUM of codes; the kernel takes no notice of grids."""
    return (np.maximum(call.x(0), call.x(1)),)


def minimum(call: Call) -> tuple[Array, ...]:
    """MINIMUM of codes."""
    return (np.minimum(call.x(0), call.x(1)),)


def squared_difference(call: Call) -> tuple[Array, ...]:
    """SQUARED_DIFFERENCE: 7 bits of headroom, then the square is rescaled."""
    s1, s2, s = (float(g.s) for g in (call.grid(0), call.grid(1), call.y))
    bits = 0 if call.y.dtype == "int16" else 7
    finer = 2.0 * max(s1, s2)
    a = scaled(call, call.centred(0, np.int64) << bits, s1 / finer)
    b = scaled(call, call.centred(1, np.int64) << bits, s2 / finer)
    difference: Integers = a - b
    multiplier = finer * finer / ((1 << (2 * bits)) * s)
    return (to_output(call, difference * difference, multiplier, fused_range(call)),)
