"""Fixed-point multiplication as gemmlowp and TFLite define it, on arrays.

A real multiplier M > 0 is stored as (M0, shift) with M = M0 / 2^31 * 2^shift. What kernels
differ in is how they round the product (found by experiment on LiteRT 2.3, x86):

| name | rounding | who |
|---|---|---|
| double | to 31 bits, ties up; then the shift, ties away | TFLite's reference kernels |
| upward | the same, both with ties up | optimized kernels with vector instructions, ruy |
| single | once, ties up | TFLITE_SINGLE_ROUNDING builds |
| away | of the product with the real M in float64, ties away | the reference FULLY_CONNECTED |
| mixed | the inputs as "single", their sum as "double" | the optimized int16 ADD |
| xnnpack | float32(x) times a float32 scale, ties to even | XNNPACK |

Source: gemmlowp fixedpoint.h; TFLite common.h, quantization_util.cc; ruy apply_multiplier.cc;
XNNPACK's fp32 requantization.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from tfq_ext.spec import round_half_away

Integers = npt.NDArray[np.int64]
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def quantize_multiplier(real: float) -> tuple[int, int]:
    """(M0, shift) of a real multiplier: M0 in [2^30, 2^31), or (0, 0) for 0 and below 2^-32.

    Ties of M0 round away from zero.
    """
    if real == 0.0:
        return 0, 0
    fraction, shift = math.frexp(real)
    scaled = fraction * 2**31  # exact: a double has 53 bits
    m0 = math.floor(abs(scaled) + 0.5) * (1 if scaled >= 0 else -1)
    if abs(m0) == 2**31:
        m0 //= 2
        shift += 1
    return (0, 0) if shift < -31 else (m0, shift)


def quantize_multipliers(reals: npt.ArrayLike) -> tuple[Integers, Integers]:
    """`quantize_multiplier` of each: int64[n] M0 and int64[n] shift."""
    pairs = [quantize_multiplier(float(m)) for m in np.ravel(np.asarray(reals))]
    m0, shift = zip(*pairs, strict=True)
    return np.array(m0, np.int64), np.array(shift, np.int64)


def wrap32(x: npt.ArrayLike) -> Integers:
    """What is left of integers in 32 bits: two's complement, as the processor does."""
    return ((np.asarray(x, np.int64) - INT32_MIN) & 0xFFFFFFFF) + INT32_MIN


def srdhm(a: npt.ArrayLike, b: npt.ArrayLike, bits: int = 32) -> Integers:
    r"""SaturatingRoundingDoublingHighMul: a b / 2^{bits-1}, ties towards +infinity.

    Args:
        a, b: integers of `bits` bits; they broadcast.
        bits: 32 or 16.
    """
    product = np.asarray(a, np.int64) * np.asarray(b, np.int64)
    # gemmlowp adds 2^(bits-2), or 1 - 2^(bits-2) below zero, and truncates; that is this floor.
    high = (product + (1 << (bits - 2))) >> (bits - 1)
    return np.asarray(np.minimum(high, (1 << (bits - 1)) - 1), np.int64)  # min * min saturates


def rounding_divide_by_pot(x: npt.ArrayLike, exponent: npt.ArrayLike) -> Integers:
    """RoundingDivideByPOT: x / 2^exponent, ties away from zero; exponent in 0..31."""
    x, n = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    mask = (np.int64(1) << n) - 1
    threshold = (mask >> 1) + (x < 0)
    return np.asarray((x >> n) + ((x & mask) > threshold), np.int64)


def multiply_double(x: npt.ArrayLike, m0: npt.ArrayLike, shift: npt.ArrayLike) -> Integers:
    """MultiplyByQuantizedMultiplier of TFLite's kernels: two roundings.

    Args:
        x: int32 accumulators; m0, shift: multiplier, broadcast against `x`.
    """
    shift = np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    return rounding_divide_by_pot(srdhm(wrap32(np.asarray(x, np.int64) << left), m0), right)


def multiply_upward(x: npt.ArrayLike, m0: npt.ArrayLike, shift: npt.ArrayLike) -> Integers:
    """Two roundings, both with ties towards +infinity: vector instructions (vqrdmulh, vrshl)."""
    shift = np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    high = srdhm(wrap32(np.asarray(x, np.int64) << left), m0)
    return (high + ((np.int64(1) << right) >> 1)) >> right


def multiply_single(x: npt.ArrayLike, m0: npt.ArrayLike, shift: npt.ArrayLike) -> Integers:
    """The same with one rounding of the 64-bit product, ties towards +infinity."""
    total = 31 - np.asarray(shift, np.int64)
    product = np.asarray(x, np.int64) * np.asarray(m0, np.int64)
    half = np.where(total > 0, np.int64(1) << np.maximum(total - 1, 0), 0)
    return np.asarray(np.clip((product + half) >> total, INT32_MIN, INT32_MAX), np.int64)


def multiply_wide(x: npt.ArrayLike, m0: npt.ArrayLike, shift: npt.ArrayLike) -> Integers:
    """MultiplyByQuantizedMultiplier of 64-bit accumulators: M0 reduced to 16 bits, one rounding.

    Source: TFLite common.cc (int16 activations with int64 bias); |x| < 2^47, shift -31..7.
    """
    m0 = np.asarray(m0, np.int64)
    reduced = np.where(m0 < 0x7FFF0000, (m0 + (1 << 15)) >> 16, 0x7FFF)
    total = 15 - np.asarray(shift, np.int64)
    return (np.asarray(x, np.int64) * reduced + (np.int64(1) << (total - 1))) >> total


MULTIPLY: dict[str, Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], Integers]] = {
    "double": multiply_double,
    "single": multiply_single,
    "upward": multiply_upward,
}


def requantize_float(
    x: npt.ArrayLike, scale: npt.ArrayLike, zero: int, low: int, high: int
) -> Integers:
    """XNNPACK's requantization: rint(clip(float32(x) scale)) + zero, ties to even.

    Args:
        x: int32 accumulators; rounded to float32, so exact below 2^24.
        scale: float32, broadcast against `x`.
        low, high: codes to clip to.
    """
    real = np.asarray(x).astype(np.float32) * np.asarray(scale, np.float32)
    clipped = np.clip(real, np.float32(low - zero), np.float32(high - zero))
    return np.rint(clipped).astype(np.int64) + zero


def round_away(x: npt.ArrayLike) -> Integers:
    """std::round: nearest integer, ties away from zero, as int64."""
    return round_half_away(np.asarray(x)).astype(np.int64)
