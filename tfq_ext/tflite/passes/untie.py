"""One constant, one role: a table shared by GATHER and FULLY_CONNECTED aborts the quantizer."""

from __future__ import annotations

import copy
from typing import Any

from tfq_ext.tflite import patch
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph, Model


def untie(model: Model) -> list[str]:
    """Give every role of a shared float constant a tensor of its own (bytes stay shared).

    A role is (op kind, input position): two dense layers may go on sharing a weight, an embedding
    and a dense layer may not. Only constants that serve as somebody's weight are touched.
    """
    touched = []
    for graph in model.graphs:
        for tensor in _weights(graph):
            roles: dict[tuple[str, int], list[Any]] = {}
            for k in graph.consumers[tensor]:
                op = graph.ops[k]
                roles.setdefault((graph.code(op), list(op.inputs).index(tensor)), []).append(op)
            for ops in list(roles.values())[1:]:
                twin = duplicate(graph, tensor)
                for op in ops:
                    patch.replace_input(op, tensor, twin)
                touched.append(graph.name(twin))
        graph.changed()
    return touched


def duplicate(graph: Graph, tensor: int) -> int:
    """A second tensor over the same bytes; returns its index."""
    twin = copy.copy(graph.tensors[tensor])
    twin.name = patch.unique_name(graph, graph.name(tensor) + "/twin").encode()
    graph.tensors.append(twin)
    graph.changed()
    return len(graph.tensors) - 1


def _weights(graph: Graph) -> list[int]:
    seen: dict[int, None] = {}
    for op in graph.ops:
        code = graph.code(op)
        if code in WEIGHTS and len(op.inputs) > WEIGHTS[code].weight:
            tensor = int(op.inputs[WEIGHTS[code].weight])
            if graph.is_constant(tensor) and graph.dtype(tensor) == "float32":
                seen[tensor] = None
    return list(seen)
