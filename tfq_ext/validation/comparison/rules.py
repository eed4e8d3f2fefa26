"""What a comparison counts as a fault of the file."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tfq_ext._table import Table
from tfq_ext.validation.comparison.causes import EXPLAINS, OWN_DB, VICTIM
from tfq_ext.validation.comparison.values import CANDIDATE, LOST, LayerRow, Unmatched
from tfq_ext.validation.finding import Finding, Rule

POOR_DB, RUINED_DB = 15.0, 5.0
CLIPS = 0.01
WASTED = 2.0  # bits
SHIFTED = 1.0  # LSB
HEARD_DB = 35.0  # a shift in an op that is better than this changes nothing
MATCHED = 0.5
OWN = "measured on MobileNetV2 and EfficientNet-Lite0, int8, 2026-11"

_RULES = (
    Rule(
        "compare-output-ruined",
        "error",
        "An output has little left in common with the reference's.",
        "Below 5 dB the noise is a third of the signal or more: predictions change at random.",
        "Look at the first layer in the list of `tfq compare` and follow its remedy.",
        OWN,
    ),
    Rule(
        "compare-output-poor",
        "warning",
        "An output is far from the reference's.",
        "Below 15 dB a classifier of 1000 classes changes more than one answer in ten.",
        "Look at the first layer in the list of `tfq compare` and follow its remedy.",
        OWN,
    ),
    Rule(
        "compare-layer-loses",
        "warning",
        "An op adds much noise of its own.",
        "Fed with exact values it gives less than 25 dB; int8 ops of good files give 30 to 45.",
        "The verdict names the cause; choose its range or weights anew, or give it 16 bits.",
        OWN,
    ),
    Rule(
        "compare-clipping",
        "warning",
        "A grid cuts off values that the reference has.",
        "Over 1 % of the values lie outside; unlike rounding this error does not average out.",
        "Calibrate on samples that reach these values, or choose the range by error.",
        "Krishnamoorthi 1806.08342, section 3",
    ),
    Rule(
        "compare-wasted-bits",
        "warning",
        "A grid is much wider than the values need.",
        "Every bit wasted costs 6 dB at this tensor.",
        "Choose the range by error instead of by the extremes.",
        "Krishnamoorthi 1806.08342, section 2",
    ),
    Rule(
        "compare-mean-shift",
        "warning",
        "An op's output is off by a code or more on average in some channel.",
        "A mean error is the same for all positions and adds up in the layers behind.",
        "Correct the layer's bias by the mean shift.",
        "Nagel et al. 1906.04721, section 4.2",
    ),
    Rule(
        "compare-channels-lost",
        "warning",
        "One scale for all channels leaves next to nothing of the narrow ones.",
        "Their weights keep under 15 dB; the whole tensor's SQNR hides it, later layers do not.",
        "Give every output channel a scale of its own (`--set weights.per_channel=true`).",
        "Krishnamoorthi 1806.08342, section 3.1; Nagel et al. 1906.04721, section 3.1",
    ),
    Rule(
        "compare-few-matched",
        "warning",
        "Less than half of the candidate's layers have a counterpart in the reference.",
        "What is lost in the others shows only behind them.",
        "Give the float model that the candidate was made from, in the same framework's layout.",
        OWN,
    ),
)
RULES: Table[Rule] = Table("comparison rule", {rule.id: rule for rule in _RULES})


def findings(
    rows: tuple[LayerRow, ...], outputs: tuple[LayerRow, ...], unmatched: tuple[Unmatched, ...]
) -> tuple[Finding, ...]:
    """All cases, outputs first."""
    found = [*(f for row in outputs for f in _output(row)), *(f for r in rows for f in _layer(r))]
    left = sum(1 for u in unmatched if u.side == CANDIDATE and u.op)
    layers = len({row.index for row in rows if row.op != "input"})
    if left > layers * (1 - MATCHED) / MATCHED:
        message = f"{left} layers of the candidate have no counterpart, {layers} have one."
        found.append(RULES["compare-few-matched"].at(message))
    return tuple(found)


def _output(row: LayerRow) -> Iterator[Finding]:
    for rule, bound in (("compare-output-ruined", RUINED_DB), ("compare-output-poor", POOR_DB)):
        if row.sqnr_db < bound:
            message = f"Output {row.label!r}: {row.sqnr_db:.1f} dB against the reference."
            yield _at(rule, row, message)
            return


def _layer(row: LayerRow) -> Iterator[Finding]:
    own = math.inf if row.own_sqnr_db is None else row.own_sqnr_db
    if own < OWN_DB and VICTIM not in row.causes:
        yield _at("compare-layer-loses", row, f"{own:.1f} dB on exact inputs: {row.verdict}.")
    if row.weight_lost >= LOST:
        message = f"{row.weight_lost:.0%} of the channels keep less than 15 dB of their weights."
        yield _at("compare-channels-lost", row, message)
    if row.clipped > CLIPS:
        yield _at("compare-clipping", row, f"{row.clipped:.1%} of the values lie outside.")
    if row.wasted_bits > WASTED and row.grid is not None and row.range[0] < row.range[1]:
        yield _at("compare-wasted-bits", row, f"{row.wasted_bits:.1f} bits wasted.")
    if _is_shifted(row, own):
        assert row.own_shift is not None
        message = (
            f"Channel {row.own_shift.channel} is off by {row.own_shift.lsb:+.1f} LSB on average."
        )
        yield _at("compare-mean-shift", row, message)


def _is_shifted(row: LayerRow, own: float) -> bool:
    shift = row.own_shift
    if shift is None or shift.lsb is None or own >= HEARD_DB or "input-grid" in row.causes:
        return False
    return shift.share > EXPLAINS and abs(shift.lsb) > SHIFTED


def _at(rule: str, row: LayerRow, message: str) -> Finding:
    index = None if row.index < 0 else row.index
    return RULES[rule].at(
        message, op=row.op, tensor=row.tensor, subgraph=row.subgraph, op_index=index
    )
