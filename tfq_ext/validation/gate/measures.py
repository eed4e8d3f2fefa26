"""Where each gate's number comes from in a Validation; a text says why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfq_ext.numerics.intervals import wilson_interval
from tfq_ext.validation.finding import SEVERITIES
from tfq_ext.validation.inspection.runtime_versions import release_key

if TYPE_CHECKING:
    from tfq_ext.validation.verdict import Validation


@dataclass(frozen=True)
class Measured:
    """One number.

    Args:
        value: in the gate's unit.
        lo, hi: 95 % interval, where there is one.
        detail: baseline and circumstances, for people.
        shown: text in place of the number, where the number is only a count of faults.
        n: samples behind it; 0: not from samples.
        higher_is_better: of a metric, whose side is not known before.
    """

    value: float
    lo: float | None = None
    hi: float | None = None
    detail: str = ""
    shown: str = ""
    n: int = 0
    higher_is_better: bool | None = None


Found = Measured | str
FEWEST = 6  # runs below which no 95 % interval of a median exists: 2 * 0.5^6 < 0.05


def runs(v: Validation, bound: Any) -> Found:
    """Faults of the trial run."""
    run: Any = v.run
    unknown = sorted({row.code.removeprefix("CUSTOM:") for row in v.inspection.custom_ops})
    if not run.ran and unknown and not run.findings:
        return f"it needs custom ops that this machine lacks: {', '.join(unknown)}"
    detail = "; ".join([*run.faults, *([run.detail] if run.detail else [])])
    return Measured(len(run.faults), shown="no" if run.faults else "yes", detail=detail)


def drop(name: str) -> Callable[[Validation, Any], Found]:
    """The loss of a metric against the reference, positive where the candidate is worse."""

    def measure(v: Validation, bound: Any) -> Found:
        row = _row(v, name)
        if isinstance(row, str):
            return row
        if row.drop is None:
            return "there is no reference to compare with: give --reference"
        if blind := _at_chance(v, row):
            return blind
        point, lo, hi = row.drop
        detail = f"{_number(row.unit, row.candidate)} against {_number(row.unit, row.reference)}"
        return Measured(point, lo, hi, detail, n=_samples(v))

    return measure


def _at_chance(v: Validation, row: Any) -> str:
    """Why a loss from a reference that only guesses means nothing; "" where it does better."""
    accuracy: Any = v.accuracy
    classes = len(accuracy.classes)
    if _key(row.name) != "top1" or classes < 2 or row.reference is None or accuracy.labelled < 20:
        return ""
    low, _ = wilson_interval(row.reference * accuracy.labelled, accuracy.labelled)
    if low > 1 / classes:
        return ""
    return (
        f"the reference itself is right on {100 * row.reference:.2f} % of {accuracy.labelled} "
        f"samples (chance: {100 / classes:.2g} %), so a loss from there means nothing: check "
        "--preprocess, the order of the labels, --label-offset"
    )


def metric(name: str) -> Callable[[Validation, Any], Found]:
    """The candidate's own value."""

    def measure(v: Validation, bound: Any) -> Found:
        row = _row(v, name)
        if isinstance(row, str):
            return row
        lo, hi = row.interval if row.interval is not None else (None, None)
        ends = [_number(row.unit, end) for end in (lo, hi)]
        interval = f"95 % interval {ends[0]} to {ends[1]}" if lo is not None else ""
        better = bool(row.higher_is_better)
        return Measured(row.candidate, lo, hi, interval, n=_samples(v), higher_is_better=better)

    return measure


def _row(v: Validation, name: str) -> Any:
    accuracy: Any = v.accuracy
    for row in accuracy.metrics:
        if _key(row.name) == _key(name):
            return row
    known = ", ".join(row.name for row in accuracy.metrics) or "none"
    return f"{name} was not measured (measured: {known}); labels or --task may be missing"


def _key(name: str) -> str:
    """ "top-1", "top_1" and "Top1" are one name."""
    return "".join(c for c in name.lower() if c not in "-_ ")


