"""A comparison for people: how good the outputs are, where it is lost, why, and what to do."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.report.console import text_of
from tfq_ext.report.tables import LEFT, RIGHT, plain_table
from tfq_ext.report.words import count, short
from tfq_ext.validation.comparison import Comparison, LayerRow
from tfq_ext.validation.comparison.causes import is_bad
from tfq_ext.validation.comparison.labels import printable
from tfq_ext.validation.comparison.summary import db, lost_at, next_steps, outputs

INDENT = 2
GAP = 2
SHORTEST, WIDEST = 12, 36  # characters of a layer's name; longer ones are cut
SHOWN = 6  # unmatched tensors


class Column(NamedTuple):
    """One column of the table of layers.

    Args:
        title, side: as `plain_table` has them.
        cell: text of a row, given its rank.
        rank: the columns of highest rank are left out first where room is short.
    """

    title: str
    side: str
    cell: Callable[[LayerRow, int], str]
    rank: int = 0


COLUMNS: tuple[Column, ...] = (
    Column("", RIGHT, lambda row, n: str(n)),
    Column("layer", LEFT, lambda row, n: row.label),
    Column("op", LEFT, lambda row, n: row.op, 3),
    Column("alone", RIGHT, lambda row, n: _level(row.own_sqnr_db)),
    Column("in file", RIGHT, lambda row, n: _level(row.sqnr_db)),
    Column("share", RIGHT, lambda row, n: _share(row.loss)),
    Column("clipped", RIGHT, lambda row, n: _share(row.clipped), 1),
    Column("wasted", RIGHT, lambda row, n: _bits(row.wasted_bits), 1),
    Column("mean err", RIGHT, lambda row, n: _lsb(row.mean_error_lsb), 4),
    Column("max err", RIGHT, lambda row, n: _lsb(row.max_error_lsb), 5),
    Column("shift", RIGHT, lambda row, n: _shift(row), 2),
    Column("weights", RIGHT, lambda row, n: _level(row.weight_sqnr_db), 4),
    Column("matched by", LEFT, lambda row, n: row.matched_by, 6),
)


def to_text(comparison: Comparison, *, width: int = 100, top: int = 10) -> str:
    """The report as plain text of so many columns."""
    return text_of(lambda console: show(comparison, console, top=top), width)


def show(
    comparison: Comparison,
    console: Console,
    *,
    top: int = 10,
    in_order: bool = False,
    everything: bool = False,
) -> None:
    """Print the report.

    Args:
        comparison: the findings.
        console: where to.
        top: at most so many layers.
        in_order: in the order of execution instead of worst first.
        everything: all layers, and every unmatched tensor.
    """
    _say(console, outputs(comparison), _colour(comparison))
    _say(console, lost_at(comparison), "bold")
    _say(console, _scope(comparison), "dim")
    for note in comparison.notes:
        _say(console, f"Note: {note}", "dim")
    worst = comparison.worst(len(comparison.rows))
    rows = list(worst if everything else worst[:top])
    if in_order:
        rows.sort(key=lambda row: (row.index, row.tensor))
    if rows:
        hidden = len(worst) - len(rows)
        order = "in order" if in_order else "worst first"
        more = f", {hidden} more (--all)" if hidden else ""
        _section(console, f"Layers, {order}{more}", _table(rows, console.width - INDENT))
    _verdicts(rows, console)
    _unmatched(comparison, console, everything)
    _next(comparison, console)


def _colour(comparison: Comparison) -> str:
    worst = min((row.sqnr_db for row in comparison.outputs), default=math.inf)
    return "bold red" if worst < 5 else "bold yellow" if worst < 15 else "bold green"


def _scope(comparison: Comparison) -> str:
    left = Counter(u.side for u in comparison.unmatched if u.op)
    parts = [f"{count(comparison.samples, 'sample')}, {len(comparison.rows)} tensors matched"]
    if comparison.rows:
        by = Counter(row.matched_by for row in comparison.rows)
        parts.append("(" + ", ".join(f"{n} by {how}" for how, n in by.most_common()) + ")")
    if left:
        rest = " and ".join(f"{n} of the {side}" for side, n in sorted(left.items()))
        parts.append(f"- not matched: {rest}")
    return " ".join(parts) + ". Alone: the op on exact inputs. In file: with all errors before it."


def _table(rows: Sequence[LayerRow], room: int) -> Table:
    columns = list(COLUMNS)
    cells = [[c.cell(row, n) for c in columns] for n, row in enumerate(rows, 1)]
    empty = [k for k, c in enumerate(columns) if c.rank and all(not r[k].strip("-") for r in cells)]
    kept = [k for k in range(len(columns)) if k not in empty]
    name = next(k for k, c in enumerate(columns) if c.title == "layer")
    wanted = min(max(len(line[name]) for line in cells), WIDEST)
    while (left := room - _needs(columns, cells, kept, name)) < wanted and _droppable(
        columns, kept
    ):
        kept.remove(_droppable(columns, kept)[-1])
    longest = max(left, SHORTEST)
    table = plain_table([(columns[k].title, columns[k].side) for k in kept], ())
    for line, row in zip(cells, rows, strict=True):
        line[name] = _middle(line[name], longest)
        style = "" if is_bad(row) and "victim" not in row.causes else "dim"
        table.add_row(*(Text(line[k], style, no_wrap=True) for k in kept))
    return table


def _needs(
    columns: Sequence[Column], cells: Sequence[Sequence[str]], kept: Sequence[int], name: int
) -> int:
    """Width of all columns but the name's."""
    widths = [max(len(columns[k].title), *(len(r[k]) for r in cells)) for k in kept if k != name]
    return sum(widths) + GAP * len(kept)


