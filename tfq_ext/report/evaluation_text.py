"""Several files side by side: one line each, the float model above them."""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.accuracy_text import TITLES
from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.validation.accuracy.values import AccuracyReport, MetricRow
from tfq_ext.validation.side_by_side import EvaluatedFile, Evaluation

LEGEND = (
    "lost: points of that metric against the reference on the same samples; ranges are 95 % "
    "intervals. agrees: samples with the reference's answer. SQNR: power of the reference's "
    "output over that of the difference."
)
ZIPPED = 90  # columns from which on the size as a download is shown


def view(found: Evaluation, width: int) -> RenderableType:
    """The table, its legend, what failed, and notes."""
    reports = [row.accuracy for row in found.rows if row.accuracy is not None]
    metric = next((r.metrics[0].name for r in reports if r.metrics), "")
    both, zipped = bool(found.reference), width >= ZIPPED
    columns = [("", LEFT), ("kB", RIGHT)] + [("zipped kB", RIGHT)] * zipped
    if metric:
        columns += [(_title(reports, metric), LEFT)] + [("lost", LEFT)] * both
    columns += [("agrees %", RIGHT), ("SQNR dB", RIGHT)] if both else []
    rows = [_float_row(found, reports, metric, zipped)] if both else []
    rows += [_cells(row, metric, both, zipped) for row in found.rows]
    table = plain_table(columns, [[*cells, *[""] * (len(columns) - len(cells))] for cells in rows])
    parts: list[RenderableType] = [Text(_headline(reports)), table]
    parts += [Text(LEGEND, "dim")] if both else []
    failed = [f"{row.name}: {row.failed}" for row in found.rows if row.failed]
    parts += [Text(words.printable(text), "red") for text in failed]
    return Group(*parts, *[Text(f"Note: {text}", "dim") for text in _notes(found)])


def as_text(found: Evaluation, width: int = 100) -> str:
    """The view as plain text."""
    return text_of(lambda console: console.print(view(found, width)), width)


def _headline(reports: list[AccuracyReport]) -> str:
    first = reports[0]
    return f"{words.count(first.n, 'sample')}{f', {first.task}' if first.task else ''}"


def _notes(found: Evaluation) -> list[str]:
    """Each note once, with the files that it is of where it is not of all."""
    of: dict[str, list[str]] = {}
    for row in found.rows:
        for note in row.accuracy.notes if row.accuracy else ():
            of.setdefault(note, []).append(row.name)
    measured = sum(row.accuracy is not None for row in found.rows)
    return [
        words.printable(note if len(names) == measured else f"{', '.join(names)}: {note}")
        for note, names in of.items()
    ]


def _float_row(
    found: Evaluation, reports: list[AccuracyReport], metric: str, zipped: bool
) -> list[str | Text]:
    cells: list[str | Text] = [Text("reference", "bold"), _kilobytes(found.reference_bytes)]
    cells += [""] * zipped
    row = next((m for r in reports if (m := r.metric(metric))), None)
    if row is not None and row.reference is not None:
        cells.append(_number(row.reference, row.unit))
    return cells


def _cells(row: EvaluatedFile, metric: str, both: bool, zipped: bool) -> list[str | Text]:
    cells: list[str | Text] = [
        Text(words.short(row.name, 28), "bold"),
        _kilobytes(row.size_bytes),
        *[_kilobytes(row.zipped_bytes)] * zipped,
    ]
    if row.accuracy is None:
        return [*cells, Text("failed", "red")]
    if metric:
        cells += _metric(row.accuracy.metric(metric), both)
    if both:
        a = row.accuracy
        cells.append("" if a.agreement is None else f"{100 * a.agreement:.1f}")
        cells.append("" if a.sqnr_db is None else words.db(a.sqnr_db).removesuffix(" dB"))
    return cells


def _metric(found: MetricRow | None, both: bool) -> list[str | Text]:
    """The value, and what was lost, each with its interval."""
    if found is None:
        return [""] * (1 + both)
    value = _number(found.candidate, found.unit)
    if found.interval is not None:
        value += f" ({_range(found.interval, found.unit)})"
    if not both or found.drop is None:
        return [value, *[""] * both]
    point, lo, hi = found.drop
    style = "red" if lo > 0 else "green" if hi < 0 else ""
    return [value, Text(f"{_number(point, found.unit)} ({_range((lo, hi), found.unit)})", style)]


def _title(reports: list[AccuracyReport], metric: str) -> str:
    """The metric with its unit."""
    unit = next(row.unit for r in reports if (row := r.metric(metric)) is not None)
    name = TITLES.get(metric, words.short(metric))
    return f"{name} {'%' if unit == 'share' else unit}".rstrip()


def _kilobytes(count: int) -> str:
    return f"{count / 1e3:.1f}"


def _range(ends: tuple[float, float], unit: str) -> str:
    return " to ".join(_number(end, unit) for end in ends)


def _number(value: float, unit: str) -> str:
    if not math.isfinite(value):
        return "unknown"
    return f"{100 * value:z.1f}" if unit == "share" else f"{value:z.4g}"  # z: no "-0.0"
