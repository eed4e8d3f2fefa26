"""Ops with an 8-bit kernel and no 16-bit one, in ops that have both: for 16-bit activations only,
as 8 bits would round one time more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.tflite import patch
from tfq_ext.tflite.passes.islands import become_mul
from tfq_ext.tflite.passes.powers import rename
from tfq_ext.tflite.read import Graph, Model

_RELU6 = schema.ActivationFunctionType.RELU6


def squared_difference_to_mul(model: Model) -> list[str]:
    """(a - b)**2 -> d * d with d = a - b. Every LayerNormalization has one."""
    touched = []
    for graph, op in _all(model, "SQUARED_DIFFERENCE"):
        d = patch.like(graph, int(op.outputs[0]), "/difference")
        _before(graph, op, "SUB", [int(t) for t in op.inputs], d, schema.SubOptionsT())
        become_mul(graph, op, d, d)
        touched.append(graph.name(op.outputs[0]))
    return touched


def hard_swish_to_mul(model: Model) -> list[str]:
    """hard_swish(x) -> x * (relu6(x + 3) / 6). MobileNetV3 (Howard et al. 1905.02244, sec. 5.2)."""
    touched = []
    for graph, op in _all(model, "HARD_SWISH"):
        x, out = int(op.inputs[0]), int(op.outputs[0])
        gate, sixth = patch.like(graph, out, "/gate"), patch.like(graph, out, "/sixth")
        add = schema.AddOptionsT()
        add.fusedActivationFunction = _RELU6
        _before(graph, op, "ADD", [x, _scalar(graph, op, 3.0)], gate, add)
        _before(graph, op, "MUL", [gate, _scalar(graph, op, 1 / 6)], sixth, schema.MulOptionsT())
        become_mul(graph, op, x, sixth)
        touched.append(graph.name(out))
    return touched


def prelu_to_relu(model: Model) -> list[str]:
    """prelu(x) -> relu(x) + a * min(x, 0). Face and hand landmark networks are full of it."""
    touched = []
    for graph, op in _all(model, "PRELU"):
        x, slope, out = int(op.inputs[0]), int(op.inputs[1]), int(op.outputs[0])
        high, low, part = (patch.like(graph, out, f"/{s}") for s in ("high", "low", "part"))
        _before(graph, op, "RELU", [x], high, None)
        minimum = schema.MaximumMinimumOptionsT()
        _before(graph, op, "MINIMUM", [x, _scalar(graph, op, 0.0)], low, minimum)
        _before(graph, op, "MUL", [low, slope], part, schema.MulOptionsT())
        rename(graph, op, "ADD", [high, part], ("AddOptions", schema.AddOptionsT()))
        touched.append(graph.name(out))
    return touched


def _all(model: Model, code: str) -> list[tuple[Graph, Any]]:
    return [
        (graph, op)
        for graph, _, op, found in model.walk()
        if found == code and graph.dtype(op.outputs[0]) == "float32"
    ]


def _before(graph: Graph, op: Any, code: str, inputs: list[int], output: int, options: Any) -> None:
    named = None if options is None else (type(options).__name__.removesuffix("T"), options)
    patch.insert_op(graph, graph.ops.index(op), code, inputs, [output], options=named)


def _scalar(graph: Graph, op: Any, value: float) -> int:
    name = f"{graph.name(op.outputs[0])}/{value:.3g}"
    return patch.add_tensor(graph, name, "float32", (), values=np.array(value, np.float32))
