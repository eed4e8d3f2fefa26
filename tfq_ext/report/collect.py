"""Gather the account of a finished file from its bytes and from what was chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from tfq_ext.emit.islands import FloatOp
from tfq_ext.emit.result import Note
from tfq_ext.emit.verify import ReadBack
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.repair.ranges import RangeChoice, Release
from tfq_ext.repair.weights import WeightChoice
from tfq_ext.result import Account, WeightRow
from tfq_ext.tflite.read import Model


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
    return Account(
        bytes_before=len(pivot.to_bytes()),
        bytes_after=len(content),
        ops=dict(Counter(code for _, _, _, code in file.walk()).most_common()),
        float_ops=tuple(float_ops),
        ranges=tuple(ranges),
        weights=tuple(weight_row(choice) for choice in weights.values()),
        released=tuple(released),
        read_back=str(read_back),
        end_to_end=dict(end_to_end),
        notes=tuple(notes),
    )


def weight_row(choice: WeightChoice) -> WeightRow:
    """How well one weight survived its grid."""
    layer, chosen = choice.layer, choice.codes
    weight = layer.graph.constant(layer.op.inputs[layer.fact.weight])
    assert weight is not None
    return WeightRow(
        op=layer.code,
        tensor=layer.output,
        bits=chosen.params.spec.bits,
        channels=int(np.size(chosen.params.scale)),
        sqnr_db=float(sqnr_db(weight, chosen.params.decode(chosen.codes))),
        notes=choice.notes,
    )
