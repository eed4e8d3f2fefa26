"""Small edits of a flatbuffer tree: add a constant, a tensor, an op; write scales and ranges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.spec import QParams, Range
from tfq_ext.tflite import bits
from tfq_ext.tflite.facts import OP_CODES, TYPE_CODES
from tfq_ext.tflite.read import Graph, Model


def add_buffer(model: Model, raw: np.ndarray | None) -> int:
    """Append a constant's bytes (uint8[n]); returns the buffer index."""
    buffer = schema.BufferT()
    buffer.data = raw
    model.tree.buffers.append(buffer)
    return len(model.tree.buffers) - 1


def add_tensor(
    graph: Graph,
    name: str,
    dtype: str,
    shape: Sequence[int],
    *,
    values: np.ndarray | None = None,
    params: QParams | None = None,
    signature: Sequence[int] | None = None,
) -> int:
    """Append a tensor, with a constant of its own when `values` is given; returns its index."""
    t = schema.TensorT()
    t.name = unique_name(graph, name).encode()
    t.type = TYPE_CODES[dtype]
    t.shape = [int(d) for d in shape]
    t.shapeSignature = None if signature is None else [int(d) for d in signature]
    t.buffer = add_buffer(graph.model, None if values is None else bits.pack(values, dtype))
    t.quantization = None if params is None else quantization(params)
    t.hasRank = True
    graph.tensors.append(t)
    index = len(graph.tensors) - 1
    graph.by_name[graph.name(index)] = index
    return index


def like(graph: Graph, tensor: int, suffix: str, *, dtype: str | None = None) -> int:
    """A new activation tensor shaped as `tensor`, named after it."""
    t = graph.tensors[tensor]
    new = add_tensor(
        graph,
        graph.name(tensor) + suffix,
        dtype or graph.dtype(tensor),
        t.shape or (),
        signature=t.shapeSignature,
    )
    return new


def add_op_code(model: Model, name: str, version: int = 1) -> int:
    """Index of the op code entry for (name, at least version); added when absent."""
    code = OP_CODES[name]
    for k, entry in enumerate(model.tree.operatorCodes):
        if max(entry.builtinCode, entry.deprecatedBuiltinCode) == code:
            entry.version = max(entry.version, version)
            return k
    entry = schema.OperatorCodeT()
    entry.builtinCode = code
    entry.deprecatedBuiltinCode = min(code, 127)
    entry.version = version
    model.tree.operatorCodes.append(entry)
    return len(model.tree.operatorCodes) - 1


def insert_op(
    graph: Graph,
    position: int,
    name: str,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    version: int = 1,
    options: tuple[str, Any] | None = None,
) -> Any:
    """Insert an op before op number `position`; `options` is (schema union name, object)."""
    op = schema.OperatorT()
    op.opcodeIndex = add_op_code(graph.model, name, version)
    op.inputs = [int(i) for i in inputs]
    op.outputs = [int(i) for i in outputs]
    if options is not None:
        op.builtinOptionsType = getattr(schema.BuiltinOptions, options[0])
        op.builtinOptions = options[1]
    graph.ops.insert(position, op)
    graph.changed()
    return op


def quantization(params: QParams) -> Any:
    """schema QuantizationParametersT of a grid."""
    q = schema.QuantizationParametersT()
    q.scale = [float(s) for s in np.atleast_1d(params.scale)]
    q.zeroPoint = [int(z) for z in np.atleast_1d(params.zero_point)]
    q.quantizedDimension = params.spec.axis or 0
    return q


def set_params(graph: Graph, tensor: int, dtype: str, params: QParams | None) -> None:
    """Give a tensor an integer type and its grid."""
    t = graph.tensors[tensor]
    t.type = TYPE_CODES[dtype]
    t.quantization = None if params is None else quantization(params)


def set_range(graph: Graph, tensor: int, r: Range) -> None:
    """Record the calibrated range of an activation where TensorFlow's quantizer looks for it."""
    q = schema.QuantizationParametersT()
    q.min, q.max = [np.float32(r.min)], [np.float32(r.max)]
    graph.tensors[tensor].quantization = q


def replace_input(op: Any, old: int, new: int) -> None:
    """Let `op` read `new` wherever it read `old`."""
    op.inputs = [new if int(i) == old else int(i) for i in op.inputs]


def unique_name(graph: Graph, wanted: str) -> str:
    """`wanted`, with a number behind it when the subgraph already has a tensor of that name."""
    if wanted not in graph.by_name:
        return wanted
    k = 1
    while f"{wanted}_{k}" in graph.by_name:
        k += 1
    return f"{wanted}_{k}"


def dequantize_weight(
    graph: Graph, tensor: int, codes: np.ndarray, params: QParams, *, dtype: str
) -> int:
    """Replace a float constant by integer codes followed by DEQUANTIZE, for all who read it.

    Args:
        tensor: index of the float32 constant.
        codes: integers of the constant's shape.
        params: their grid (per tensor, or per channel along `params.spec.axis`).
        dtype: how the codes are stored: "int8" or "int4".

    Returns:
        Index of the tensor that holds the codes.
    """
    t = graph.tensors[tensor]
    stored = add_tensor(
        graph, graph.name(tensor) + "/codes", dtype, t.shape, values=codes, params=params
    )
    t.buffer = add_buffer(graph.model, None)
    first = min(graph.consumers[tensor])
    version = 2 if params.spec.axis is not None else 1  # per-axis DEQUANTIZE began with version 2
    insert_op(graph, first, "DEQUANTIZE", [stored], [tensor], version=max(version, 2))
    return stored
