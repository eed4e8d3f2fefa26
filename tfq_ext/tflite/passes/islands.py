"""Ops without an int8 kernel whose meaning another op has: no float island needs to remain."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model


def neg_to_mul(model: Model) -> list[str]:
    """-x -> x * (-1). GELU by erf leaves one NEG per block (23 in ConvNeXt)."""
    touched = []
    for graph, _, op, code in list(model.walk()):
        if code == "NEG" and graph.dtype(op.outputs[0]) == "float32":
            become_mul(graph, op, int(op.inputs[0]), _scalar(graph, op, np.float32(-1)))
            touched.append(graph.name(op.outputs[0]))
    return touched


def zeros_like_to_mul(model: Model) -> list[str]:
    """ZEROS_LIKE(x) -> x * 0 for finite x. Masks and `where` with a zero branch have it."""
    touched = []
    for graph, _, op, code in list(model.walk()):
        if code == "ZEROS_LIKE" and graph.dtype(op.outputs[0]) == "float32":
            become_mul(graph, op, int(op.inputs[0]), _scalar(graph, op, np.float32(0)))
            touched.append(graph.name(op.outputs[0]))
    return touched


def div_to_mul(model: Model) -> list[str]:
    """x / c -> x * (1 / c) for a constant c without zeros (layer scales, averages)."""
    touched = []
    for graph, _, op, code in list(model.walk()):
        if code != "DIV" or graph.dtype(op.outputs[0]) != "float32":
            continue
        divisor = graph.constant(int(op.inputs[1]))
        if divisor is None or not np.all(divisor) or not np.all(np.isfinite(1 / divisor)):
            continue
        factor = patch.add_tensor(
            graph,
            graph.name(op.inputs[1]) + "/reciprocal",
            "float32",
            divisor.shape,
            values=(1.0 / divisor.astype(np.float64)).astype(np.float32),
        )
        activation = op.builtinOptions.fusedActivationFunction if op.builtinOptions else 0
        become_mul(graph, op, int(op.inputs[0]), factor, activation)
        touched.append(graph.name(op.outputs[0]))
    return touched


def square_to_mul(model: Model) -> list[str]:
    """x**2 -> x * x, from SQUARE or POW with a constant exponent of 2 everywhere."""
    touched = []
    for graph, _, op, code in list(model.walk()):
        squares = code == "SQUARE" or (code == "POW" and _is_two(graph, op))
        if squares and graph.dtype(op.outputs[0]) == "float32":
            become_mul(graph, op, int(op.inputs[0]), int(op.inputs[0]))
            touched.append(graph.name(op.outputs[0]))
    return touched


def _is_two(graph: Graph, op: Any) -> bool:
    exponent = graph.constant(int(op.inputs[1]))
    return exponent is not None and exponent.size == 1 and float(exponent.reshape(-1)[0]) == 2.0


def _scalar(graph: Graph, op: Any, value: np.float32) -> int:
    name = f"{graph.name(op.outputs[0])}/{value:g}"
    return patch.add_tensor(graph, name, "float32", (), values=np.asarray(value))


def become_mul(graph: Graph, op: Any, left: int, right: int, activation: int = 0) -> None:
    """Make `op` the product of two tensors, keeping its output."""
    options = schema.MulOptionsT()
    options.fusedActivationFunction = activation
    op.opcodeIndex = patch.add_op_code(graph.model, "MUL")
    op.inputs = [left, right]
    op.builtinOptionsType = schema.BuiltinOptions.MulOptions
    op.builtinOptions = options
    op.builtinOptions2Type, op.builtinOptions2 = 0, None
    graph.changed()