def _number(unit: str, value: float | None) -> str:
    if value is None:
        return "?"
    return f"{100 * value:.2f} %" if unit in ("share", "%") else f"{value:.4g} {unit}".rstrip()


def _samples(v: Validation) -> int:
    accuracy: Any = v.accuracy
    return int(accuracy.n)


def agreement(v: Validation, bound: Any) -> Found:
    """Share of samples with the reference's class."""
    accuracy: Any = v.accuracy
    if accuracy.agreement is None:
        return "agreement needs a reference and an output with several classes"
    lo, hi = accuracy.agreement_interval
    return Measured(accuracy.agreement, lo, hi, f"{accuracy.n} samples", n=accuracy.n)


def output_sqnr(v: Validation, bound: Any) -> Found:
    """Of the judged output."""
    accuracy: Any = v.accuracy
    if accuracy.sqnr_db is None:
        return "SQNR needs a reference: give --reference"
    return Measured(accuracy.sqnr_db, detail=f"{accuracy.n} samples")


def layer_sqnr(v: Validation, bound: Any) -> Found:
    """The least own SQNR of a layer."""
    comparison: Any = v.comparison
    rows = [row for row in comparison.rows if row.own_sqnr_db is not None]
    if not rows:
        return "no layer of the two models could be matched and run alone"
    worst = min(rows, key=lambda row: row.own_sqnr_db)
    of = f"the least of {len(rows)} layers; {len(comparison.rows) - len(rows)} cannot run alone"
    return Measured(worst.own_sqnr_db, detail=f"{worst.op} {worst.label}, {of}")


def size(v: Validation, bound: Any) -> Found:
    """Bytes."""
    return Measured(v.size_bytes)


def size_ratio(v: Validation, bound: Any) -> Found:
    """Bytes by the reference's bytes."""
    if not v.reference_bytes:
        return "there is no reference to compare with: give --reference"
    detail = f"the reference as a float .tflite has {v.reference_bytes / 1e6:.2f} MB"
    return Measured(v.size_bytes / v.reference_bytes, detail=detail)


def _candidate(v: Validation) -> Any:
    """The file's row, or why there is none."""
    from tfq_ext.validation.verdict import CANDIDATE  # it imports the gates

    bench: Any = v.latency
    row = bench.row(CANDIDATE)
    return row.failed if row.failed else row


def latency(v: Validation, bound: Any) -> Found:
    """Median on this machine."""
    row = _candidate(v)
    if isinstance(row, str):
        return row
    lo, hi = row.interval_ms
    threads = f"{row.threads} thread" + ("s" if row.threads > 1 else "")
    return Measured(row.median_ms, lo, hi, f"{threads}, p90 {row.p90_ms:.3g} ms, on this machine")


def latency_ratio(v: Validation, bound: Any) -> Found:
    """Paired with the reference."""
    if not v.reference_bytes:
        return "there is no reference to time against: give --reference"
    bench: Any = v.latency
    row, base = _candidate(v), bench.row(bench.baseline)
    if isinstance(row, str) or base.failed:
        return row if isinstance(row, str) else f"the reference: {base.failed}"
    if row.runs < FEWEST:
        return f"{row.runs} timed runs are too few for an interval: --runs {FEWEST} or more"
    lo, hi = row.ratio_interval
    return Measured(row.ratio, lo, hi, f"{row.median_ms:.3g} ms against {base.median_ms:.3g} ms")


def memory(v: Validation, bound: Any) -> Found:
    """Peak of the process that ran it."""
    row = _candidate(v)
    if isinstance(row, str):
        return row
    if not row.peak_bytes:
        return "peak memory could not be read on this system"
    own = f"of it {row.model_bytes / 1e6:.1f} MB for this model, the rest Python and LiteRT"
    return Measured(row.peak_bytes, detail=own)


def model_memory(v: Validation, bound: Any) -> Found:
    """What loading and running the model added."""
    row = _candidate(v)
    if isinstance(row, str):
        return row
    if not row.peak_bytes:
        return "memory could not be read on this system"
    return Measured(row.model_bytes, detail="on top of Python and LiteRT")


