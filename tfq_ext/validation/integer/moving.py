"""Ops that move codes and change none.

Source: the TFLite kernels of the same names; grids are equal by the 8-bit specification.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.numerics.fixedpoint import round_away
from tfq_ext.validation.integer.call import Array, Call, Unsupported, finish

Outputs = tuple[Array, ...]


def _numbers(call: Call, k: int) -> list[int]:
    return [int(v) for v in call.x(k).reshape(-1)]


def reshape(call: Call) -> Outputs:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the same codes in the same order."""
    return (call.x().reshape(call.y.shape),)


def transpose(call: Call) -> Outputs:
    """TRANSPOSE by the permutation in input 1."""
    return (call.x().transpose(_numbers(call, 1)),)


def slice_(call: Call) -> Outputs:
    """SLICE from `begin`, as many as the output has."""
    begin = _numbers(call, 1)
    places = tuple(slice(b, b + n) for b, n in zip(begin, call.y.shape, strict=True))
    return (call.x()[places],)


def strided_slice(call: Call) -> Outputs:
    """STRIDED_SLICE with begin, end and shrink masks."""
    if call.option("ellipsisMask", 0) or call.option("newAxisMask", 0) or call.option("offset", 0):
        raise Unsupported("STRIDED_SLICE with ellipsis, new axes or offsets")
    begin, end, stride = (_numbers(call, k) for k in (1, 2, 3))
    places: list[slice | int] = []
    for axis, (b, e, step) in enumerate(zip(begin, end, stride, strict=True)):
        if (int(call.option("shrinkAxisMask", 0)) >> axis) & 1:
            places.append(b)
            continue
        first = None if (int(call.option("beginMask", 0)) >> axis) & 1 else b
        last = None if (int(call.option("endMask", 0)) >> axis) & 1 else e
        places.append(slice(first, last, step))
    return (call.x()[tuple(places)].reshape(call.y.shape),)


def split(call: Call) -> Outputs:
    """SPLIT into equal parts along the axis in input 0."""
    return tuple(np.split(call.x(1), len(call.outputs), axis=_numbers(call, 0)[0]))


def split_v(call: Call) -> Outputs:
    """SPLIT_V into the outputs' sizes along the axis in input 2."""
    axis = _numbers(call, 2)[0]
    sizes = [g.shape[axis] for g in call.outputs]
    return tuple(np.split(call.x(), np.cumsum(sizes)[:-1], axis=axis))


def pack(call: Call) -> Outputs:
    """PACK along a new axis."""
    parts = [call.x(k) for k in range(len(call.inputs))]
    return (np.stack(parts, axis=int(call.option("axis", 0))),)


def unpack(call: Call) -> Outputs:
    """UNPACK along an axis."""
    axis = int(call.option("axis", 0))
    return tuple(np.take(call.x(), k, axis=axis) for k in range(len(call.outputs)))


def concatenation(call: Call) -> Outputs:
    """CONCATENATION: int8 and int16 codes as they are; uint8 ones rescaled in float32."""
    parts = []
    for k in range(len(call.inputs)):
        codes, g = call.x(k), call.grid(k)
        if g.dtype == "uint8" and not g.same(call.y):
            factor = g.s * (np.float32(1) / call.y.s)
            shift = np.float32(-g.z) * factor
            moved = round_away(codes.astype(np.float32) * factor + shift) + call.y.z
            codes = finish(call, moved)
        parts.append(codes)
    return (np.concatenate(parts, axis=int(call.option("axis", 0))),)


def pad(call: Call) -> Outputs:
    """PAD with the zero point, PADV2 with the code in input 2."""
    widths = call.x(1).reshape(-1, 2).tolist()
    value = int(call.x(2).reshape(-1)[0]) if call.has(2) else call.y.z
    return (np.pad(call.x(), widths, constant_values=value),)


