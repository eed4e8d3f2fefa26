"""What every form of the report says, as plain text: verdict, comparison, findings, origin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from tfq_ext.report import words
from tfq_ext.validation.finding import SEVERITIES, Finding
from tfq_ext.validation.gate import FAIL, UNDECIDED
from tfq_ext.validation.verdict import CANDIDATE, SECTIONS, NotChecked, Validation

Side = tuple[str, str, str]  # what, the file's value, the reference's
TITLES = {
    "inspection": "Inside the file",
    "lint": "Rules",
    "run": "Trial run",
    "accuracy": "Accuracy",
    "comparison": "Layer by layer",
    "latency": "Time and memory",
    "integers": "Integer arithmetic",
    "delegates": "Delegates",
}


def verdict(v: Validation) -> str:
    """One sentence that answers "may it ship?"."""
    failed = [gate.name for gate in v.gates if gate.verdict == FAIL]
    unsure = [gate.name for gate in v.gates if gate.verdict == UNDECIDED]
    broken = [TITLES[name].lower() for name in v.broken]
    if failed:
        return f"do not ship: {_list(failed)} failed"
    if unsure:
        return f"cannot judge: {_list(unsure)}"
    if broken:
        return f"cannot judge: {_list(broken)} could not be checked"
    if not v.gates:
        return "not judged: every gate is switched off"
    if [gate.name for gate in v.gates] == ["runs"]:
        return "it runs; no other gate was set"
    return f"may ship: all {len(v.gates)} gates passed"


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)


def side_by_side(v: Validation) -> list[Side]:
    """Size, accuracy, latency of the file beside the reference's."""
    return [*_size(v), *_accuracy(v), *_latency(v), *_gpu(v)]


def _size(v: Validation) -> Iterator[Side]:
    base = f"{words.size(v.reference_bytes)}" if v.reference_bytes else ""
    yield "size", words.size(v.size_bytes), base


def _accuracy(v: Validation) -> Iterator[Side]:
    a: Any = v.accuracy
    if isinstance(a, NotChecked):
        return
    for row in a.metrics:
        span = "" if row.interval is None else f" ({span_text(row.unit, row.interval)})"
        base = "" if row.reference is None else amount(row.unit, row.reference)
        yield row.name, amount(row.unit, row.candidate) + span, base
        if row.drop is not None:
            point, lo, hi = row.drop
            p = f"; p = {row.p_value:.2g}" if row.p_value is not None else ""
            unit = "points" if row.unit == "share" else row.unit
            span = span_text(row.unit, (lo, hi))
            yield f"{row.name} lost", f"{amount(unit, point)} ({span}{p})", ""
    if a.agreement is not None:
        span = span_text("share", a.agreement_interval)
        yield "same class as the reference", f"{amount('share', a.agreement)} ({span})", ""
    if a.sqnr_db is not None:
        yield "SQNR of the output", words.db(a.sqnr_db), ""


def _latency(v: Validation) -> Iterator[Side]:
    row, base = timed(v)
    if row is None:
        return
    yield (
        f"time of a run, {words.count(row.threads, 'thread')}",
        f"{ms(row.median_ms)} ({ms(row.interval_ms[0])} to {ms(row.interval_ms[1])})",
        "" if base is None else ms(base.median_ms),
    )
    if base is not None:
        lo, hi = row.ratio_interval
        yield "time by the reference's", f"{row.ratio:.2f} ({lo:.2f} to {hi:.2f})", "1"
    yield "load", ms(row.load_ms), "" if base is None else ms(base.load_ms)
    if row.peak_bytes:
        peak = "" if base is None or not base.peak_bytes else words.size(base.peak_bytes)
        yield "peak memory", words.size(row.peak_bytes), peak


def _gpu(v: Validation) -> Iterator[Side]:
    if isinstance(v.delegates, NotChecked):
        return
    for row in v.delegates.gpu:
        error = "" if row.error is None else f", {100 * row.error:.3g} % off the CPU (L2)"
        time = "" if row.steady_ms is None else f", {ms(row.steady_ms)}"
        base = "" if row.cpu_ms is None else f"{ms(row.cpu_ms)} on the CPU"
        yield f"GPU {row.precision}", f"{row.status}{error}{time}", base


