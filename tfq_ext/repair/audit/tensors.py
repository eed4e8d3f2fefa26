"""Given ranges against true ones, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tfq_ext.calibrate.stats import Stats
from tfq_ext.repair.audit.recorded import explain
from tfq_ext.repair.audit.values import SPREAD, TOO_WIDE, SharedGrid, Subject, TensorRow
from tfq_ext.repair.ranges import Pooled, RangeChoice
from tfq_ext.spec import Range
from tfq_ext.tflite.facts import FIXED_OUTPUT
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Graph, Model

# How near a union must come to what was given to explain it: kernels differ in the last bits,
# and the ends of a file's grid are moved by up to half a code.
_TOLERANCE: Mapping[Subject, float] = {"converter": 1e-3, "file": 0.01}


def true_ranges(stats: Stats) -> dict[str, Range]:
    """Exact observed range of every tensor with finite values, widened to contain 0."""
    return {n: Range.of(t.min, t.max) for n, t in stats.items() if t.histogram.total}


def compare(
    pivot: Model,
    stats: Stats,
    given: Mapping[str, Range],
    labels: Mapping[str, str],
    subject: Subject,
    *,
    needed: Mapping[str, Range] | None = None,
) -> tuple[TensorRow, ...]:
    """A row for every observed tensor that has a given range, worst first.

    Args:
        pivot: float model.
        stats: its observed statistics.
        given: tensor name -> range under examination.
        labels: short names.
        subject: whose ranges they are; decides what counts as too wide.
        needed: tensor name -> range that it must have; what is absent needs its own only.
    """
    true = true_ranges(stats)
    wanted = {**true, **(needed or {})}
    rows = []
    for graph in pivot.graphs:
        for tensor in observed(graph):
            name = graph.name(tensor)
            if name in given and name in true:
                row = _row(graph, tensor, given[name], wanted[name], stats, labels)
                if row.ratio > TOO_WIDE[subject] and not row.prescribed:
                    outputs = given if subject == "file" else true  # made with one set of samples
                    leak = explain(
                        graph,
                        tensor,
                        row.given,
                        true[name],
                        outputs,
                        labels,
                        tolerance=_TOLERANCE[subject],
                    )
                    row = replace(row, leak=leak)
                rows.append(row)
    return tuple(sorted(rows, key=lambda row: (row.prescribed, -row.ratio)))


def _row(
    graph: Graph,
    tensor: int,
    given: Range,
    needed: Range,
    stats: Stats,
    labels: Mapping[str, str],
) -> TensorRow:
    name = graph.name(tensor)
    k = graph.producer.get(tensor)
    code = "input" if k is None else graph.code(graph.ops[k])
    return TensorRow(
        tensor=name,
        label=labels.get(name, name),
        op=code,
        given=given,
        true=needed,
        outside=Pooled.of([stats[name]]).outside(given),
        prescribed=code in FIXED_OUTPUT,
    )


def shared_grids_of(
    choices: Iterable[RangeChoice], copies: Sequence[str], labels: Mapping[str, str]
) -> tuple[SharedGrid, ...]:
    """Grids on which some tensor loses a bit or more to its neighbours, worst first.

    Args:
        choices: exact ranges, one row a grid.
        copies: tensors that only repeat the values of others.
        labels: short names.
    """
    rows = []
    for choice in choices:
        own = {n: r for n, r in choice.sources.items() if n not in copies and r.width > 0}
        if len(own) < 2 or not choice.joined:
            continue
        name = min(own, key=lambda n: own[n].width)
        row = SharedGrid(choice.joined, name, labels.get(name, name), own[name], choice.range)
        if row.ratio >= SPREAD:
            rows.append(row)
    return tuple(sorted(rows, key=lambda row: -row.ratio))
