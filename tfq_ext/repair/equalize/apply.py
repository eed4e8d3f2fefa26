"""Scale the constants of a subgraph by the factors of its channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext.repair.equalize.chains import Found
from tfq_ext.repair.equalize.linear import Linear
from tfq_ext.tflite import patch
from tfq_ext.tflite.passes.relu6 import uncap
from tfq_ext.tflite.read import Graph


class Constants:
    """New buffers for changed constants; equal changes of one buffer share a new one.

    Two signatures over the same weights thus keep sharing them.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[int, bytes], int] = {}

    def replace(self, graph: Graph, tensor: int, values: np.ndarray) -> None:
        """Give a tensor, for all who read it, other values (float32, of its shape)."""
        t = graph.tensors[tensor]
        raw = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
        key = (int(t.buffer), raw.tobytes())
        if key not in self._made:
            self._made[key] = patch.add_buffer(graph.model, raw)
        t.buffer = self._made[key]

    def replace_input(self, graph: Graph, op: Any, position: int, values: np.ndarray) -> None:
        """Give one op other values for a constant; a tensor of its own where others read it."""
        old = int(op.inputs[position])
        if len(graph.consumers[old]) == 1:
            self.replace(graph, old, values)
            return
        self.add_input(graph, op, position, values, name=graph.name(old) + "/equalized")

    def add_input(
        self, graph: Graph, op: Any, position: int, values: np.ndarray, *, name: str = "bias"
    ) -> None:
        """Give one op a constant of its own at an input position, which may be open so far."""
        new = patch.add_tensor(graph, name, "float32", values.shape, values=values)
        inputs = [int(t) for t in op.inputs]
        inputs += [-1] * (position + 1 - len(inputs))
        inputs[position] = new
        op.inputs = inputs
        graph.changed()


def scale_graph(found: Found, factors: np.ndarray, constants: Constants) -> list[str]:
    """Scale weights, biases and added constants; make ReLU of the ReLU6 that factors pass.

    Args:
        found: of the graph that is edited.
        factors: of every variable, float64[V].
        constants: new buffers so far.

    Returns:
        Names of the tensors whose ReLU6 became ReLU.
    """
    variables = found.settled.variables
    for layer in found.layers:
        _scale(
            layer, factors[variables[layer.inputs]], factors[variables[layer.outputs]], constants
        )
    for op, position in found.settled.ties.offsets:
        f = factors[found.settled.of(int(op.outputs[0]))]
        values = np.asarray(found.graph.constant(int(op.inputs[position])), np.float64)
        if (f != 1).any():
            scaled = (values / f).astype(np.float32)
            constants.replace_input(found.graph, op, position, scaled)
    freed = []
    for op in found.caps if found.frees_caps else ():
        if (factors[found.settled.of(int(op.outputs[0]))] != 1).any():
            uncap(found.graph, op)
            freed.append(found.graph.name(int(op.outputs[0])))
    return freed


def _scale(layer: Linear, before: np.ndarray, after: np.ndarray, constants: Constants) -> None:
    if (before != 1).any() or (after != 1).any():
        constants.replace(layer.graph, layer.weight, layer.scaled(before, after))
    if layer.bias is None or not (after != 1).any():
        return
    bias = np.asarray(layer.graph.constant(layer.bias), np.float64)
    if bias.any():
        position = [int(t) for t in layer.op.inputs].index(layer.bias)
        scaled = (bias / after).astype(np.float32)
        constants.replace_input(layer.graph, layer.op, position, scaled)