def mirror_pad(call: Call) -> Outputs:
    """MIRROR_PAD: REFLECT leaves the edge out, SYMMETRIC repeats it."""
    mode = "reflect" if int(call.option("mode", 0)) == 0 else "symmetric"
    return (np.pad(call.x(), call.x(1).reshape(-1, 2).tolist(), mode=mode),)  # type: ignore[call-overload]


def gather(call: Call) -> Outputs:
    """GATHER along an axis."""
    if call.option("batchDims", 0):
        raise Unsupported("GATHER with batch dimensions")
    return (np.take(call.x(), call.x(1), axis=int(call.option("axis", 0))),)


def gather_nd(call: Call) -> Outputs:
    """GATHER_ND by the last axis of the indices."""
    return (call.x()[tuple(np.moveaxis(call.x(1), -1, 0))],)


def tile(call: Call) -> Outputs:
    """TILE."""
    return (np.tile(call.x(), _numbers(call, 1)),)


def broadcast_to(call: Call) -> Outputs:
    """BROADCAST_TO."""
    return (np.broadcast_to(call.x(), call.y.shape).copy(),)


def reverse_v2(call: Call) -> Outputs:
    """REVERSE_V2 along the axes in input 1."""
    return (np.flip(call.x(), tuple(_numbers(call, 1))),)


def space_to_depth(call: Call) -> Outputs:
    """SPACE_TO_DEPTH of [N,H,W,C]."""
    n, h, w, c = call.x().shape
    b = int(call.option("blockSize", 1))
    blocks = call.x().reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(call.y.shape),)


def depth_to_space(call: Call) -> Outputs:
    """DEPTH_TO_SPACE of [N,H,W,C]."""
    n, h, w, c = call.x().shape
    b = int(call.option("blockSize", 1))
    blocks = call.x().reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    return (blocks.reshape(call.y.shape),)


def space_to_batch_nd(call: Call) -> Outputs:
    """SPACE_TO_BATCH_ND of [N,H,W,C], padded with the zero point."""
    x = call.x()
    if x.ndim != 4:
        raise Unsupported(f"SPACE_TO_BATCH_ND of {x.ndim} axes")
    by, bx = _numbers(call, 1)
    pads = call.x(2).reshape(-1, 2).tolist()
    x = np.pad(x, ((0, 0), *pads, (0, 0)), constant_values=call.y.z)
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // by, by, w // bx, bx, c).transpose(2, 4, 0, 1, 3, 5)
    return (blocks.reshape(call.y.shape),)


def batch_to_space_nd(call: Call) -> Outputs:
    """BATCH_TO_SPACE_ND of [N,H,W,C], then cropped."""
    x = call.x()
    if x.ndim != 4:
        raise Unsupported(f"BATCH_TO_SPACE_ND of {x.ndim} axes")
    by, bx = _numbers(call, 1)
    (top, _), (left, _) = call.x(2).reshape(-1, 2).tolist()
    n, h, w, c = x.shape
    full = x.reshape(by, bx, n // (by * bx), h, w, c).transpose(2, 3, 0, 4, 1, 5)
    full = full.reshape(n // (by * bx), h * by, w * bx, c)
    _, rows, columns, _ = call.y.shape
    return (full[:, top : top + rows, left : left + columns],)


def select(call: Call) -> Outputs:
    """SELECT, SELECT_V2 of codes by a mask."""
    mask, a, b = call.x(0), call.x(1), call.x(2)
    if call.code == "SELECT" and mask.ndim == 1 and a.ndim > 1:
        mask = mask.reshape(-1, *[1] * (a.ndim - 1))
    return (np.where(mask, a, b),)


def dynamic_update_slice(call: Call) -> Outputs:
    """DYNAMIC_UPDATE_SLICE: the update at a start that is moved inside."""
    x, part = call.x().copy(), call.x(1)
    start = [
        min(max(s, 0), n - m)
        for s, n, m in zip(_numbers(call, 2), x.shape, part.shape, strict=True)
    ]
    x[tuple(slice(s, s + m) for s, m in zip(start, part.shape, strict=True))] = part
    return (x,)
