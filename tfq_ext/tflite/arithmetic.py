"""How each op of a file computes: in integers, in floats, or in both."""

from __future__ import annotations

from typing import Any

from tfq_ext.tflite.facts import CONTROL, WEIGHTS
from tfq_ext.tflite.read import Graph

FLOATS = frozenset({"float32", "float16", "float64", "bfloat16"})
QUANTIZED = frozenset({"int8", "uint8", "int16", "int4", "int2"})
BRIDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})

INTEGER, HYBRID, FLOAT, BRIDGE, INDEX, CONTROL_FLOW, CUSTOM = KINDS = (
    "integer",  # quantized in, quantized out
    "hybrid",  # float activations, integer weights: quantized at run time
    "float",
    "bridge",  # QUANTIZE, DEQUANTIZE: from one world to the other, or from grid to grid
    "index",  # shapes, ids, masks: no quantized and no float tensor
    "control",  # IF, WHILE, variables
    "custom",  # CUSTOM and Flex: not known
)


def arithmetic(graph: Graph, op: Any) -> str:
    """One of KINDS."""
    code = graph.code(op)
    if code.startswith(("CUSTOM:", "FLEX:")):
        return CUSTOM
    if code in CONTROL:
        return CONTROL_FLOW
    if code in BRIDGES:
        return BRIDGE
    read = [int(t) for t in (op.inputs if op.inputs is not None else ()) if t >= 0]
    made = [int(t) for t in (op.outputs if op.outputs is not None else ()) if t >= 0]
    types = {graph.dtype(t) for t in read + made}
    if types & FLOATS:
        return HYBRID if _integer_weight(graph, code, op) else FLOAT
    quantized = any(graph.dtype(t) in QUANTIZED and has_grid(graph, t) for t in read + made)
    return INTEGER if quantized else INDEX


def has_grid(graph: Graph, tensor: int) -> bool:
    """Whether the file states a scale for this tensor."""
    q = graph.tensors[tensor].quantization
    return q is not None and q.scale is not None and len(q.scale) > 0


def _integer_weight(graph: Graph, code: str, op: Any) -> bool:
    fact = WEIGHTS.get(code)
    places = range(len(op.inputs)) if fact is None else [fact.weight]
    return any(
        op.inputs[k] >= 0
        and graph.is_constant(int(op.inputs[k]))
        and graph.dtype(int(op.inputs[k])) in QUANTIZED
        and has_grid(graph, int(op.inputs[k]))
        for k in places
        if k < len(op.inputs)
    )
