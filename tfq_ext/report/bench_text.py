"""A bench for a terminal: times, the longest ops, where the graph is split, and why it is slow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.latency.rows import BenchReport, BenchRow
from tfq_ext.validation.latency.timing import Interval
from tfq_ext.validation.profile import OpTime, Profile

WIDE = 110  # columns from which on everything is shown
TOP = 10
SHOWN_BREAKS = 4
SHORTEST, GAP = 20, 2  # characters of a file's name; between columns
COLORS = {"error": "red", "warning": "yellow", "info": "cyan"}


def show(report: BenchReport, console: Console, *, top: int = TOP) -> None:
    """Print everything that `tfq bench` tells a person."""
    console.print(view(report, console.width, top))


def as_text(report: BenchReport, width: int = 100, top: int = TOP) -> str:
    """The same as plain text."""
    return text_of(lambda console: show(report, console, top=top), width)


def view(report: BenchReport, width: int, top: int) -> RenderableType:
    """Table of rows, notes, then for each file its ops and the reasons."""
    parts: list[RenderableType] = [Text(_machine(report), "dim"), _rows(report, width)]
    parts.append(Text(_legend(report), "dim"))
    parts += [Text(f"{row.name}: {words.printable(row.failed)}", "red") for row in _failed(report)]
    parts += [Text(f"Note: {words.printable(note)}", "yellow") for note in report.notes]
    for name in _candidates(report):
        parts += _profile(report, name, width, top)
        parts += _reasons(report, name)
    return Group(*parts)


def _candidates(report: BenchReport) -> list[str]:
    names = list(dict.fromkeys(row.name for row in report.rows))
    return [name for name in names if name != report.baseline] or names


def _failed(report: BenchReport) -> list[BenchRow]:
    return list({row.name: row for row in report.rows if row.failed}.values())


def _machine(report: BenchReport) -> str:
    here = report.machine
    parts = [words.printable(here.cpu) or "unknown CPU", words.count(here.cores, "core")]
    if here.load is not None:
        parts.append(f"load {here.load:.2f} before")
    if here.busy is not None:
        parts.append(f"others used {here.busy:.0%} meanwhile")
    return ", ".join(parts)


@dataclass(frozen=True)
class Column:
    """One column of the table of rows.

    Args:
        title: its head.
        cell: what stands in it.
        keep: columns of low numbers are the first to go where the terminal is narrow.
    """

    title: str
    cell: Callable[[BenchRow], str | Text]
    keep: int = 9


def _columns(report: BenchReport) -> list[Column]:
    rows = report.rows
    columns = []
    if len({row.kernels for row in rows}) > 1:
        columns.append(Column("kernels", lambda row: row.kernels))
    if len({row.threads for row in rows}) > 1:
        columns.append(Column("threads", lambda row: str(row.threads)))
    columns.append(Column("ms", lambda row: number(row.median_ms)))
    columns.append(Column("95 %", lambda row: _interval(row.interval_ms), keep=1))
    columns.append(Column("p90", lambda row: number(row.p90_ms), keep=4))
    if len({row.name for row in rows}) > 1:
        columns.append(Column("x base", lambda row: Text(ratio(row.ratio), _color(row))))
        columns.append(Column("95 %", lambda row: _interval(row.ratio_interval), keep=8))
    columns.append(Column("load", lambda row: number(row.load_ms), keep=5))
    columns.append(Column("first", lambda row: number(row.first_ms), keep=3))
    columns.append(Column("MB", _memory, keep=6))
    columns.append(Column("file MB", lambda row: f"{row.size_bytes / 1e6:.2f}", keep=2))
    return columns


def _memory(row: BenchRow) -> str:
    return f"+{row.model_bytes / 1e6:.1f}" if row.model_bytes else "-"


def _rows(report: BenchReport, width: int) -> Table:
    columns = _columns(report)
    while (room := width - _needs(columns, report)) < SHORTEST and any(c.keep < 9 for c in columns):
        columns.remove(min(columns, key=lambda column: column.keep))
    cells = [
        [_middle(_stem(row.name), max(room, SHORTEST)), *(column.cell(row) for column in columns)]
        for row in report.rows
    ]
    heads = [("file", LEFT), *((column.title, RIGHT) for column in columns)]
    table = plain_table(heads, cells)
    for column in table.columns:
        column.no_wrap = True
    return table


def _needs(columns: Sequence[Column], report: BenchReport) -> int:
    """Characters that all columns but the first take, gaps included."""
    return (
        sum(
            max(len(column.title), *(len(column.cell(row)) for row in report.rows)) + GAP
            for column in columns
        )
        + GAP
    )


def _stem(name: str) -> str:
    return words.printable(name).removesuffix(".tflite")


def _middle(text: str, limit: int) -> str:
    """Cut in the middle: file names differ at both ends."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def _legend(report: BenchReport) -> str:
    several = len({row.name for row in report.rows}) > 1
    base = f" x base: by {words.printable(report.baseline)} in the same round." if several else ""
    return (
        f"Times in ms: median, load (open to allocated), first run.{base} MB: what loading and "
        "running it added to the process."
    )


def _color(row: BenchRow) -> str:
    low, high = row.ratio_interval
    return "green" if high < 1 else "red" if low > 1 else ""