def integer_line(v: Validation) -> str:
    """What the integer reference found, in a sentence; "" where it was not asked."""
    if isinstance(v.integers, NotChecked):
        return ""
    i = v.integers
    if not i.compared:
        return "No op of this file could be compared with integer arithmetic."
    found = "all equal" if i.exact else f"{i.differing} differ"
    left = words.count(len(i.skipped), "op")
    bits = [row.accumulator_bits for row in i.rows if row.accumulator_bits is not None]
    most = [row.accumulator_bound for row in i.rows if row.accumulator_bound is not None]
    sums = f"; largest accumulator {max(bits)} bits, possible {max(most)} of 32" if bits else ""
    return (
        f"{i.compared:,} codes of {words.count(len(i.rows), 'op')} against integer arithmetic "
        f"({', '.join(i.kernels)}): {found}; {left} not compared{sums}."
    )


def timed(v: Validation) -> tuple[Any, Any]:
    """The file's row of times and the reference's; None where there is none."""
    bench: Any = v.latency
    if isinstance(bench, NotChecked):
        return None, None
    rows = {row.name: row for row in bench.rows if not row.failed}
    base = rows.get(bench.baseline) if bench.baseline != CANDIDATE else None
    return rows.get(CANDIDATE), base


def ms(value: float) -> str:
    """Milliseconds with three digits."""
    return f"{value:.3g} ms"


def amount(unit: str, value: float | None) -> str:
    """A metric's value with its unit; shares in percent."""
    if value is None or not math.isfinite(value):
        return "not a number" if value is not None else ""
    if unit in ("share", "points"):
        return f"{100 * value:.2f} {'%' if unit == 'share' else unit}"
    return f"{value:.4g} {unit}".rstrip()


def span_text(unit: str, interval: tuple[float, float]) -> str:
    """A 95 % interval without repeating the unit."""
    if unit in ("share", "%"):
        return f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"
    return f"{interval[0]:.4g} to {interval[1]:.4g}"


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Those that count, gravest first, in the file's order within one severity."""
    return sorted(
        (f for f in findings if not f.suppressed), key=lambda f: -SEVERITIES.index(f.severity)
    )


def grouped(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Those that count, by rule; the gravest rules first."""
    groups: dict[str, list[Finding]] = {}
    for finding in ranked(findings):
        groups.setdefault(finding.rule.id, []).append(finding)
    return list(groups.values())


def counts(findings: Sequence[Finding]) -> str:
    """ "2 errors, 3 warnings" of those that count."""
    parts = []
    for severity in reversed(SEVERITIES):
        n = sum(f.severity == severity and not f.suppressed for f in findings)
        noun = "remark" if severity == "info" else severity
        parts += [words.count(n, noun)] if n else []
    return ", ".join(parts) or "nothing found"


def unchecked(v: Validation) -> list[tuple[str, str]]:
    """(title, reason) of the parts that were not looked at."""
    reasons: dict[str, list[str]] = {}
    for name in SECTIONS:
        if isinstance(found := getattr(v, name), NotChecked):
            reasons.setdefault(found.reason, []).append(TITLES[name])
    return [(", ".join(titles), reason) for reason, titles in reasons.items()]


def origin_line(v: Validation) -> str:
    """Where the numbers come from, in one line."""
    o = v.origin
    parts = [
        f"sha256 {o.sha256[:12]}",
        f"reference {o.reference} ({o.reference_sha256[:12]})" if o.reference else "no reference",
        words.count(o.samples, "sample") if o.samples else "no samples",
        f"seed {o.seed}",
        f"tfq_ext {o.versions['tfq_ext']}, LiteRT {o.versions['ai-edge-litert']}",
        o.machine,
        o.when,
        f"{o.seconds:.1f} s",
    ]
    return "; ".join(parts)
