"""What quantization-aware training decided about a pivot: it wins over every calibrator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfq_ext.emit.absorb import absorb_fake_quant
from tfq_ext.emit.plan import WeightCodes
from tfq_ext.emit.result import Note
from tfq_ext.emit.to_float.quantized import carries_fake_quant
from tfq_ext.recipe import Recipe
from tfq_ext.repair.ranges import TRAINED, RangeChoice
from tfq_ext.spec import Range
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.grids import observed, shared_grids
from tfq_ext.tflite.read import Graph, Model

UNTRAINED = "no range was trained for its output; give data to choose one"


@dataclass(frozen=True)
class Trained:
    """Grids that fake quantization in the model prescribes, by the rewritten pivot's names.

    Args:
        ranges: activation -> range.
        weights: constant -> codes.
        int16: ops whose results were trained on 16 bits.
        notes: where an integer file departs from what was trained.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    weights: Mapping[str, WeightCodes] = field(default_factory=dict)
    int16: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()

    def on(self, pivot: Model) -> Trained:
        """The same after passes: a pass may give a constant a second tensor, or drop one."""
        own: dict[int, WeightCodes] = {}
        weights = dict(self.weights)
        for graph in pivot.graphs:
            for name, codes in self.weights.items():
                if (tensor := graph.by_name.get(name)) is not None:
                    own[graph.tensors[tensor].buffer] = codes
            for tensor in range(len(graph.tensors)):
                buffer = graph.tensors[tensor].buffer
                if buffer in own and graph.shape(tensor) == own[buffer].codes.shape:
                    weights.setdefault(graph.name(tensor), own[buffer])
        names = {g.name(t) for g in pivot.graphs for t in range(len(g.tensors))}
        ranges = {name: r for name, r in self.ranges.items() if name in names}
        weights = {name: codes for name, codes in weights.items() if name in names}
        return Trained(ranges, weights, self.int16 & names, self.notes)

    def rows(self, pivot: Model, done: Iterable[RangeChoice] = ()) -> list[RangeChoice]:
        """Trained ranges of the grids that nobody observed, as rows of the account."""
        covered = {name for row in done for name in row.tensors}
        rows = []
        for graph in pivot.graphs:
            for grid in shared_grids(graph):
                names = tuple(graph.name(t) for t in grid.tensors)
                known = next((self.ranges[n] for n in names if n in self.ranges), None)
                if known is None or covered & set(names):
                    continue
                sources = {graph.name(t): known for t in grid.sources}
                rows.append(RangeChoice(names, sources, known, TRAINED, known, 0.0))
        return rows


def trained_of(pivot: Model) -> tuple[Model, Trained | None]:
    """The pivot without fake quantization, and what it prescribed; None for a plain model."""
    if not carries_fake_quant(pivot):
        return pivot, None
    absorbed = absorb_fake_quant(pivot)
    trained = Trained(absorbed.ranges, absorbed.weights, absorbed.int16, absorbed.notes)
    return absorbed.model, trained


def is_operand(graph: Graph, name: str) -> bool:
    """Whether ops read this constant, none of them as a layer's weight."""
    tensor = graph.by_name.get(name)
    readers = [] if tensor is None else [graph.ops[k] for k in graph.consumers.get(tensor, ())]
    return bool(readers) and all(graph.code(op) not in WEIGHTS for op in readers)


def unranged(pivot: Model, ranges: Mapping[str, Range]) -> list[str]:
    """Tensors that would need a range and have none."""
    return [g.name(t) for g in pivot.graphs for t in observed(g) if g.name(t) not in ranges]


def trained_notes(trained: Trained, recipe: Recipe) -> list[Note]:
    """What was taken over, and what of the recipe did not apply."""
    counts = f"{len(trained.ranges)} ranges and {len(trained.weights)} constants as trained"
    rows = [Note("model", "", f"carries fake quantization: {counts}"), *trained.notes]
    if recipe.relu6 == "relu":
        rows.append(Note("recipe", "", "relu6 = relu not followed: training settled the ranges"))
    if not recipe.needs_ranges:
        rows.append(Note("recipe", "", "trained activation ranges are not used in this mode"))
    return rows
