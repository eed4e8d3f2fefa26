"""What a tensor of a .tflite means in reals: its grid, its constants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.numerics.differences import encode_into
from tfq_ext.tflite.arithmetic import FLOATS, QUANTIZED, has_grid
from tfq_ext.tflite.read import Graph

_BITS = {"int4": 4, "int2": 2}
MAX_SCALE = 1e30


@dataclass(frozen=True)
class Grid:
    """The affine grid of one activation: real = scale * (code - zero_point).

    Args:
        scale: reals per code, > 0; 0.0 for a float tensor.
        zero_point: the code of real 0.
        qmin, qmax: outermost codes.
        stored: whether the tensor holds codes; False for reals that FAKE_QUANT rounded.
    """

    scale: float = 0.0
    zero_point: int = 0
    qmin: int = 0
    qmax: int = 0
    stored: bool = False

    @property
    def lo(self) -> float:
        """The lowest real."""
        return (self.qmin - self.zero_point) * self.scale

    @property
    def hi(self) -> float:
        """The highest real."""
        return (self.qmax - self.zero_point) * self.scale

    @property
    def known(self) -> bool:
        """False for floats."""
        return self.scale > 0

    @property
    def factors(self) -> tuple[np.float32, np.float32]:
        """(scale, zero) that turn what is stored into reals."""
        if not self.stored:
            return np.float32(1), np.float32(0)
        return np.float32(self.scale), np.float32(self.zero_point)

    def encode(self, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """What the tensor stores for float32 reals."""
        if not self.stored:
            return x.astype(dtype, copy=False)
        flat = np.ascontiguousarray(x, np.float32).reshape(-1)
        out = np.empty(flat.size, dtype)
        ends = (self.zero_point, self.qmin, self.qmax)
        encode_into(flat, np.float32(self.scale), *(np.float32(v) for v in ends), out)
        return out.reshape(x.shape)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """float32 reals."""
        if not self.stored:
            return stored.astype(np.float32, copy=False)
        shifted = stored.astype(np.float32) - np.float32(self.zero_point)
        return np.asarray(shifted * np.float32(self.scale))


FLOAT = Grid()


def is_real(graph: Graph, tensor: int) -> bool:
    """Whether the tensor stands for reals: floats, or codes with a scale."""
    return graph.dtype(tensor) in FLOATS or has_grid(graph, tensor)


def grid_of(graph: Graph, tensor: int) -> Grid | None:
    """The grid of an activation; FLOAT for floats; None where it has no single usable scale."""
    dtype = graph.dtype(tensor)
    if dtype in FLOATS:
        return _simulated(graph, tensor)
    if not has_grid(graph, tensor) or dtype not in QUANTIZED | {"int32"} or dtype in _BITS:
        return None
    q, ends = graph.tensors[tensor].quantization, np.iinfo(dtype)
    scale = float(q.scale[0])
    if len(q.scale) != 1 or not 0 < scale < MAX_SCALE:
        return None
    zero = int(q.zeroPoint[0]) if q.zeroPoint is not None and len(q.zeroPoint) else 0
    return Grid(scale, zero, int(ends.min), int(ends.max), stored=True)


def _simulated(graph: Graph, tensor: int) -> Grid:
    """The grid that FAKE_QUANT leaves in a float tensor; FLOAT for any other."""
    k = graph.producer.get(tensor)
    options = None if k is None else graph.ops[k].builtinOptions
    if k is None or options is None or graph.code(graph.ops[k]) != "FAKE_QUANT":
        return FLOAT
    top = 2 ** int(options.numBits) - 1
    bottom = 1 if options.narrowRange else 0
    scale = (float(options.max) - float(options.min)) / (top - bottom)
    if not 0 < scale < MAX_SCALE:
        return FLOAT
    zero = int(np.clip(round(bottom - float(options.min) / scale), bottom, top))
    return Grid(scale, zero, bottom, top)


def constant_real(graph: Graph, tensor: int) -> np.ndarray | None:
    """float32 values of a constant, DEQUANTIZE and scales per channel resolved; None if it is none.

    Source: TFLite's quantization specification: real = scale[c] * (code - zero_point[c]), c along
    quantized_dimension.
    """
    if tensor < 0:
        return None
    values = graph.constant(tensor)
    if values is None:
        k = graph.producer.get(tensor)
        if k is None or graph.code(graph.ops[k]) not in ("DEQUANTIZE", "QUANTIZE"):
            return None
        return constant_real(graph, int(graph.ops[k].inputs[0]))
    if graph.dtype(tensor) in FLOATS:
        return np.asarray(values, np.float32)
    q = graph.tensors[tensor].quantization
    if not has_grid(graph, tensor):
        return None
    scale = np.asarray(q.scale, np.float64)
    zero = np.zeros(len(scale)) if q.zeroPoint is None else np.asarray(q.zeroPoint, np.float64)
    if len(scale) > 1:
        axis = int(q.quantizedDimension)
        if axis >= values.ndim or values.shape[axis] != len(scale):
            return None
        shape = [1] * values.ndim
        shape[axis] = -1
        scale, zero = scale.reshape(shape), np.resize(zero, len(scale)).reshape(shape)
    else:
        zero = zero[:1] if len(zero) else np.zeros(1)
    return np.asarray((values.astype(np.float64) - zero) * scale, np.float32)


def stored_constant(graph: Graph, tensor: int) -> int | None:
    """Index of the constant behind a tensor, DEQUANTIZE looked through; None if there is none."""
    while not graph.is_constant(tensor):
        k = graph.producer.get(tensor)
        if k is None or graph.code(graph.ops[k]) not in ("DEQUANTIZE", "QUANTIZE"):
            return None
        tensor = int(graph.ops[k].inputs[0])
    return tensor