def load_time(v: Validation, bound: Any) -> Found:
    """Milliseconds to an allocated interpreter."""
    row = _candidate(v)
    if isinstance(row, str):
        return row
    return Measured(row.load_ms, detail=f"then {row.first_ms:.3g} ms for the first run")


def float_ops(v: Validation, bound: Any) -> Found:
    """Float and hybrid ops."""
    rows: list[Any] = [*v.inspection.float_ops, *v.inspection.hybrid_ops]
    named = ", ".join(sorted({row.code for row in rows}))
    return Measured(len(rows), detail=named)


def integer_share(v: Validation, bound: Any) -> Found:
    """Share of the multiply-accumulates; of the ops where there are none."""
    coverage = v.inspection.coverage
    if coverage.share_ops is None:
        return "no op of the file computes"
    if coverage.share_macs is None:
        return Measured(coverage.share_ops, detail="of the ops: there is nothing to multiply")
    return Measured(coverage.share_macs, detail=f"{coverage.share_ops:.0%} of the ops")


def lint(v: Validation, bound: Any) -> Found:
    """Findings at least that severe, of all checks."""
    grave = SEVERITIES[SEVERITIES.index(bound) :]
    found = [f for f in v.findings if f.severity in grave and not f.suppressed]
    ids = ", ".join(sorted({f.rule.id for f in found}))
    return Measured(len(found), shown=f"{len(found)} findings" if found else "none", detail=ids)


def bit_exact(v: Validation, bound: Any) -> Found:
    """Differing codes over all kernel sets."""
    report: Any = v.integers
    if not report.compared:
        return "the file has no integer op that the reference knows"
    wrong = sum(sum(row.differing.values()) for row in report.rows)
    detail = f"of {report.compared} codes; {len(report.skipped)} ops not compared"
    return Measured(wrong, shown=f"{wrong} codes differ" if wrong else "yes", detail=detail)


def gpu(v: Validation, bound: Any) -> Found:
    """Rows of the delegate that are not ok."""
    report: Any = v.delegates
    rows = list(report.gpu)
    bad = [row for row in rows if row.status not in ("ok", "not checked")]
    if not bad and isinstance(missing := _gpu_rows(v), str):  # what is known to be bad stays so
        return missing
    shown = "; ".join(f"{row.precision}: {row.status}" for row in rows)
    return Measured(len(bad), shown=shown, detail="; ".join(row.reason for row in bad))


def _gpu_rows(v: Validation) -> list[Any] | str:
    report: Any = v.delegates
    rows = list(report.gpu)
    unchecked = [row for row in rows if row.status == "not checked"]
    if unchecked or not rows:
        return f"not checked: {unchecked[0].reason if unchecked else 'no GPU run was made'}"
    return rows


def gpu_fp16_error(v: Validation, bound: Any) -> Found:
    """The worst output's relative L2 error."""
    rows = _gpu_rows(v)
    if isinstance(rows, str):
        return rows
    row = next((row for row in rows if row.precision == "fp16"), None)
    if row is None or not row.outputs:
        return f"fp16 gave no output: {row.reason if row is not None else 'it was not run'}"
    if row.really_fp16 is False:
        return "the driver computed in fp32: fp16 could not be judged here"
    worst = max(row.outputs, key=lambda output: output.relative_l2)
    return Measured(worst.relative_l2, detail=f"output {worst.name}, on {row.adapter}")


def runtime(v: Validation, bound: Any) -> Found:
    """1 where the file needs a newer runtime than the bound."""
    need = v.inspection.runtime
    if need.unlisted:
        op, version = need.unlisted[0]
        return f"no known release has {op} version {version}"
    if not need.release:
        return "no op of the file says which release it needs"
    custom = f"; custom ops besides: {', '.join(need.custom)}" if need.custom else ""
    newer = release_key(need.release) > release_key(".".join(map(str, bound)))
    detail = f"by {need.op} version {need.version}{custom}"
    return Measured(float(newer), shown=need.release, detail=detail)
