"""A subgraph as a function that TensorFlow differentiates, its constants given from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfq_ext.repair.distill.ops import FUSED, OPS, Call, NotDifferentiable
from tfq_ext.tflite.facts import ACTIVATIONS
from tfq_ext.tflite.read import Graph

Seen = Callable[[int, Any], Any]  # (tensor index, value) -> the value that readers get


class Network:
    """One float subgraph.

    Args:
        tf: TensorFlow.
        graph: of the pivot; samples along the first axis of its inputs.

    Raises:
        NotDifferentiable: an op that the table does not have.
    """

    def __init__(self, tf: Any, graph: Graph) -> None:
        self.tf, self.graph = tf, graph
        unknown = sorted({graph.code(op) for op in graph.ops} - set(OPS))
        unknown += sorted({fused_activation(op) for op in graph.ops} - set(FUSED))
        if unknown:
            raise NotDifferentiable(f"{', '.join(unknown)}: not in the table")

    def run(
        self,
        inputs: Mapping[int, Any],
        constants: Mapping[int, Any],
        seen: Seen = lambda _, value: value,
    ) -> dict[int, Any]:
        """Every activation by tensor index, after the fused activation and `seen`.

        Args:
            inputs: graph input -> samples.
            constants: constant -> the value that is learned; others are the file's.
            seen: called with every activation, inputs too; what it returns is passed on.
        """
        live = {t: seen(t, x) for t, x in inputs.items()}
        for op in self.graph.ops:
            x = [self._input(int(t), live, constants) for t in op.inputs]
            y = OPS[self.graph.code(op)](Call(self.tf, self.graph, op, x))
            made = int(op.outputs[0])
            live[made] = seen(made, FUSED[fused_activation(op)](self.tf, y))
        return live

    def _input(self, tensor: int, live: Mapping[int, Any], constants: Mapping[int, Any]) -> Any:
        if tensor < 0:
            return None
        if tensor in live:
            return live[tensor]
        return constants[tensor] if tensor in constants else self.graph.constant(tensor)


def fused_activation(op: Any) -> str:
    """Name of the op's fused activation; "NONE" without one."""
    return ACTIVATIONS[getattr(op.builtinOptions, "fusedActivationFunction", 0) or 0]


def landmarks(graph: Graph) -> list[int]:
    """Tensors whose distance from float is looked at: sums, and outputs of layers, that no
    activation clips; all layers' where there are none; and the graph's outputs."""
    linear, all_of_them = [], []
    for op in graph.ops:
        code, made = graph.code(op), int(op.outputs[0])
        layer = len(op.inputs) > 1 and graph.is_constant(int(op.inputs[1])) and code in _LAYERS
        if layer or code == "ADD":
            all_of_them.append(made)
            if fused_activation(op) == "NONE":
                linear.append(made)
    return list(dict.fromkeys([*(linear or all_of_them), *graph.outputs]))


_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")


def stacked(samples: Sequence[Mapping[int, np.ndarray]]) -> dict[int, np.ndarray]:
    """Samples as one batch."""
    return {t: np.concatenate([s[t] for s in samples]) for t in samples[0]}
