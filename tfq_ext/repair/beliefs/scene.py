"""A subgraph while what is believed of its tensors is worked out, op by op."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfq_ext.repair.beliefs.belief import Belief, from_moments
from tfq_ext.tflite.facts import ACTIVATIONS
from tfq_ext.tflite.read import Graph

CLAMPS = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}


class Unknown(Exception):
    """Nothing can be said of a tensor; its words say why."""


@dataclass(frozen=True)
class Scene:
    """What is known so far.

    Args:
        graph: the subgraph.
        beliefs: tensor index -> belief.
    """

    graph: Graph
    beliefs: dict[int, Belief] = field(default_factory=dict)

    def of(self, tensor: int) -> Belief:
        """Belief of an activation, or of the values of a constant.

        Raises:
            Unknown: none.
        """
        if tensor in self.beliefs:
            return self.beliefs[tensor]
        values = self.graph.constant(tensor)
        if values is None:
            raise Unknown(f"nothing is known of {self.graph.name(tensor)}")
        rows = np.asarray(values, np.float64).reshape(-1, values.shape[-1] if values.ndim else 1)
        ends = rows.min(axis=0), rows.max(axis=0)
        made = from_moments(rows.mean(axis=0), rows.var(axis=0), *ends, alpha=np.inf)
        return replace(made, source="constant")

    def live(self, op: Any) -> list[int]:
        """Inputs that are computed or fed."""
        return [int(t) for t in op.inputs if t >= 0 and not self.graph.is_constant(int(t))]

    def width(self, tensor: int) -> int:
        """Length of the last axis.

        Raises:
            Unknown: it is open.
        """
        shape = self.graph.shape(tensor)
        if shape and shape[-1] < 1:
            raise Unknown(f"{self.graph.name(tensor)} has an open last axis")
        return shape[-1] if shape else 1

    def rank(self, tensor: int) -> int:
        """Number of axes."""
        return len(self.graph.shape(tensor))


def fused(op: Any) -> tuple[float, float]:
    """Ends of the clamp that an op applies to its own result.

    Raises:
        Unknown: it has another activation (TANH, SIGN_BIT).
    """
    code = ACTIVATIONS[getattr(op.builtinOptions, "fusedActivationFunction", 0)]
    if code not in CLAMPS:
        raise Unknown(f"its activation {code} has no rule")
    return CLAMPS[code]


def spread(belief: Belief, width: int) -> Belief:
    """The same for as many channels as its reader has: one value counts for all."""
    if belief.channels == width:
        return belief
    if belief.channels != 1:
        raise Unknown(f"{belief.channels} channels do not fit {width}")
    return belief.pick(np.zeros(width, np.int64))
