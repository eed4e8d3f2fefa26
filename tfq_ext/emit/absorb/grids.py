"""The grids that a fake-quantized pivot carries, as int8 and int16 files write them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfq_ext.spec import INT16_ACTIVATION, QParams, QSpec, Range, range_for
from tfq_ext.tflite.read import Graph

BITS = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int4": 4, "uint4": 4, "int2": 2}


def grid_of(graph: Graph, tensor: int) -> QParams:
    """The grid of an integer tensor; unsigned codes (FakeQuant's) are moved to signed ones."""
    q, dtype = graph.tensors[tensor].quantization, graph.dtype(tensor)
    scale = np.asarray(q.scale, np.float32).reshape(-1)
    zero = np.asarray(0 if q.zeroPoint is None else q.zeroPoint, np.int64).reshape(-1)
    zero = np.broadcast_to(zero, scale.shape) - offset(dtype)
    axis = int(q.quantizedDimension or 0) if len(scale) > 1 else None
    spec = QSpec(BITS[dtype], symmetric=not np.any(zero), axis=axis)
    if axis is None:
        return QParams(spec, scale[0], zero[0])
    return QParams(spec, scale, zero)


def offset(dtype: str) -> int:
    """What to subtract from codes and zero points so that they are signed."""
    return 2 ** (BITS[dtype] - 1) if dtype.startswith("u") else 0


def same(a: QParams | None, b: QParams | None) -> bool:
    """Equal width, scales and zero points."""
    if a is None or b is None:
        return a is b
    return (
        a.spec.bits == b.spec.bits
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def fake_quant_codes(x: np.ndarray, params: QParams) -> np.ndarray:
    """Codes as TensorFlow's FakeQuant kernel rounds, in float32: int32[x's shape].

    q = floor((clip(x, lo, hi) - lo) (1 / s) + 1/2) + qmin,  lo = (qmin - z) s

    Source: tensorflow/core/kernels/fake_quant_ops_functor.h.
    """
    spec = params.spec
    shape = [1] * x.ndim
    if spec.axis is not None:
        shape[spec.axis] = -1
    s, z = (v.reshape(shape if spec.axis is not None else ()) for v in _arrays(params))
    half = np.float32(0.5)
    lo = (np.float32(spec.qmin) - z) * s
    hi = (np.float32(spec.qmax) - z) * s
    clipped = np.clip(np.asarray(x, np.float32), lo, hi)
    steps = np.floor((clipped - lo) * (np.float32(1) / s) + half)
    return np.asarray(steps.astype(np.int32) + spec.qmin)


def _arrays(params: QParams) -> tuple[np.ndarray, np.ndarray]:
    return params.scale, params.zero_point.astype(np.float32)


def narrowed(x: np.ndarray, params: QParams) -> QParams:
    """The narrow grid (no lowest code) where `x` needs no lowest code, as for trained weights."""
    if not params.spec.symmetric or np.any(params.encode(x) == params.spec.qmin):
        return params
    return QParams(replace(params.spec, narrow=True), params.scale)


def range_of(params: QParams) -> Range:
    """The range that makes this activation grid, or covers what it covers where none does."""
    if params.spec.axis is not None:
        lows = (params.spec.qmin - params.zero_point) * params.scale.astype(np.float64)
        highs = (params.spec.qmax - params.zero_point) * params.scale.astype(np.float64)
        return Range.of(float(lows.min()), float(highs.max()))
    if params.spec.bits == 16 and not params.zero_point:
        return range_for(QParams(INT16_ACTIVATION, params.scale))
    if params.spec.bits == 8:
        asymmetric = QSpec(8, symmetric=False)
        return range_for(QParams(asymmetric, params.scale, params.zero_point))
    return params.range
