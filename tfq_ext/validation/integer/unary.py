"""Ops of one activation, value by value.

An 8-bit function is a table of 256 entries made in float32 when the model loads:
y = z_y + round(f(s_x (q - z_x)) / s_y).
Source: TFLite lut.h, activations.cc, leaky_relu.h, prelu.h, hard_swish.h, quantize.cc; XNNPACK
reference unary-elementwise.cc, qs8-vcvt, qs8-vlrelu.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from tfq_ext.numerics.fixedpoint import (
    Integers,
    quantize_multiplier,
    round_away,
    rounding_divide_by_pot,
    srdhm,
)
from tfq_ext.validation.integer.call import (
    Array,
    Call,
    Unsupported,
    activation_range,
    finish,
    scaled,
)

Function = Callable[[Array], Array]
_EIGHT = ("int8", "uint8")


def table(function: Function) -> Callable[[Call], tuple[Array, ...]]:
    """The kernel of an 8-bit function; `function` maps float32 arrays to float32 arrays."""

    def kernel(call: Call) -> tuple[Array, ...]:
        return (_look_up(call, function),)

    kernel.__doc__ = "A table of 256 entries, filled in float32."
    return kernel


def _look_up(call: Call, function: Function) -> Array:
    x, y = call.grid(), call.y
    if x.dtype not in _EIGHT or y.dtype != x.dtype:
        # TFLite's 16-bit tables of sigmoid are tuned by hand: no formula gives their last bit.
        raise Unsupported(f"{call.code} of {x.dtype} to {y.dtype}")
    codes = np.arange(x.low, x.high + 1)
    with np.errstate(all="ignore"):
        reals = function(x.s * (codes - x.z).astype(np.float32)).astype(np.float32)
        rescaled = reals * (np.float32(1) / y.s)
        rescaled = np.clip(np.nan_to_num(rescaled), np.float32(-(2.0**30)), np.float32(2.0**30))
    if call.rounding == "xnnpack":  # adds the zero point first: which even code takes a tie
        whole = np.rint(rescaled + np.float32(y.z)).astype(np.int64)
    else:
        whole = round_away(rescaled) + y.z
    entries = np.clip(whole, y.low, y.high)
    return entries[call.x().astype(np.int64) - x.low].astype(y.dtype)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) in float32."""
    return np.float32(1) / (np.float32(1) + np.exp(-x))


def elu(x: Array) -> Array:
    """ELU with alpha 1."""
    return np.where(x < 0, np.expm1(np.minimum(x, 0)), x)


def relu_to(function: int) -> Callable[[Call], tuple[Array, ...]]:
    """The kernel of a clipping activation; `function` as in the schema's fused activations."""

    def kernel(call: Call) -> tuple[Array, ...]:
        low, high = activation_range(call, function)
        if call.rounding == "xnnpack":
            codes = _convert(call, call.centred(0, np.int64))
        else:
            codes = scaled(call, call.centred(), float(call.grid().s / call.y.s)) + call.y.z
        return (finish(call, codes, (low, high)),)

    kernel.__doc__ = "Rescale, then clip to the codes of the limits."
    return kernel


def leaky_relu(call: Call) -> tuple[Array, ...]:
    """LEAKY_RELU: one multiplier above zero, one below."""
    alpha = np.float32(call.option("alpha", 0.0))
    x, s = call.centred(0, np.int64), call.grid().s
    if call.rounding == "xnnpack":
        slope = s * alpha / call.y.s
        factor = np.where(x >= 0, _eight_bits(s / call.y.s), _eight_bits(slope))
        return (finish(call, ((x * factor + 128) >> 8) + call.y.z),)
    above = scaled(call, x, float(s / call.y.s))
    below = scaled(call, x, float(s * alpha / call.y.s))
    return (finish(call, np.where(x >= 0, above, below) + call.y.z),)


def prelu(call: Call) -> tuple[Array, ...]:
    """PRELU: s_x / s_y above zero, s_x s_alpha / s_y times alpha's code below."""
    if call.y.dtype not in _EIGHT:
        raise Unsupported(f"PRELU of {call.y.dtype}")
    x, alpha = call.centred(0, np.int64), call.centred(1, np.int64)
    s, s_a, s_y = call.grid(0).s, call.grid(1).s, call.y.s
    above = scaled(call, x, float(s / s_y))
    below = scaled(call, x * alpha, float(s * s_a / s_y))
    return (finish(call, np.where(x >= 0, above, below) + call.y.z),)


def hard_swish(call: Call) -> tuple[Array, ...]:
    """HARD_SWISH in 16-bit fixed point; XNNPACK fills a table instead."""
    if call.rounding == "xnnpack":
        return (_look_up(call, _hard_swish_float),)
    if call.y.dtype not in _EIGHT:
        raise Unsupported(f"hard swish of {call.y.dtype}")
    fine = np.float32(1 / 128) * call.grid().s
    m_out, out_shift = _multiplier16(float(fine / call.y.s))
    m_relu, relu_shift = _multiplier16(float(fine / np.float32(3 / 32768)))
    x = call.centred(0, np.int64) << 7
    value = srdhm(x, m_out, 16)
    relu = _saturate(x << max(relu_shift - 1, 0))
    relu = srdhm(relu, m_relu, 16)
    if relu_shift > 0:
        relu = _saturate(relu << 1)
    relu = (rounding_divide_by_pot(relu, max(-relu_shift, 0)) + (1 << 15)) >> 1
    product = relu * value
    high = np.where(product >= 0, product >> 15, -(-product >> 15))  # truncates, as C does
    return (finish(call, rounding_divide_by_pot(high, -out_shift) + call.y.z),)


