"""RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR of codes.

Source: TFLite reference resize_nearest_neighbor.h, resize_bilinear.h (ResizeBilinearInteger:
10-bit coordinates); XNNPACK s8-ibilinear (11-bit weights).
"""

from __future__ import annotations

import numpy as np

from tfq_ext.numerics.fixedpoint import Integers, round_away
from tfq_ext.validation.integer.call import Array, Call, Unsupported, finish

Axis = tuple[Integers, Integers, Integers]  # lower index, upper index, weight of the upper


def resize_nearest_neighbor(call: Call) -> tuple[Array, ...]:
    """Copies of codes."""
    rows = _nearest(call, call.x().shape[1], call.y.shape[1])
    columns = _nearest(call, call.x().shape[2], call.y.shape[2])
    return (call.x()[:, rows][:, :, columns],)


def _nearest(call: Call, size: int, out: int) -> Integers:
    corners = bool(call.option("alignCorners", False)) and out > 1
    half = bool(call.option("halfPixelCenters", False))
    scale = np.float32(size - 1) / np.float32(out - 1) if corners else np.float32(size / out)
    if not corners:
        scale = np.float32(size) / np.float32(out)
    at = (np.arange(out, dtype=np.float32) + np.float32(0.5 if half else 0.0)) * scale
    aligned = bool(call.option("alignCorners", False))
    index = round_away(at) if aligned else np.floor(at).astype(np.int64)
    return np.clip(index, 0, size - 1)


def resize_bilinear(call: Call) -> tuple[Array, ...]:
    """Weighted sum of four codes; no zero point is needed, the weights sum to one."""
    if call.y.dtype == "uint8" and call.rounding != "xnnpack":
        raise Unsupported("TFLite's own RESIZE_BILINEAR of uint8: it interpolates in float")
    make, bits = (_axis_11, 11) if call.rounding == "xnnpack" else (_axis_10, 10)
    x = call.x().astype(np.int64)
    y0, y1, wy = make(call, x.shape[1], call.y.shape[1])
    x0, x1, wx = make(call, x.shape[2], call.y.shape[2])
    one = 1 << bits
    wx = wx[:, None]
    across: Integers = x[:, :, x0] * (one - wx) + x[:, :, x1] * wx
    wy = wy[:, None, None]
    total: Integers = across[:, y0] * (one - wy) + across[:, y1] * wy
    return (finish(call, _divide(total, 2 * bits, up=call.rounding == "xnnpack")),)


def _divide(total: Integers, bits: int, *, up: bool) -> Integers:
    half = 1 << (bits - 1)
    if up:
        return (total + half) >> bits
    away = np.where(total > 0, total + half, total - half)
    return np.where(away >= 0, away >> bits, -(-away >> bits))


def _axis_10(call: Call, size: int, out: int) -> Axis:
    """TFLite's coordinates: integers with 10 fractional bits."""
    scale = ((1 << 10) * size + out // 2) // out
    if call.option("alignCorners", False) and out > 1:
        scale = ((1 << 10) * (size - 1) + (out - 1) // 2) // (out - 1)
    at = np.arange(out, dtype=np.int64) * scale
    if call.option("halfPixelCenters", False):
        at = at + scale // 2 - (1 << 9)
    lower = np.maximum(np.where(at >= 0, at >> 10, -(-at >> 10)), 0)
    upper = at + 1023
    upper = np.minimum(np.where(upper >= 0, upper >> 10, -(-upper >> 10)), size - 1)
    return np.minimum(lower, size - 1), upper, at - (lower << 10)


def _axis_11(call: Call, size: int, out: int) -> Axis:
    """XNNPACK's: float32 coordinates, weights rounded to 11 bits."""
    corners = bool(call.option("alignCorners", False)) and out > 1
    scale = np.float32(size - 1 if corners else size) / np.float32(out - 1 if corners else out)
    at = np.arange(out, dtype=np.float32)
    if call.option("halfPixelCenters", False):
        at = (at + np.float32(0.5)) * scale - np.float32(0.5)
    else:
        at = at * scale
    at = np.clip(at, np.float32(0), np.float32(size - 1))
    lower = np.floor(at).astype(np.int64)
    weight = np.rint((at - lower.astype(np.float32)) * np.float32(2048)).astype(np.int64)
    return lower, np.minimum(lower + 1, size - 1), weight
