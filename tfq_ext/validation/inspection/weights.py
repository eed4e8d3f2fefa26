"""Ranges, dead channels and zeros of every weight, in a few passes over its values."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.tflite.facts import LOOKUPS, WEIGHTS
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene
from tfq_ext.validation.inspection.rows import WeightRow

FAINT = 1e-5  # 8-bit biases of weaker channels leave int32 (87 in EfficientNet-Lite0)
_ENDS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_ENDS |= {"int4": (-8, 7), "int2": (-2, 1)}


def weight_rows(scene: Scene) -> tuple[WeightRow, ...]:
    """One row a stored weight, by its first reader, in execution order.

    Sparse constants are left out: their rows are in `sparse`.
    """
    seen: set[tuple[int, int]] = set()
    rows: list[WeightRow] = []
    for place in scene.places:
        for tensor in macs.weights(scene, place):
            key = place.graph.index, tensor
            if key not in seen and place.graph.tensors[tensor].sparsity is None:
                seen.add(key)
                rows += _row(place, tensor)
    return tuple(rows)


def _row(place: Place, tensor: int) -> Iterator[WeightRow]:
    graph = place.graph
    try:
        values = graph.constant(tensor)
    except ModelError:  # fewer bytes than its shape asks for: a matter for lint, not for ranges
        return
    if values is None or not values.size or values.dtype.kind not in "iuf":
        return
    axis = _axis(place, tensor, values.ndim)
    low, high, zeros = _extremes(graph, tensor, values, axis)
    top = np.maximum(-low, high)
    yield WeightRow(
        graph.index,
        place.index,
        place.code,
        graph.name(tensor),
        graph.dtype(tensor),
        tuple(values.shape),
        axis,
        len(_scales(graph, tensor)),
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(np.flatnonzero(top == 0).tolist()),
        tuple(np.flatnonzero((top > 0) & (top <= FAINT)).tolist()),
        zeros,
        _at_ends(values, graph.dtype(tensor)),
    )


def _axis(place: Place, tensor: int, rank: int) -> int:
    fact = WEIGHTS.get(place.code) or LOOKUPS.get(place.code)
    q = place.graph.tensors[tensor].quantization
    by_op = fact.axis if fact is not None else 0
    own = q.quantizedDimension if q is not None and len(_scales(place.graph, tensor)) > 1 else by_op
    return own if 0 <= own < rank else 0


def _scales(graph: Graph, tensor: int) -> np.ndarray:
    q = graph.tensors[tensor].quantization
    return np.asarray([] if q is None or q.scale is None else q.scale, np.float64)


def _zeros(graph: Graph, tensor: int) -> np.ndarray:
    q = graph.tensors[tensor].quantization
    given = None if q is None else q.zeroPoint
    return np.asarray([0] if given is None or not len(given) else given, np.float64)


def _extremes(
    graph: Graph, tensor: int, values: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """float64[C] smallest and largest real of each channel, and the share of zeros."""
    others = tuple(k for k in range(values.ndim) if k != axis)
    low, high = values.min(axis=others), values.max(axis=others)
    low, high = low.astype(np.float64), high.astype(np.float64)
    scale, zero = _scales(graph, tensor), _zeros(graph, tensor)
    if values.dtype.kind == "f" or not len(scale):
        return low, high, 1 - np.count_nonzero(values) / values.size
    if len(scale) not in (1, len(low)):
        scale = scale[:1]
    if len(zero) not in (1, len(low)):
        zero = zero[:1]
    zeros: float
    if not zero.any():
        zeros = 1 - int(np.count_nonzero(values)) / values.size
    else:
        shape = [-1 if k == axis else 1 for k in range(values.ndim)]
        zeros = float(np.mean(values == zero.reshape(shape if len(zero) > 1 else ())))
    with np.errstate(all="ignore"):  # scales of hostile files are inf or NaN
        return (low - zero) * scale, (high - zero) * scale, zeros


def _at_ends(values: np.ndarray, dtype: str) -> float:
    if dtype not in _ENDS:
        return 0.0
    low, high = _ENDS[dtype]
    return float(np.count_nonzero((values == low) | (values == high)) / values.size)