def _hard_swish_float(x: Array) -> Array:
    six = np.float32(6)
    return (x / six) * np.maximum(np.minimum(x + np.float32(3), six), np.float32(0))


def _multiplier16(real: float) -> tuple[int, int]:
    m0, shift = quantize_multiplier(real)
    reduced = 32767 if m0 >= 2**31 - (1 << 15) else (m0 + (1 << 15)) >> 16
    return reduced, shift


def _saturate(x: Integers) -> Integers:
    return np.clip(x, -32768, 32767)


def absolute(call: Call) -> tuple[Array, ...]:
    """ABS: |q - z_x|, rescaled where the grids differ."""
    x = np.abs(call.centred(0, np.int64))
    if call.grid().s == call.y.s:
        return (finish(call, x + call.y.z),)
    return (finish(call, scaled(call, x, float(call.grid().s / call.y.s)) + call.y.z),)


def quantize(call: Call) -> tuple[Array, ...]:
    """QUANTIZE: float to codes, or codes to another grid."""
    x, y = call.x(), call.y
    if x.dtype.kind == "f":
        if x.dtype != np.float32:
            raise Unsupported(f"QUANTIZE of {x.dtype}")
        return (finish(call, _from_float(call, x)),)
    if call.rounding == "xnnpack":
        return (finish(call, _convert(call, call.centred(0, np.int64))),)
    return (finish(call, _requantize(call) + y.z),)


def _requantize(call: Call) -> Integers:
    """TFLite's; the optimized kernel rounds sixteen codes at a time upward, what is left not."""
    multiplier = float(call.grid().s) / float(call.y.s)
    x = call.centred(0, np.int64)
    if call.rounding == "upward" and "int16" in (call.grid().dtype, call.y.dtype):
        return scaled(replace(call, rounding="double"), x, multiplier)
    codes = scaled(call, x, multiplier)
    if call.rounding == "upward":
        tail = x.reshape(-1)[x.size // 16 * 16 :]
        codes.reshape(-1)[x.size - tail.size :] = scaled(
            replace(call, rounding="double"), tail, multiplier
        )
    return codes


def _from_float(call: Call, x: Array) -> Array:
    y = call.y
    if call.rounding == "xnnpack":
        low, high = np.float32(y.low - y.z), np.float32(y.high - y.z)
        return np.rint(np.clip(x * (np.float32(1) / y.s), low, high)).astype(np.int64) + y.z
    limit = np.float32(2.0**30)
    if call.rounding == "double":
        return round_away(np.clip(x / y.s, -limit, limit)) + y.z
    codes = np.rint(np.clip(x * (np.float32(1) / y.s), -limit, limit)).astype(np.int64)
    tail = x.size // 8 * 8  # the optimized kernel takes eight at a time; what is left in float64
    rest = x.reshape(-1)[tail:].astype(np.float64) / float(y.s)
    codes.reshape(-1)[tail:] = round_away(np.clip(rest, -limit, limit))
    return codes + y.z


def _convert(call: Call, x: Integers) -> Integers:
    """XNNPACK's conversion between grids: an 8-bit multiplier, rounded half up."""
    return ((x * _eight_bits(call.grid().s / call.y.s) + 128) >> 8) + call.y.z


def _eight_bits(scale: np.float32) -> int:
    return int(np.rint(np.float32(256) * scale))


def dequantize(call: Call) -> tuple[Array, ...]:
    """DEQUANTIZE: s (q - z), exact in float32; per channel where the grid is."""
    g, x = call.grid(), call.x()
    if x.dtype.kind == "f" or not len(g.scale):
        return (x.astype(np.float32),)
    shape = [1] * x.ndim
    if len(g.scale) > 1:
        shape[g.axis] = len(g.scale)
    if call.rounding == "upward" and len(g.scale) == 1:
        return (_dequantize_by_parts(call),)
    scale, zero = g.scale.reshape(shape), np.broadcast_to(g.zero, g.scale.shape).reshape(shape)
    return ((x.astype(np.int32) - zero.astype(np.int32)).astype(np.float32) * scale,)


def _dequantize_by_parts(call: Call) -> Array:
    """The optimized kernel: s q - s z in float32, eight at a time; what is left exactly."""
    s, z, x = call.grid().s, call.grid().z, call.x()
    exact = call.centred().astype(np.float32) * s
    whole = x.size // 8 * 8
    flat = x.reshape(-1)[:whole].astype(np.float32)
    exact.reshape(-1)[:whole] = flat * s + np.float32(-z) * s
    return exact
