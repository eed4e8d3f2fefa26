"""Look-ups that all parts of an inspection share, computed once for a file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tfq_ext.tflite.arithmetic import BRIDGE, HYBRID, INTEGER, arithmetic
from tfq_ext.tflite.read import Graph, Model

# Ops that only widen or fill in a constant: the stored values are behind them.
OPENERS = frozenset({"DEQUANTIZE", "DENSIFY"})


def indices(numbers: Any) -> list[int]:
    """Tensor numbers of an operand list: absent lists are empty, -1 is an operand left out."""
    return [] if numbers is None else [int(t) for t in numbers]


@dataclass(frozen=True, eq=False)
class Place:
    """One op with its graph, and its arithmetic."""

    graph: Graph
    index: int
    op: Any
    code: str
    kind: str

    @property
    def read(self) -> list[int]:
        """Inputs that are there."""
        return [t for t in indices(self.op.inputs) if t >= 0]

    @property
    def made(self) -> list[int]:
        """Outputs that are there."""
        return [t for t in indices(self.op.outputs) if t >= 0]

    @property
    def tensor(self) -> str:
        """Name of the first output."""
        return self.graph.name(self.made[0]) if self.made else ""

    def operand(self, position: int) -> int:
        """Tensor at an input position, -1 where there is none."""
        numbers = indices(self.op.inputs)
        return numbers[position] if 0 <= position < len(numbers) else -1


class Scene:
    """A model with every op's arithmetic known."""

    def __init__(self, model: Model):
        self.model = model
        self.places = [
            Place(graph, k, op, code, BRIDGE if code in OPENERS else arithmetic(graph, op))
            for graph, k, op, code in model.walk()
        ]

    @cached_property
    def at(self) -> dict[tuple[int, int], Place]:
        """(subgraph, op index) -> op."""
        return {(p.graph.index, p.index): p for p in self.places}

    @cached_property
    def has_integers(self) -> bool:
        """Whether any op computes in integers."""
        return any(p.kind == INTEGER for p in self.places)

    @cached_property
    def has_hybrids(self) -> bool:
        """Whether any op has integer weights and float activations."""
        return any(p.kind == HYBRID for p in self.places)

    def maker(self, graph: Graph, tensor: int) -> Place | None:
        """The op that writes a tensor."""
        k = graph.producer.get(tensor)
        return None if k is None else self.at[graph.index, k]

    def stored(self, graph: Graph, tensor: int) -> int:
        """The constant behind a tensor, looked for through DEQUANTIZE and DENSIFY; -1 if none."""
        for _ in range(4):  # a longer chain is no converter's, and a cycle would never end
            if tensor < 0 or graph.is_constant(tensor):
                return tensor
            made_by = self.maker(graph, tensor)
            if made_by is None or made_by.code not in OPENERS:
                return -1
            tensor = made_by.operand(0)
        return -1