def number(value: float) -> str:
    """Milliseconds with three digits; "-" for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio(value: float) -> str:
    """Two decimals, none from 10 on; "-" for none."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _interval(interval: Interval) -> str:
    low, high = interval
    return "-" if math.isnan(low) else f"{low:.3g}-{high:.3g}"


def _profile(report: BenchReport, name: str, width: int, top: int) -> list[RenderableType]:
    profile = report.profiles.get(name)
    if profile is None:
        return []
    parts: list[RenderableType] = ["", Text(words.printable(name), "bold")]
    if profile.available and top:
        parts.append(_ops(report, name, profile, width, top))
    elif not profile.available:
        parts.append(Text(words.printable(profile.why_not), "yellow"))
    parts += [Text(line) for line in _summary(profile)]
    return parts


def _summary(profile: Profile) -> list[str]:
    lines = []
    ran = [op for op in profile.ops if op.where != "folded"]
    inside = [op for op in ran if op.where in ("XNNPACK", "fused")]
    runs = words.count(len(profile.partitions), "run")
    if profile.kernels == "xnnpack" and profile.partitions and not inside:
        lines.append(f"XNNPACK ran none of the {len(ran)} ops.")
    elif profile.kernels == "xnnpack" and profile.partitions:
        share = f", {profile.xnnpack_share:.0%} of the ops' time" if profile.available else ""
        lines.append(f"XNNPACK ran {len(inside)} of {len(ran)} ops{share}, in {runs} of ops.")
    for stops, words_ in (
        ("XNNPACK", "Outside XNNPACK"),
        ("accelerator", "An Edge TPU's or NPU's compiler would stop at"),
    ):
        found = [b for b in profile.breaks if b.stops == stops]
        kinds = Counter((b.op, b.why) for b in found)
        if stops == "accelerator" and found:
            first = found[0]
            more = f"; {len(found) - 1} more ops like it or worse" if len(found) > 1 else ""
            lines.append(f"{words_} op {first.index} {first.op} ({first.why}){more}.")
        elif found:
            shown = [f"{n} {op} ({why})" for (op, why), n in kinds.most_common(SHOWN_BREAKS)]
            rest = len(kinds) - len(shown)
            more = f" and {words.count(rest, 'other kind')}" if rest else ""
            lines.append(f"{words_}: {'; '.join(shown)}{more}.")
    return [words.printable(line) for line in lines]


def _ops(report: BenchReport, name: str, profile: Profile, width: int, top: int) -> Table:
    before = _before(report, name)
    columns = [("op", RIGHT), ("", LEFT), ("tensor", LEFT), ("ms", RIGHT), ("share", RIGHT)]
    columns += [("base ms", RIGHT)] if before else []
    columns += [("ran in", LEFT)]
    columns += [("as", LEFT)] if width >= WIDE else []
    longest = max((len(op.op) for op in profile.slowest[:top]), default=2)
    room = max(width - longest - (36 if width < WIDE else 84) - (9 if before else 0), 12)
    rows: list[list[str]] = []
    for op in profile.slowest[:top]:
        cells = [str(op.index), op.op, words.short(words.printable(op.tensor), room)]
        cells += [f"{op.ms:.3f}", f"{op.share:.0%}"]
        cells += [_ms(before.get(op.index))] if before else []
        cells += [op.where]
        cells += [words.short(op.kernel, 46)] if width >= WIDE else []
        rows.append([words.printable(cell) for cell in cells])
    table = plain_table(columns, rows)
    for column in table.columns:
        column.no_wrap = True
    return table


def _ms(op: OpTime | None) -> str:
    return "" if op is None else f"{op.ms:.3f}"


def _before(report: BenchReport, name: str) -> dict[int, OpTime]:
    """Op index of a file -> the same op of the baseline, by name."""
    base, mine = report.profiles.get(report.baseline), report.profiles.get(name)
    if name == report.baseline or base is None or mine is None or not base.available:
        return {}
    named = {(op.op, op.tensor): op for op in base.ops}
    found = {op.index: named[op.op, op.tensor] for op in mine.ops if (op.op, op.tensor) in named}
    return found if 2 * len(found) >= len(mine.ops) else {}


def _reasons(report: BenchReport, name: str) -> list[RenderableType]:
    found = [f for f in report.reasons if f.message.startswith(f"{name}: ")]
    if not found:
        return []
    row = report.row(name)
    title = "Where the time goes"
    if name != report.baseline and not row.failed and not math.isnan(row.ratio):
        faster = row.ratio_interval[1] < 1
        verdict = "Faster" if faster else "Not faster"
        title = f"{verdict} than {words.printable(report.baseline)} ({ratio(row.ratio)} x its time)"
    parts: list[RenderableType] = ["", Text(title, "bold")]
    for finding in found:
        parts += _reason(finding, name)
    return parts


def _reason(finding: Finding, name: str) -> list[RenderableType]:
    message = words.printable(finding.message.removeprefix(f"{name}: "))
    line = Text(f"{finding.severity}: ", COLORS[finding.severity]).append(message, "default")
    parts: list[RenderableType] = [Padding(line, (0, 0, 0, 2), expand=False)]
    if finding.rule.id != "time-now":
        why = Text(f"{finding.rule.why} {finding.rule.remedy}", "dim")
        parts.append(Padding(why, (0, 0, 0, 6), expand=False))
    return parts


__all__ = ["as_text", "show", "view"]