def _droppable(columns: Sequence[Column], kept: Sequence[int]) -> list[int]:
    """Columns that may go, the first to go last."""
    return sorted((k for k in kept if columns[k].rank), key=lambda k: columns[k].rank)


def _middle(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    tail = (limit - 3) // 2
    return f"{text[: limit - 3 - tail]}...{text[len(text) - tail :]}"


def _level(value: float | None) -> str:
    if value is None:
        return "-"
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= 0.0995 else f"{value:.1%}" if value >= 0.0005 else "-"


def _bits(value: float) -> str:
    return f"{value:.1f} bit" if value >= 0.05 else "-"


def _lsb(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g} LSB" if value < 99.5 else f"{value:.0f} LSB"


def _shift(row: LayerRow) -> str:
    shift = row.own_shift or row.shift
    if shift is None or shift.lsb is None or abs(shift.lsb) < 0.05:
        return "-"
    return f"{shift.lsb:+.1f} LSB"


def _verdicts(rows: Sequence[LayerRow], console: Console) -> None:
    told = [(n, row) for n, row in enumerate(rows, 1) if row.verdict]
    if not told:
        return
    table = plain_table([("", RIGHT), ("", LEFT)], ())
    table.show_header = False
    for n, row in told:
        victim = "victim" in row.causes
        text = Text(f"{short(printable(row.label), 40)}: ", "dim" if victim else "bold")
        table.add_row(str(n), text.append(row.verdict + ".", "dim" if victim else "not bold"))
    _section(console, "Why", table)


def _unmatched(comparison: Comparison, console: Console, everything: bool) -> None:
    rows = [u for u in comparison.unmatched if u.side == "candidate" or everything]
    if not rows:
        return
    table = plain_table([("tensor", LEFT), ("of the", LEFT), ("why", LEFT)], ())
    for u in rows if everything else rows[:SHOWN]:
        table.add_row(Text(short(u.tensor, 28)), u.side, Text(u.why))
    more = "" if everything or len(rows) <= SHOWN else f", {len(rows) - SHOWN} more (--all)"
    _section(console, f"Not compared{more}", table)


def _next(comparison: Comparison, console: Console) -> None:
    steps = next_steps(comparison)
    if not steps:
        return
    console.print()
    console.print(Text("What to do", "bold"))
    for step in steps:
        console.print(Padding(Text(step.text), (0, 0, 0, INDENT)))
        if step.command:  # never wrapped, so that it can be copied
            console.print(Text(f"    {step.command}", "cyan"), soft_wrap=True)


def _say(console: Console, sentence: str, style: str) -> None:
    if sentence:
        console.print(Text(sentence, style))


def _section(console: Console, title: str, body: Table) -> None:
    console.print()
    console.print(Text(title, "bold"))
    console.print(Padding(body, (0, 0, 0, INDENT), expand=False))


__all__ = ["db", "show", "to_text"]
