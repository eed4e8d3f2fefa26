"""Convolutions, dense layers and matrix products: accumulate exactly, then rescale.

y = clip(z_y + M (sum (x - z_x) (w - z_w) + b)), M = s_x s_w / s_y per output channel.
Source: TFLite reference_integer_ops conv.h, depthwise_conv.h, fully_connected.h,
transpose_conv.h; XNNPACK qs8 gemm / igemm / dwconv, fp32 requantization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tfq_ext.numerics.fixedpoint import MULTIPLY, Integers, multiply_wide, round_away
from tfq_ext.validation.integer.call import (
    Array,
    Call,
    Unsupported,
    finish,
    fused_range,
    per_channel,
    to_output_float,
)

SAME = 0  # schema Padding


@dataclass(frozen=True, eq=False)
class Layer:
    """A weighted op before its rescaling.

    Args:
        accumulators: int64[..., O], bias included.
        reals: float64[O or 1], M per output channel.
        scales: float32[O or 1], M as XNNPACK multiplies it out.
        largest: sum |w| per output channel, int64[O]; for bounds.
        bias: int64[O].
        deviation: largest |x - z_x| that the input's type allows.
    """

    accumulators: Integers
    reals: Array
    scales: Array
    largest: Integers
    bias: Integers
    deviation: int


def conv_2d(call: Call) -> Layer:
    """CONV_2D, groups and dilation included; x [N,H,W,C], w [O,kh,kw,C/groups]."""
    x, w = _centred_input(call, 0), weights(call, 1)
    outputs, kh, kw, depth = w.shape
    if depth == 0 or x.shape[-1] % depth or outputs % (x.shape[-1] // depth):
        raise Unsupported(f"{x.shape[-1]} channels in {depth} per group")
    groups = x.shape[-1] // depth
    kernel = w.transpose(1, 2, 3, 0).astype(np.float64)  # kh kw C O
    kernel = kernel.reshape(kh, kw, depth, groups, outputs // groups)
    out = call.y.shape
    acc = np.zeros((groups, int(np.prod(out[:3])), outputs // groups))
    for (ky, kx), window in taps(call, x, (kh, kw)):
        columns = window.reshape(-1, groups, depth).transpose(1, 0, 2).astype(np.float64)
        acc += columns @ kernel[ky, kx].transpose(1, 0, 2)
    total = acc.transpose(1, 0, 2).reshape(out).astype(np.int64)  # exact: sums stay below 2^53
    return _layer(call, total, w, (1, 2, 3), 0, 1, 2)


def depthwise_conv_2d(call: Call) -> Layer:
    """DEPTHWISE_CONV_2D; w [1,kh,kw,C multiplier], output channel c multiplier + m."""
    x, w = _centred_input(call, 0), weights(call, 1)
    _, kh, kw, outputs = w.shape
    channels = x.shape[-1]
    if channels == 0 or outputs % channels:
        raise Unsupported(f"{outputs} outputs of {channels} channels")
    kind = np.int32 if call.grid(0).dtype != "int16" else np.int64
    kernel = w.astype(kind).reshape(kh, kw, channels, outputs // channels)
    out = call.y.shape
    acc = np.zeros((*out[:3], channels, outputs // channels), kind)
    for (ky, kx), window in taps(call, x, (kh, kw)):
        acc += window[..., None].astype(kind) * kernel[ky, kx]
    return _layer(call, acc.reshape(out).astype(np.int64), w, (0, 1, 2), 0, 1, 2)


def fully_connected(call: Call) -> Layer:
    """FULLY_CONNECTED; x [..., I], w [O, I]."""
    x, w = _centred_input(call, 0), weights(call, 1)
    rows = x.reshape(-1, w.shape[1]).astype(np.float64)
    total = (rows @ w.T.astype(np.float64)).astype(np.int64)
    return _layer(call, total.reshape(call.y.shape), w, (1,), 0, 1, 2)


def transpose_conv(call: Call) -> Layer:
    """TRANSPOSE_CONV; inputs are shape, w [O,kh,kw,I], x [N,H,W,I], bias."""
    x, w = _centred_input(call, 2), weights(call, 1)
    outputs, kh, kw, depth = w.shape
    batch, height, width, _ = call.y.shape
    stride_h, stride_w = int(call.option("strideH", 1)), int(call.option("strideW", 1))
    top = _before(height, x.shape[1], kh, stride_h, call)
    left = _before(width, x.shape[2], kw, stride_w, call)
    rows, columns = (x.shape[1] - 1) * stride_h + kh, (x.shape[2] - 1) * stride_w + kw
    full = np.zeros((batch, max(rows, top + height), max(columns, left + width), outputs))
    flat = x.reshape(-1, depth).astype(np.float64)
    for ky in range(kh):
        for kx in range(kw):
            part = (flat @ w[:, ky, kx].T.astype(np.float64)).reshape(*x.shape[:3], outputs)
            ends = (ky + x.shape[1] * stride_h, kx + x.shape[2] * stride_w)
            full[:, ky : ends[0] : stride_h, kx : ends[1] : stride_w] += part
    total = full[:, top : top + height, left : left + width].astype(np.int64)
    return _layer(call, total, w, (1, 2, 3), 2, 1, 3)


def batch_matmul(call: Call) -> Layer:
    """BATCH_MATMUL of two activations; adjX and adjY transpose the last two axes."""
    a, b = _centred_input(call, 0), call.centred(1, np.int64)
    a = np.swapaxes(a, -1, -2) if call.option("adjX", False) else a
    b = np.swapaxes(b, -1, -2) if call.option("adjY", False) else b
    total = (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)
    n = b.shape[-1]
    flat = np.abs(b).sum(axis=-2).reshape(-1, n).max(axis=0)
    s = [call.grid(0).s, call.grid(1).s, call.y.s]
    reals = np.array([float(s[0]) * float(s[1]) / float(s[2])])
    scales = np.array([s[0] * s[1] / s[2]], np.float32)
    return Layer(total, reals, scales, flat, np.zeros(n, np.int64), _deviation(call, 0))


def rescale(call: Call, layer: Layer) -> Array:
    """Accumulators to output codes."""
    limits = fused_range(call)
    if call.rounding == "xnnpack":
        return to_output_float(call, layer.accumulators, layer.scales, limits)
    return finish(call, _codes(call, layer) + call.y.z, limits)


_BY_CHANNELS = ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


def _codes(call: Call, layer: Layer) -> Integers:
    """Rescaled accumulators; where the optimized kernels use vectors, the rest is "double"."""
    acc = layer.accumulators
    m0, shift = per_channel(layer.reals, acc.shape[-1])
    if call.y.dtype == "int16" and _wide(call):
        return multiply_wide(acc, m0, shift)
    if call.rounding == "away" or _by_reference(call):
        return round_away(acc * layer.reals)
    if call.rounding != "upward":
        return MULTIPLY[call.rounding](acc, m0, shift)
    codes = MULTIPLY["upward"](acc, m0, shift)
    exact = MULTIPLY["double"](acc, m0, shift)
    if call.code in _BY_CHANNELS and call.y.dtype != "uint8":
        tail = acc.shape[-1] // 8 * 8  # eight channels at a time
        codes[..., tail:] = exact[..., tail:]
    if call.code == "TRANSPOSE_CONV" and call.y.dtype == "uint8":
        tail = acc.size // 16 * 16  # sixteen values at a time
        codes.reshape(-1)[tail:] = exact.reshape(-1)[tail:]
    return codes


def _by_reference(call: Call) -> bool:
    """Whether the optimized FULLY_CONNECTED leaves the op to the reference kernel."""
    optimized = call.rounding == "upward" and call.code == "FULLY_CONNECTED"
    return optimized and call.y.dtype == "int16" and call.has(2)


def _reals(call: Call, s_x: np.float32, s_w: Array) -> Array:
    """M per output channel; kernels that take one scale multiply s_x s_w in float32."""
    dense = call.code == "FULLY_CONNECTED" and call.rounding != "away" and not _by_reference(call)
    uint8 = call.y.dtype == "uint8" and call.rounding != "away"
    single = uint8 or (dense and len(s_w) == 1)
    product = (s_x * s_w).astype(np.float64) if single else float(s_x) * s_w.astype(np.float64)
    return product / float(call.y.s)


def _wide(call: Call) -> bool:
    """int16 but for FULLY_CONNECTED: 64-bit accumulators unless the bias is int32."""
    bias = 3 if call.code == "TRANSPOSE_CONV" else 2
    if call.code == "FULLY_CONNECTED":
        return False
    return not call.has(bias) or call.grid(bias).dtype == "int64"


def _centred_input(call: Call, k: int) -> Array:
    if call.grid(k).dtype not in ("int8", "uint8", "int16"):
        raise Unsupported(f"activations of type {call.grid(k).dtype}")
    return call.centred(k)


def _deviation(call: Call, k: int) -> int:
    g = call.grid(k)
    return max(g.high - g.z, g.z - g.low)


def weights(call: Call, k: int) -> Array:
    """w - z_w, int32. Per-channel kernels take z_w = 0 whatever the file says."""
    g = call.grid(k)
    if g.dtype not in ("int8", "uint8", "int4"):
        raise Unsupported(f"weights of type {g.dtype}")
    symmetric = call.code != "FULLY_CONNECTED" and g.dtype != "uint8"
    zero = 0 if symmetric or len(g.scale) > 1 else g.z
    return call.x(k).astype(np.int32) - np.int32(zero)


def _layer(
    call: Call, total: Integers, w: Array, axes: tuple[int, ...], x: int, k: int, bias: int
) -> Layer:
    """Add the bias and note the multipliers. `axes`: of `w`, summed over for one output."""
    s_x, s_w, s_y = call.grid(x).s, call.grid(k).scale, call.y.s
    added = call.x(bias).astype(np.int64).reshape(-1) if call.has(bias) else None
    sums = np.abs(w.astype(np.int64)).sum(axis=axes).reshape(-1)
    return Layer(
        accumulators=total if added is None else total + added,
        reals=_reals(call, s_x, s_w),
        scales=s_x * s_w / s_y,
        largest=sums,
        bias=np.zeros_like(sums) if added is None else added,
        deviation=_deviation(call, x),
    )


def taps(call: Call, x: Array, kernel: tuple[int, int]) -> Iterator[tuple[tuple[int, int], Array]]:
    """Each kernel position with the inputs that it meets, [N,OH,OW,C]; padding is 0."""
    stride = int(call.option("strideH", 1)), int(call.option("strideW", 1))
    dilation = int(call.option("dilationHFactor", 1)), int(call.option("dilationWFactor", 1))
    out = call.y.shape[1:3]
    pads = []
    for axis in (0, 1):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        before = _before(x.shape[axis + 1], out[axis], reach, stride[axis], call)
        needed = (out[axis] - 1) * stride[axis] + reach - before
        pads.append((before, max(needed - x.shape[axis + 1], 0)))
    padded = np.pad(x, ((0, 0), *pads, (0, 0))) if any(map(any, pads)) else x
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y0, x0 = ky * dilation[0], kx * dilation[1]
            rows = slice(y0, y0 + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(x0, x0 + (out[1] - 1) * stride[1] + 1, stride[1])
            yield (ky, kx), padded[:, rows, columns]


def _before(size: int, out: int, reach: int, stride: int, call: Call) -> int:
    """Rows of padding in front: SAME puts the odd one behind."""
    if int(call.option("padding", SAME)) != SAME:
        return 0
    return max((out - 1) * stride + reach - size, 0) // 2
