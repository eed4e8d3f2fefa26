"""Gather the account of a finished file from its bytes and from what was chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.emit.islands import FloatOp
from tfq_ext.emit.result import Note
from tfq_ext.emit.verify import ReadBack
from tfq_ext.numerics.clusters import Structure
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.repair.ranges import RangeChoice, Release
from tfq_ext.repair.weights import WeightChoice
from tfq_ext.result import Account, WeightRow
from tfq_ext.tflite.read import Model

SPARSE = 0.1  # share of zeros from which on somebody pruned


def account_of(
    pivot: Model,
    content: bytes,
    *,
    ranges: Sequence[RangeChoice],
    weights: Mapping[str, WeightChoice],
    float_ops: Sequence[FloatOp],
    released: Sequence[Release],
    read_back: ReadBack,
    end_to_end: Mapping[str, float],
    notes: Sequence[Note],
) -> Account:
    """Arguments as the fields of Account; sizes and op counts come from the bytes."""
    file = Model.parse(content, source="the emitted file")
    rows = tuple(weight_row(choice) for choice in weights.values())
    return Account(
        bytes_before=len(pivot.to_bytes()),
        bytes_after=len(content),
        ops=dict(Counter(code for _, _, _, code in file.walk()).most_common()),
        float_ops=tuple(float_ops),
        ranges=tuple(ranges),
        weights=rows,
        released=tuple(released),
        read_back=str(read_back),
        end_to_end=dict(end_to_end),
        notes=(*notes, *structure_notes(rows)),
    )


def weight_row(choice: WeightChoice) -> WeightRow:
    """How well one weight survived its grid."""
    layer, chosen = choice.layer, choice.codes
    weight = layer.graph.constant(layer.op.inputs[layer.fact.weight])
    assert weight is not None
    params = chosen.params
    real = params.decode(chosen.codes)
    assert not np.any(real[weight == 0]), "a zero got a code that is no zero"
    return WeightRow(
        op=layer.code,
        tensor=layer.output,
        bits=chosen.params.spec.bits,
        channels=int(np.size(chosen.params.scale)),
        sqnr_db=float(sqnr_db(weight, real)),
        notes=choice.notes,
        before=Structure.of(weight, layer.fact.axis),
        after=Structure.of(chosen.codes, layer.fact.axis, int(np.count_nonzero(real == 0))),
        learned=choice.learned,
    )


def structure_notes(rows: Sequence[WeightRow]) -> list[Note]:
    """What became of pruned and clustered weights, by counting."""
    counted = [(row.before, row.after) for row in rows if row.before and row.after]
    notes = []
    size, before, after = (
        sum(b.size for b, _ in counted),
        sum(b.zeros for b, _ in counted),
        sum(a.zeros for _, a in counted),
    )
    if size and before / size >= SPARSE:
        share = (
            f"{before / size:.1%} of {size} weights are zero, {after / size:.1%} of the integers"
        )
        notes.append(Note("sparsity", "", f"{share}; every zero stayed one"))
    few = [(b, a) for b, a in counted if b.clustered or b.clustered_by_channel]
    if few:
        notes.append(Note("clusters", "", f"{len(few)} of {len(counted)} weights {_few(few)}"))
    return notes


def _few(rows: Sequence[tuple[Structure, Structure]]) -> str:
    """How few values the clustered weights have, and their codes."""
    before, after = zip(*rows, strict=True)
    return (
        f"have few distinct values, at most {max(b.in_channel for b in before)} in a channel and "
        f"{max(b.distinct for b in before)} in a tensor; their codes at most "
        f"{max(a.in_channel for a in after)} and {max(a.distinct for a in after)}"
    )
