"""What one gate said."""

from __future__ import annotations

from dataclasses import dataclass

PASS, FAIL, UNDECIDED = VERDICTS = ("pass", "fail", "cannot judge")


@dataclass(frozen=True)
class GateResult:
    """A bound, what was measured, and the verdict.

    Args:
        name: of the gate ("top1_drop").
        verdict: of VERDICTS.
        value: what was measured, as text with its unit; "" where nothing was.
        bound: as text with its side ("at most 0.5 %").
        margin: how far the value is on the good side (negative: the bad side), with unit.
        detail: interval, baseline, what is missing, what to do.
        number, limit: value and bound as numbers where they are numbers, for machines.
    """

    name: str
    verdict: str
    value: str
    bound: str
    margin: str = ""
    detail: str = ""
    number: float | None = None
    limit: float | None = None
