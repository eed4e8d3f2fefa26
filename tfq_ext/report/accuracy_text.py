"""Accuracy for people: metrics with intervals, agreement, classes that changed, what to know."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.validation.accuracy.values import (
    AccuracyReport,
    Changed,
    ClassRow,
    Interval,
    MetricRow,
)

SHOWN_CLASSES = 8
SHOWN_CHANGES = 10
# name in the report -> as people write it
TITLES = {
    "top1": "top-1",
    "top5": "top-5",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R2",
    "miou": "mIoU",
    "pixel_accuracy": "pixel accuracy",
}
_INDENT = (0, 0, 0, 2)


def accuracy_view(report: AccuracyReport) -> RenderableType:
    """Everything about accuracy that a terminal shows."""
    parts: list[RenderableType] = [Text(headline(report))]
    if report.metrics:
        parts.append(Padding(metric_table(report), _INDENT))
    if near := nearness(report):
        parts.append(Text(near))
    parts += _changed(report)
    parts += _classes(report)
    parts += [Text(f"Note: {words.printable(note)}", "dim") for note in report.notes]
    return Group(*parts)


def to_text(report: AccuracyReport, *, width: int = 100) -> str:
    """The view as plain text."""
    return text_of(lambda console: console.print(accuracy_view(report)), width)


def headline(report: AccuracyReport) -> str:
    """How many samples, the task, who worked and how fast."""
    labelled = "" if report.labelled == report.n else f", {report.labelled} with labels"
    task = f", {report.task}" if report.task else ""
    early = ", stopped early" if report.stopped_early else ""
    rate = f"{report.samples_per_second:.3g}"
    if report.samples_per_second >= 1000:
        rate = f"{report.samples_per_second:.0f}"
    return (
        f"{words.count(report.n, 'sample')}{labelled}{task}{early}; "
        f"{words.count(report.workers, 'worker')}, {rate} samples/s"
    )


def metric_table(report: AccuracyReport) -> Table:
    """One line a metric; columns of the reference only where there is one."""
    both = any(row.reference is not None for row in report.metrics)
    columns = [("", LEFT), ("candidate", RIGHT), ("95 %", LEFT)]
    if both:
        columns += [("reference", RIGHT), ("lost", RIGHT), ("interval", LEFT), ("p", RIGHT)]
    return plain_table(columns, [_cells(row, both) for row in report.metrics])


def _cells(row: MetricRow, both: bool) -> list[str | Text]:
    cells: list[str | Text] = [
        Text(TITLES.get(row.name, words.short(row.name)), "bold"),
        number(row.candidate, row.unit),
        between(row.interval, row.unit),
    ]
    if not both:
        return cells
    if row.drop is None:
        return [*cells, "", "", "", ""]
    point, lo, hi = row.drop
    style = "red" if lo > 0 else "green" if hi < 0 else ""
    return [
        *cells,
        "" if row.reference is None else number(row.reference, row.unit),
        Text(difference(point, row.unit), style),
        between((lo, hi), row.unit, signed=True),
        "" if row.p_value is None else _p(row.p_value),
    ]


def nearness(report: AccuracyReport) -> str:
    """Agreement, SQNR and divergence in one line; "" without a reference."""
    parts = []
    if report.agreement is not None:
        inside = between(report.agreement_interval, "share")
        parts.append(f"agrees with the reference on {report.agreement:.2%} ({inside})")
    if report.sqnr_db is not None:
        parts.append(f"output SQNR {words.db(report.sqnr_db)}")
    if report.kl is not None:
        parts.append(f"KL divergence {report.kl:.3g} nats")
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + ("." if text else "")


def number(value: float, unit: str) -> str:
    """Shares in percent, the rest with four digits."""
    return f"{100 * value:.2f} %" if unit == "share" else f"{value:.4g} {unit}".rstrip()


def difference(value: float, unit: str) -> str:
    """With its sign; a share in percentage points."""
    return f"{100 * value:+.2f} pp" if unit == "share" else f"{value:+.4g} {unit}".rstrip()


def between(interval: Interval | None, unit: str, *, signed: bool = False) -> str:
    """ "86.3 .. 87.6"; "unknown" where the samples do not tell."""
    if interval is None or not all(map(math.isfinite, interval)):
        return "unknown"
    scale, digits = (100, "+.2f" if signed else ".2f") if unit == "share" else (1, ".4g")
    return " .. ".join(f"{scale * end:{digits}}" for end in interval)


def _p(value: float) -> str:
    return f"{value:.2g}" if value >= 1e-4 else "< 1e-4"


def _changed(report: AccuracyReport) -> list[RenderableType]:
    rows = report.changed[:SHOWN_CHANGES]
    if not rows:
        return []
    columns = [("reference", LEFT), ("candidate", LEFT), ("samples", RIGHT)]
    known = any(row.lost or row.won for row in report.changed)
    if known:
        columns += [("was right", RIGHT), ("is right", RIGHT)]
    table = plain_table(columns, [_change(row, known) for row in rows])
    total = sum(row.count for row in report.changed)
    title = f"Classes that changed: {words.count(total, 'sample')}"
    return _section(title, table, len(report.changed) - len(rows))


def _change(row: Changed, known: bool) -> list[str]:
    cells = [_class(row.before, row.before_name), _class(row.after, row.after_name), f"{row.count}"]
    return [*cells, f"{row.lost}", f"{row.won}"] if known else cells


def _classes(report: AccuracyReport) -> list[RenderableType]:
    """The classes that lost most, or without a reference the worst."""
    if len(report.classes) < 3:
        return []
    rows = sorted(report.classes, key=_rank)[:SHOWN_CLASSES]
    both = rows[0].reference is not None
    columns = [("class", LEFT), ("samples", RIGHT), ("candidate", RIGHT)]
    columns += [("reference", RIGHT), ("lost", RIGHT)] if both else [("95 %", LEFT)]
    what = "IoU" if report.task == "segmentation" else "top-1"
    title = f"{what} by class, {'most lost' if both else 'worst'} first"
    table = plain_table(columns, [_class_cells(row) for row in rows])
    return _section(title, table, len(report.classes) - len(rows))


def _rank(row: ClassRow) -> tuple[float, float, int]:
    lost = 0.0 if row.reference is None else row.reference - row.candidate
    return -lost, row.candidate, row.label


def _class_cells(row: ClassRow) -> list[str]:
    cells = [_class(row.label, row.name), f"{row.n}", number(row.candidate, "share")]
    if row.reference is None:
        return [*cells, between(row.interval, "share") if row.interval else ""]
    lost = difference(row.reference - row.candidate, "share")
    return [*cells, number(row.reference, "share"), lost]


def _class(label: int, name: str) -> str:
    return f"{label} {words.short(name, 28)}" if name else str(label)


def _section(title: str, table: Table, hidden: int) -> list[RenderableType]:
    more = [Text(f"  and {hidden} more", "dim")] if hidden > 0 else []
    return ["", Text(title, "bold"), Padding(table, _INDENT), *more]
