"""Constants behind QUANTIZE and DEQUANTIZE: floats again, with their codes in the hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfq_ext.emit.absorb.grids import BITS, fake_quant_codes, grid_of, narrowed, offset
from tfq_ext.emit.plan import WeightCodes
from tfq_ext.spec import QParams
from tfq_ext.tflite import bits
from tfq_ext.tflite.facts import TYPE_CODES
from tfq_ext.tflite.patch import add_buffer
from tfq_ext.tflite.read import Graph

Coded = tuple[np.ndarray, QParams]  # int32 codes (signed), their grid


def settle_constants(graph: Graph) -> dict[int, Coded]:
    """Make float constants of coded ones, in place: tensor index -> codes.

    Integer constant -> DEQUANTIZE, float constant -> QUANTIZE -> DEQUANTIZE, and what moves such
    constants about without computing (TRANSPOSE, RESHAPE).
    """
    coded: dict[int, Coded] = {}
    kept = []
    for op in graph.ops:
        made = _settled(graph, op, coded)
        if made is None:
            kept.append(op)
            continue
        target = int(op.outputs[0])
        coded[target] = made
        if graph.code(op) != "QUANTIZE":
            _store(graph, target, made)
    graph.tree.operators = kept
    graph.changed()
    return {t: made for t, made in coded.items() if graph.dtype(t) == "float32"}


def _settled(graph: Graph, op: Any, coded: dict[int, Coded]) -> Coded | None:
    handler = _HANDLERS.get(graph.code(op))
    return None if handler is None else handler(graph, op, coded)


def _dequantized(graph: Graph, op: Any, coded: dict[int, Coded]) -> Coded | None:
    source = int(op.inputs[0])
    if source in coded:
        return coded[source]
    if not graph.is_constant(source) or graph.dtype(source) not in BITS:
        return None
    dtype = graph.dtype(source)
    stored = np.asarray(graph.constant(source)).astype(np.int32)
    return stored - offset(dtype), grid_of(graph, source)


def _quantized(graph: Graph, op: Any, coded: dict[int, Coded]) -> Coded | None:
    source, target = int(op.inputs[0]), int(op.outputs[0])
    values = graph.constant(source) if graph.dtype(source) == "float32" else None
    if values is None or graph.dtype(target) not in BITS or target in graph.outputs:
        return None
    params = narrowed(values, grid_of(graph, target))
    return fake_quant_codes(values, params), params


def _moved(graph: Graph, op: Any, coded: dict[int, Coded]) -> Coded | None:
    """TRANSPOSE of a coded constant: the same codes elsewhere, scales along the moved axis."""
    order = graph.constant(int(op.inputs[1])) if int(op.inputs[0]) in coded else None
    if order is None or int(op.outputs[0]) in graph.outputs:
        return None
    codes, params = coded[int(op.inputs[0])]
    axes = [int(a) for a in order]
    axis = None if params.spec.axis is None else axes.index(params.spec.axis)
    spec = params.spec.on(axis)
    return np.transpose(codes, axes), QParams(spec, params.scale, params.zero_point)


def _reshaped(graph: Graph, op: Any, coded: dict[int, Coded]) -> Coded | None:
    source = int(op.inputs[0])
    if source not in coded or int(op.outputs[0]) in graph.outputs:
        return None
    codes, params = coded[source]
    shape = tuple(int(n) for n in graph.tensors[op.outputs[0]].shape)
    axis = _axis_after(codes.shape, shape, params.spec.axis)
    if params.spec.axis is not None and axis is None:
        return None
    return codes.reshape(shape), QParams(params.spec.on(axis), params.scale, params.zero_point)


def _axis_after(old: tuple[int, ...], new: tuple[int, ...], axis: int | None) -> int | None:
    """Where an axis lies after a reshape: as long, with as many elements before it."""
    if axis is None:
        return None
    before = int(np.prod(old[:axis], dtype=int))
    for k, n in enumerate(new):
        if n == old[axis] and int(np.prod(new[:k], dtype=int)) == before:
            return k
    return None


def _store(graph: Graph, tensor: int, made: Coded) -> None:
    codes, params = made
    t = graph.tensors[tensor]
    t.buffer = add_buffer(graph.model, bits.pack(params.decode(codes), "float32"))
    t.type, t.shape, t.shapeSignature = TYPE_CODES["float32"], list(codes.shape), None
    t.quantization = None


_HANDLERS: dict[str, Callable[[Graph, Any, dict[int, Coded]], Coded | None]] = {
    "DEQUANTIZE": _dequantized,
    "QUANTIZE": _quantized,
    "TRANSPOSE": _moved,
    "RESHAPE": _reshaped,
}


def as_weight(made: Coded) -> WeightCodes | None:
    """Codes that an integer kernel takes (zero point 0, 8 bits or fewer); None for others.

    A zero point is shifted away where the codes stay within their bits.
    """
    codes, params = made
    spec = params.spec
    if spec.bits > 8:
        return None
    zero = params.zero_point
    if spec.axis is not None:
        shape = [1] * codes.ndim
        shape[spec.axis] = -1
        zero = zero.reshape(shape)
    moved = codes - zero
    half = 2 ** (spec.bits - 1)
    if moved.size and (moved.min() < -half or moved.max() >= half):
        return None
    narrow = bool(moved.min(initial=0) > -half)
    plain = type(spec)(spec.bits, symmetric=True, narrow=narrow, axis=spec.axis)
    stored = "int4" if spec.bits <= 4 else "int8"
    return WeightCodes(np.ascontiguousarray(moved, np.int8), QParams(plain, params.scale), stored)
