"""From what is known of some tensors to what is believed of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext.errors import StatsError
from tfq_ext.repair.beliefs.belief import Belief
from tfq_ext.repair.beliefs.rules import RULES
from tfq_ext.repair.beliefs.scene import Scene, Unknown, fused
from tfq_ext.tflite.read import Graph, Model


@dataclass(frozen=True, eq=False)
class Beliefs:
    """What is believed of the activations of a model.

    Args:
        tensors: name -> belief, after the op's own activation.
        unknown: name -> why nothing is.
    """

    tensors: Mapping[str, Belief]
    unknown: Mapping[str, str]

    def count(self, source: str) -> int:
        """How many come from one source."""
        return sum(belief.source == source for belief in self.tensors.values())


def propagate(
    model: Model, known: Mapping[str, Belief], inputs: Mapping[str, Belief] | None = None
) -> Beliefs:
    """Beliefs of all float activations, in the order of the ops.

    Args:
        model: float.
        known: tensor -> belief before the op's own activation; it wins over what would follow.
        inputs: graph input -> belief.
    """
    tensors: dict[str, Belief] = {}
    unknown: dict[str, str] = {}
    for graph in model.graphs:
        if graph.is_entry:
            _walk(graph, known, inputs or {}, tensors, unknown)
    return Beliefs(tensors, unknown)


def _walk(
    graph: Graph,
    known: Mapping[str, Belief],
    inputs: Mapping[str, Belief],
    tensors: dict[str, Belief],
    unknown: dict[str, str],
) -> None:
    scene = Scene(graph)
    for t in graph.inputs:
        if graph.name(t) in inputs:
            scene.beliefs[t] = inputs[graph.name(t)]
        elif graph.dtype(t) == "float32":
            unknown[graph.name(t)] = "its range was not given"
    for op in graph.ops:
        outputs = [int(t) for t in op.outputs if t >= 0 and graph.dtype(int(t)) == "float32"]
        if not outputs:
            continue
        try:
            made = _made(scene, op, known)
        except Unknown as error:
            unknown |= {graph.name(t): str(error) for t in outputs}
            continue
        scene.beliefs.update(zip(outputs, made, strict=False))
    tensors |= {graph.name(t): belief for t, belief in scene.beliefs.items()}


def _made(scene: Scene, op: object, known: Mapping[str, Belief]) -> list[Belief]:
    graph = scene.graph
    first = graph.name(int(op.outputs[0]))  # type: ignore[attr-defined]
    code = graph.code(op)
    if first in known:
        return [replace(known[first].clamped(*fused(op)), source=known[first].source)]
    if code not in RULES:
        raise Unknown(f"{code} has no rule for statistics without data")
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused, as beliefs are made
            return RULES[code](scene, op)
    except StatsError as error:  # weights with NaN, or products beyond float64
        raise Unknown(f"{code} gives no finite statistics ({error})") from None
