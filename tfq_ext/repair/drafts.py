"""A grid on its way to its range."""

from __future__ import annotations

from dataclasses import dataclass, field

from tfq_ext.repair.auto import Trial
from tfq_ext.repair.pooled import Pooled
from tfq_ext.spec import QSpec, Range
from tfq_ext.tflite.grids import Grid
from tfq_ext.tflite.read import Graph


@dataclass
class Draft:
    """A grid on its way to a RangeChoice."""

    graph: Graph
    grid: Grid
    dist: Pooled
    calibrator: str
    range: Range | None
    names: list[str]
    spec: QSpec
    trial: Trial | None = None
    noise: dict[str, float] = field(default_factory=dict)

    def settle(self, calibrator: str, chosen: Range) -> None:
        """The range is chosen."""
        self.calibrator, self.range = calibrator, chosen


def producer_code(graph: Graph, tensor: int) -> str:
    """Code of the op that writes the tensor; "" for a graph input."""
    k = graph.producer.get(tensor)
    return "" if k is None else graph.code(graph.ops[k])
