"""Between what a file stores and the reals that it stands for."""

from __future__ import annotations

import numpy as np

from tfq_ext.tflite.arithmetic import FLOATS, has_grid
from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.runner import Port

CODES = frozenset({"int8", "uint8", "int16", "int32", "int4", "int2"})


def port_of(graph: Graph, tensor: int, name: str, dtype: np.dtype) -> Port:
    """An input or output; one that has a scale per channel counts as plain integers."""
    q = graph.tensors[tensor].quantization
    single = q is not None and q.scale is not None and len(q.scale) == 1
    used = single and dtype.kind in "iu"
    scale, zero = (float(q.scale[0]), _zero(q)) if used else (0.0, 0)
    return Port(name, tensor, graph.shape(tensor), dtype, scale, zero)


def _zero(q: object) -> int:
    points = getattr(q, "zeroPoint", None)
    return int(points[0]) if points is not None and len(points) else 0


def is_real(graph: Graph, tensor: int) -> bool:
    """Whether a tensor stands for reals: floats, and codes with a grid."""
    dtype = graph.dtype(tensor)
    return dtype in FLOATS or (dtype in CODES and has_grid(graph, tensor))


def real(graph: Graph, tensor: int, stored: np.ndarray) -> np.ndarray | None:
    """float32 values; None for ids, masks and texts, which are no reals."""
    if stored.dtype.kind == "f":
        return stored.astype(np.float32, copy=False)
    q = graph.tensors[tensor].quantization
    if q is None or not is_real(graph, tensor):
        return None
    scale = np.asarray(q.scale, np.float32)
    zero = np.zeros(len(scale), np.int64) if q.zeroPoint is None else np.asarray(q.zeroPoint)
    if len(scale) > 1:
        axis = int(q.quantizedDimension)
        along = [-1 if d == axis else 1 for d in range(stored.ndim)]
        if axis >= stored.ndim or stored.shape[axis] != len(scale):
            return None
        scale, zero = scale.reshape(along), zero.reshape(along)
    return np.asarray((stored.astype(np.int64) - zero) * scale, np.float32)


def constant_real(graph: Graph, tensor: int) -> np.ndarray | None:
    """The reals of a constant, also behind a DEQUANTIZE; None if it is no constant of reals."""
    if tensor < 0:
        return None
    stored = graph.constant(tensor)
    if stored is not None:
        return real(graph, tensor, stored)
    maker = graph.producer.get(tensor)
    if maker is None or graph.code(graph.ops[maker]) != "DEQUANTIZE":
        return None
    source = int(graph.ops[maker].inputs[0])
    return constant_real(graph, source) if graph.is_constant(source) else None
