"""SOFTMAX of 8-bit codes: gemmlowp's fixed point (reference) and a float table (optimized).

Source: TFLite reference softmax.h, gemmlowp fixedpoint.h (exp_on_negative_values,
one_over_one_plus_x_for_x_in_0_1), optimized_ops.h (PopulateSoftmaxLookupTable).
A Qm.n number is an int32 with n fractional bits; products are SRDHM.
"""

from __future__ import annotations

import math

import numpy as np

from tfq_ext.numerics.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    Integers,
    quantize_multiplier,
    rounding_divide_by_pot,
    srdhm,
    wrap32,
)
from tfq_ext.validation.integer import softmax16
from tfq_ext.validation.integer.call import Array, Call, Unsupported, finish

_DIFF_BITS = 5  # integer bits of the scaled difference: Q5.26
_SUM_BITS = 12  # of the sum of exponentials: Q12.19
# exp(-2^k) in Q0.31, for k = -2..4
_EXP_POWERS = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
_EXP_EIGHTH, _THIRD = 1895147668, 715827883  # exp(-1/8) and 1/3 in Q0.31
_48_17, _32_17 = 1515870810, -1010580540  # Newton's first guess of a reciprocal, Q2.29


def softmax(call: Call) -> tuple[Array, ...]:
    """SOFTMAX over the last axis; 8-bit output grid 1/256 with zero at the lowest code."""
    if call.y.dtype == call.grid().dtype == "int16":
        return (softmax16.softmax(call),)
    if call.y.dtype not in ("int8", "uint8") or call.grid().dtype != call.y.dtype:
        raise Unsupported(f"softmax of {call.grid().dtype} to {call.y.dtype}")
    return (_fixed_point(call) if call.rounding == "double" else _table(call),)


def _fixed_point(call: Call) -> Array:
    x = call.x().astype(np.int64)
    beta = float(np.float32(call.option("beta", 1.0)))
    top = float(2**31) - 1.0
    multiplier = min(beta * float(call.grid().s) * (1 << (31 - _DIFF_BITS)), top)
    m0, left = quantize_multiplier(multiplier)
    radius = math.floor(((1 << _DIFF_BITS) - 1) * float(1 << (31 - _DIFF_BITS)) / (1 << left))
    difference = x - x.max(axis=-1, keepdims=True)
    kept = difference >= -radius
    scaled = srdhm(wrap32(np.where(kept, difference, 0) << left), m0)
    exp = exp_on_negative_values(scaled)
    total = np.where(kept, rounding_divide_by_pot(exp, _SUM_BITS), 0).sum(axis=-1, keepdims=True)
    reciprocal, over_unit = _reciprocal(total)
    codes = rounding_divide_by_pot(srdhm(reciprocal, exp), over_unit + 31 - 8)
    return finish(call, np.where(kept, codes, 0) + call.y.low)


def exp_on_negative_values(a: Integers) -> Integers:
    """exp of Q5.26 numbers <= 0, as Q0.31: a quarter at a time by a table, the rest a series."""
    fraction = 31 - _DIFF_BITS
    quarter = 1 << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exp_quarter(np.clip(rest << _DIFF_BITS, INT32_MIN, INT32_MAX))
    remainder = rest - a
    for k, power in enumerate(_EXP_POWERS):
        bit = np.int64(1) << (fraction + k - 2)
        result = np.where(remainder & bit, srdhm(result, power), result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_quarter(a: Integers) -> Integers:
    """exp of Q0.31 numbers in [-1/4, 0): Taylor around -1/8."""
    x = a + (1 << 28)
    x2 = srdhm(x, x)
    x3, x4 = srdhm(x2, x), srdhm(x2, x2)
    cubic = srdhm(rounding_divide_by_pot(x4, 2) + x3, _THIRD) + x2
    return _EXP_EIGHTH + srdhm(_EXP_EIGHTH, x + rounding_divide_by_pot(cubic, 1))


def _reciprocal(total: Integers) -> tuple[Integers, Integers]:
    """(1 / x as Q0.31 of a power-of-two multiple, that power) of Q12.19 numbers."""
    bits = np.ceil(np.log2(total.astype(np.float64) + 1)).astype(np.int64)  # exact below 2^52
    headroom = 32 - bits
    shifted = wrap32((total << headroom) - (1 << 31))
    half = (shifted + INT32_MAX + 1) // 2  # (1 + x) / 2, both terms not negative
    guess = wrap32(_48_17 + srdhm(half, _32_17))
    for _ in range(3):
        error = wrap32((1 << 29) - srdhm(half, guess))
        step = np.clip(srdhm(guess, error) << 2, INT32_MIN, INT32_MAX)
        guess = wrap32(guess + step)
    return np.clip(guess << 1, INT32_MIN, INT32_MAX), _SUM_BITS - headroom


def _table(call: Call) -> Array:
    """256 float32 exponentials, a sequential float32 sum, one float32 product each."""
    beta = np.float32(call.option("beta", 1.0))
    step = -(call.grid().s * beta)
    table = np.exp(step * np.arange(256, dtype=np.float32)).astype(np.float32)  # of max - x
    x = call.x().astype(np.int64)
    e = table[x.max(axis=-1, keepdims=True) - x]
    total = np.cumsum(e, axis=-1, dtype=np.float32)[..., -1:]
    inverse = np.float32(1) / (total * call.y.s)
    return finish(call, np.floor(e * inverse + np.float32(0.5)).astype(np.int64) + call.y.z)
