"""ReLU6 -> ReLU in the flatbuffer: changes the float output where activations exceed 6."""

from __future__ import annotations

from typing import Any

from ai_edge_litert.schema_py_generated import ActivationFunctionType as Activation

from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model


def relu6_to_relu(model: Model) -> list[str]:
    """Drop the cap, fused or standing alone; returns the tensors that may now exceed 6.

    Not exact: the share of activations above 6 says how much it releases. Whether it helps is an
    open question (Krishnamoorthi section 3 prefers ReLU, Jacob table 4.3 ReLU6): measure.
    """
    capped = [(graph, op) for graph, _, op, _ in model.walk() if is_capped(graph, op)]
    for graph, op in capped:
        uncap(graph, op)
    return [graph.name(op.outputs[0]) for graph, op in capped]


def is_capped(graph: Graph, op: Any) -> bool:
    """Whether an op is a ReLU6 or ends in one."""
    fused = getattr(op.builtinOptions, "fusedActivationFunction", None)
    return graph.code(op) == "RELU6" or fused == Activation.RELU6


def uncap(graph: Graph, op: Any) -> None:
    """Make ReLU of one op's ReLU6."""
    if graph.code(op) == "RELU6":
        op.opcodeIndex = patch.add_op_code(graph.model, "RELU")
    else:
        op.builtinOptions.fusedActivationFunction = Activation.RELU
