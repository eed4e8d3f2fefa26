"""Hill climbing over ranges: one grid alone, or all that are added up together."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfq_ext.repair.prefix import best_neighbour
from tfq_ext.repair.ranges import RangeChoice, by_name
from tfq_ext.spec import Range
from tfq_ext.tflite.read import Model

TOGETHER = (0.75, 1.25)  # of all ranges of a trunk, again and again
ALONE = (0.9, 1.1)
SUMS = ("ADD", "SUB")


@dataclass
class Search:
    """The best rows so far.

    Args:
        score: of ranges by tensor name, dB.
        rows: the present ones; replaced where others are better.
        best: their score.
        budget: tries left.
    """

    score: Callable[[Mapping[str, Range]], float]
    rows: list[RangeChoice]
    best: float
    budget: int

    def together(self, group: Sequence[int]) -> None:
        """Narrow all rows of a group, or widen them, for as long as that helps."""
        for factor in TOGETHER:
            while self._try({k: _stretched(self.rows[k], factor) for k in group}):
                pass

    def alone(self, k: int) -> None:
        """Try what else there is for one row."""
        for name, r in _others(self.rows[k]):
            self._try({k: replace(self.rows[k], range=r, calibrator=name)})

    def _try(self, changed: Mapping[int, RangeChoice]) -> bool:
        """Whether these rows are better; then they stay."""
        if self.budget <= 0 or all(self.rows[k].range == row.range for k, row in changed.items()):
            return False
        self.budget -= 1
        candidate = [changed.get(k, row) for k, row in enumerate(self.rows)]
        value = self.score(by_name(candidate))
        if value <= self.best:
            return False
        self.best, self.rows = value, candidate
        return True


def summed(pivot: Model, rows: Sequence[RangeChoice], among: Sequence[int]) -> list[list[int]]:
    """Rows whose tensors are added up, directly or through further sums; three at least."""
    place = {name: k for k in among for name in rows[k].tensors}
    groups: list[set[int]] = []
    for graph in pivot.graphs:
        for op in graph.ops:
            if graph.code(op) in SUMS:
                names = [graph.name(int(t)) for t in (*op.inputs, *op.outputs) if t >= 0]
                group = {place[name] for name in names if name in place}
                met = [g for g in groups if g & group]
                groups = [g for g in groups if g not in met] + [group.union(*met)]
    return [sorted(group) for group in groups if len(group) >= 3]


def _stretched(row: RangeChoice, factor: float) -> RangeChoice:
    r = best_neighbour(row.range, factor, row.observed) | row.tightest
    stretched = re.fullmatch(r"(.*) x (\d[\d.]*)", row.calibrator)
    name, before = stretched.groups() if stretched else (row.calibrator, 1.0)
    return replace(row, range=r, calibrator=f"{name} x {factor * float(before):.3g}")


def _others(row: RangeChoice) -> list[tuple[str, Range]]:
    """Candidates that differ from the present choice."""
    near = [
        (f"{row.calibrator} x {f:g}", best_neighbour(row.range, f, row.observed) | row.tightest)
        for f in ALONE
    ]
    pairs = [*row.candidates.items(), *near]
    return [(name, r) for name, r in pairs if r != row.range]
