"""Validation to rows that a template can print without thinking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tfq_ext.report import words
from tfq_ext.report.validation import facts
from tfq_ext.validation.gate import FAIL, PASS, UNDECIDED
from tfq_ext.validation.verdict import CANDIDATE, NotChecked, Validation

# exit code -> (css class, sign, word); never by colour alone
STATES = {0: ("pass", "✓", "pass"), 1: ("fail", "✕", "fail"), 2: ("unsure", "?", "cannot judge")}
GATE_STATES = {PASS: STATES[0], FAIL: STATES[1], UNDECIDED: STATES[2]}
LAYERS, OPS, CHANGED = 8, 12, 6


@dataclass(frozen=True)
class Card:
    """One quantity of the file beside the reference's, as two bars.

    Args:
        title, better: "size", "smaller is better".
        value, base: texts with units; base "" without a reference.
        share, base_share: lengths of the bars, percent of the longer one.
        note: interval, or the ratio.
    """

    title: str
    better: str
    value: str
    base: str
    share: float
    base_share: float
    note: str


def _card(
    title: str, better: str, pair: tuple[float, float], texts: tuple[str, str], note: str
) -> Card:
    longest = max(*pair, 1e-12)
    return Card(title, better, *texts, 100 * pair[0] / longest, 100 * pair[1] / longest, note)


def cards(v: Validation) -> list[Card]:
    """Size, accuracy and time side by side with the reference."""
    found = []
    base = v.reference_bytes
    sizes = (words.size(v.size_bytes), words.size(base) if base else "")
    note = f"{v.size_bytes / base:.0%} of the reference's" if base else ""
    found.append(_card("Size", "smaller is better", (v.size_bytes, base), sizes, note))
    a: Any = v.accuracy
    if not isinstance(a, NotChecked):
        found += [_metric(row) for row in a.metrics[:2]]
    found += _latency(v)
    return found


def _metric(row: Any) -> Card:
    better = "higher is better" if row.higher_is_better else "lower is better"
    base = row.reference
    texts = (
        facts.amount(row.unit, row.candidate),
        "" if base is None else facts.amount(row.unit, base),
    )
    note = ""
    if row.drop is not None:
        point, lo, hi = row.drop
        note = (
            f"lost {facts.amount('points' if row.unit == 'share' else row.unit, point)}, "
            f"95 % interval {facts.span_text(row.unit, (lo, hi))}"
        )
    return _card(row.name, better, (abs(row.candidate), abs(base or 0.0)), texts, note)


def _latency(v: Validation) -> list[Card]:
    row, base = facts.timed(v)
    if row is None:
        return []
    texts = (facts.ms(row.median_ms), "" if base is None else facts.ms(base.median_ms))
    low, high = row.ratio_interval if base is not None else row.interval_ms
    note = (
        f"{row.ratio:.2f} times the reference's, 95 % interval {low:.2f} to {high:.2f}"
        if base is not None
        else f"95 % interval {facts.ms(low)} to {facts.ms(high)}"
    )
    pair = (row.median_ms, base.median_ms if base is not None else 0.0)
    return [_card("Time of a run", "smaller is better", pair, texts, note)]


def sections(v: Validation) -> dict[str, bool]:
    """Section -> whether it has a report."""
    return {name: v.missing(name) is None for name in facts.TITLES}


def layers(v: Validation) -> list[Any]:
    """The worst layers' rows."""
    return (
        []
        if isinstance(v.comparison, NotChecked)
        else [row for row in v.comparison.worst(LAYERS) if row.verdict]
    )


def changed(v: Validation) -> list[Any]:
    """Which classes became which, the most frequent first."""
    return [] if isinstance(v.accuracy, NotChecked) else list(v.accuracy.changed[:CHANGED])


def ops(v: Validation) -> list[tuple[str, int, str, str, str]]:
    """(op, count, how it computes, versions, why not integer), most frequent first."""
    rows = sorted(v.inspection.ops, key=lambda row: (row.code, row.arithmetic))
    found = []
    for (code, kind), group in groupby(rows, key=lambda row: (row.code, row.arithmetic)):
        members = list(group)
        versions = ", ".join(map(str, sorted({row.version for row in members})))
        reason = next((row.reason for row in members if row.reason), "")
        found.append((code, len(members), kind, versions, reason))
    return sorted(found, key=lambda row: -row[1])


def times(v: Validation) -> list[Any]:
    """The slowest ops of the file."""
    profile = profile_of(v)
    if profile is None or not profile.available:
        return []
    return sorted(profile.ops, key=lambda op: -op.ms)[:OPS]


def profile_of(v: Validation) -> Any:
    """The file's profile; None where there is none."""
    if isinstance(v.latency, NotChecked):
        return None
    return v.latency.profiles.get(CANDIDATE)


def gpu(v: Validation) -> list[Any]:
    """One row a precision."""
    return [] if isinstance(v.delegates, NotChecked) else list(v.delegates.gpu)


def refused(v: Validation) -> list[tuple[str, str, str, str]]:
    """(precision, op, tensor, reason) of ops that the GPU delegate did not take."""
    return [
        (row.precision, entry.op, entry.tensor, entry.reason)
        for row in gpu(v)
        for entry in row.refused
    ]


def risks(v: Validation) -> list[Any]:
    """The tensors that fp16 would hurt most."""
    if isinstance(v.delegates, NotChecked) or v.delegates.fp16_risk is None:
        return []
    return list(v.delegates.fp16_risk.worst(5))


def notes(v: Validation) -> list[tuple[str, str]]:
    """(title, sentence) of what each check wants its reader to know."""
    return [
        (facts.TITLES[name], note)
        for name in facts.TITLES
        for note in getattr(getattr(v, name), "notes", ())
    ]


def integers(v: Validation) -> Any:
    """The report of the integer reference; None where there is none."""
    return None if isinstance(v.integers, NotChecked) else v.integers


def parts(v: Validation) -> list[tuple[str, str, float]]:
    """(part of the file, size, percent), largest first."""
    table: Sequence[Any] = sorted(
        ((name, size) for name, size in dict(v.inspection.parts).items() if size),
        key=lambda item: -item[1],
    )
    return [(name, words.size(size), 100 * size / v.size_bytes) for name, size in table]


def interface(v: Validation) -> list[tuple[str, Any]]:
    """("input" or "output", tensor row)."""
    i = v.inspection
    return [("input", row) for row in i.inputs] + [("output", row) for row in i.outputs]


def origin(v: Validation) -> list[tuple[str, str]]:
    """What the numbers are of, as a definition list."""
    o = v.origin
    rows = [
        ("file", f"{v.source or v.name}, sha256 {o.sha256}"),
        ("reference", f"{o.reference}, sha256 {o.reference_sha256}" if o.reference else "none"),
        (
            "samples",
            f"{o.samples}, sha256 {o.sample_sha256}" if o.samples or o.sample_sha256 else "none",
        ),
        ("seed", str(o.seed)),
        ("settings", ", ".join(f"{k} = {val}" for k, val in o.settings.items()) or "defaults"),
        ("packages", ", ".join(f"{k} {val}" for k, val in o.versions.items())),
        ("machine", o.machine),
        ("made", f"{o.when}, in {o.seconds:.1f} s"),
    ]
    return rows
