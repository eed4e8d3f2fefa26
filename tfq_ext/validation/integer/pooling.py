"""Pooling and reductions.

Source: TFLite reference_integer_ops pooling.h, reference reduce.h, optimized_integer_ops mean.h;
XNNPACK rsum / rdsum (fp32 requantization).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfq_ext.numerics.fixedpoint import (
    MULTIPLY,
    Integers,
    quantize_multiplier,
    round_away,
)
from tfq_ext.validation.integer.call import (
    Array,
    Call,
    Unsupported,
    finish,
    fused_range,
    to_output,
)


def average_pool_2d(call: Call) -> tuple[Array, ...]:
    """AVERAGE_POOL_2D of codes: sum / count of those inside, ties away from zero."""
    total = np.zeros(call.y.shape, np.int64)
    count = np.zeros((1, *call.y.shape[1:3], 1), np.int64)
    for rows, columns, window in _windows(call):
        total[:, rows, columns] += window
        count[:, rows, columns] += 1
    half = count // 2
    mean = np.where(total >= 0, (total + half) // count, -((half - total) // count))
    return (finish(call, mean, fused_range(call)),)


def max_pool_2d(call: Call) -> tuple[Array, ...]:
    """MAX_POOL_2D of codes; padding never wins."""
    best = np.full(call.y.shape, np.iinfo(np.int32).min, np.int32)
    for rows, columns, window in _windows(call):
        np.maximum(best[:, rows, columns], window, out=best[:, rows, columns])
    return (finish(call, best, fused_range(call)),)


def _windows(call: Call) -> Iterator[tuple[slice, slice, Array]]:
    """Each filter position: the output rows and columns that it serves, and the inputs there."""
    x = call.x()
    heights = list(_spans(call, x.shape[1], call.y.shape[1], "H", "Height"))
    widths = list(_spans(call, x.shape[2], call.y.shape[2], "W", "Width"))
    for rows, ys in heights:
        for columns, xs in widths:
            yield rows, columns, x[:, ys, xs].astype(np.int64)


def _spans(call: Call, size: int, out: int, axis: str, word: str) -> Iterator[tuple[slice, slice]]:
    stride = int(call.option("stride" + axis, 1))
    reach = int(call.option("filter" + word, 1))
    same = int(call.option("padding", 0)) == 0
    before = max((out - 1) * stride + reach - size, 0) // 2 if same else 0
    for k in range(reach):
        first = max(-(-(before - k) // stride), 0)
        last = min((size - 1 + before - k) // stride, out - 1)
        if first <= last:
            at = first * stride + k - before
            yield slice(first, last + 1), slice(at, at + (last - first) * stride + 1, stride)


def _axes(call: Call) -> tuple[int, ...]:
    rank = call.x().ndim
    return tuple(sorted({int(a) % rank for a in call.x(1).reshape(-1)}))


def _sums(call: Call) -> tuple[Integers, int]:
    """Sum of the centred codes over the axes, in the output's shape, and how many each has."""
    axes = _axes(call)
    count = int(np.prod([call.x().shape[a] for a in axes], dtype=np.int64))
    return call.centred(0, np.int64).sum(axis=axes).reshape(call.y.shape), count


def mean(call: Call) -> tuple[Array, ...]:
    """MEAN: the multiplier s_x / s_y takes 1 / count in, truncated to an integer."""
    if not call.x(1).size:
        return (call.x().copy(),)
    total, count = _sums(call)
    if call.rounding == "xnnpack":
        return (_scaled_float(call, total, call.grid().s / (call.y.s * np.float32(count))),)
    if call.rounding == "upward" and _is_image(call):
        return (_mean_optimized(call, total, count),)
    m0, shift = quantize_multiplier(float(call.grid().s) / float(call.y.s))
    more = min(count.bit_length() - 1, 32, 31 + shift)
    m0, shift = (m0 << more) // count, shift - more
    return (finish(call, MULTIPLY["double"](total, m0, shift) + call.y.z),)


def _scaled_float(call: Call, total: Integers, scale: np.float32) -> Array:
    """XNNPACK's reductions add the zero point before they round: ties depend on it."""
    moved = total.astype(np.float32) * scale + np.float32(call.y.z)
    return finish(call, np.rint(moved))


def _is_image(call: Call) -> bool:
    """Whether the optimized MEAN of images applies: over height and width, dimensions kept."""
    kept = bool(call.option("keepDims", False))
    return call.x().ndim == 4 and _axes(call) == (1, 2) and kept and call.y.dtype != "int16"


def _mean_optimized(call: Call, total: Integers, count: int) -> Array:
    """MEAN of images: the zero point's part is a rounded constant."""
    x, y = call.grid(), call.y
    offset = int(round_away(np.float32(x.z) * x.s / y.s))
    m0, shift = quantize_multiplier(float(x.s / (np.float32(count) * y.s)))
    raw = total + x.z * count
    return finish(call, MULTIPLY["double"](raw, m0, shift) + y.z - offset)


def sum_(call: Call) -> tuple[Array, ...]:
    """SUM in float32, by TFLite's optimized kernel or XNNPACK."""
    if call.y.dtype == "int16":
        raise Unsupported("SUM of int16")
    total, count = _sums(call)
    x = call.grid()
    if call.rounding == "xnnpack":
        return (_scaled_float(call, total, x.s / call.y.s),)
    if call.rounding == "double":
        return (to_output(call, total, float(x.s) / float(call.y.s), (call.y.low, call.y.high)),)
    scale = x.s / call.y.s
    bias = np.float32(-x.z) * scale * np.float32(count)
    raw = (total + x.z * count).astype(np.float32)
    return (finish(call, round_away(raw * scale + bias) + call.y.z),)


def reduce_max(call: Call) -> tuple[Array, ...]:
    """REDUCE_MAX of codes."""
    return (call.x().max(axis=_axes(call)).reshape(call.y.shape),)


def reduce_min(call: Call) -> tuple[Array, ...]:
    """REDUCE_MIN of codes."""
    return (call.x().min(axis=_axes(call)).reshape(call.y.shape),)


def arg_max(call: Call) -> tuple[Array, ...]:
    """ARG_MAX of codes: the first of equals."""
    return (_arg(call, call.x()),)


def arg_min(call: Call) -> tuple[Array, ...]:
    """ARG_MIN of codes: the first of equals."""
    return (_arg(call, -call.x().astype(np.int32)),)


def _arg(call: Call, values: Array) -> Array:
    axis = int(call.x(1).reshape(-1)[0])
    return np.argmax(values, axis=axis).reshape(call.y.shape).astype(call.y.dtype)
