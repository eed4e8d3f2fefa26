"""The audit's table of tensors, fitted to the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tfq_ext.repair.audit.values import Audit, TensorRow
from tfq_ext.spec import Range

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

GAP = 2  # between columns
SHORTEST = 12  # characters of a name
_OPTIONAL = "made by"  # left out before a name is cut


class Column(NamedTuple):
    """One column of the table of tensors.

    Args:
        title, justify: as rich has them.
        cell: text of a row.
        style: colour of a row's cell.
        fixed: keeps its width; the others are cut in the middle where room is short.
    """

    title: str
    justify: str
    cell: Callable[[TensorRow], str]
    style: Callable[[TensorRow], str] = lambda row: ""
    fixed: bool = True


def tensor_table(audit: Audit, width: int, top: int) -> tuple[str, Table] | None:
    """Title and table of the ranges that do not fit, worst first; None when all do.

    Args:
        audit: the findings.
        width: columns of the terminal that the table may take.
        top: at most so many rows.
    """
    rows = list(dict.fromkeys([*audit.wide, *sorted(audit.clipping, key=lambda r: -r.outside)]))
    if not rows or top < 1:
        return None
    columns = _columns(audit)
    if not _fits(columns, rows[:top], width):
        columns = [column for column in columns if column.title != _OPTIONAL]
    texts = _texts(columns, rows[:top])
    limits = _limits(columns, texts, width)
    table = new_table([(column.title, column.justify) for column in columns])
    for row, line in zip(rows, texts, strict=False):
        shown = map(_middle, line, limits)
        table.add_row(*(cell(t, c.style(row)) for c, t in zip(columns, shown, strict=True)))
    hidden = f", the worst {top} of {len(rows)} (--top)" if len(rows) > top else ""
    title = "Ranges that do not fit" if audit.subject == "file" else "Ranges recorded too wide"
    return f"{title}{hidden}", table


def _texts(columns: Sequence[Column], rows: Sequence[TensorRow]) -> list[list[str]]:
    return [[column.cell(row) for column in columns] for row in rows]


def _needs(columns: Sequence[Column], texts: Sequence[Sequence[str]]) -> list[int]:
    """Characters of the longest text of each column."""
    down = zip(*texts, strict=True)
    return [max(map(len, (c.title, *cells))) for c, cells in zip(columns, down, strict=True)]


def _fits(columns: Sequence[Column], rows: Sequence[TensorRow], room: int) -> bool:
    needs = _needs(columns, _texts(columns, rows))
    return sum(needs) + GAP * (len(needs) - 1) <= room


def _limits(columns: Sequence[Column], texts: Sequence[Sequence[str]], room: int) -> list[int]:
    """Characters that each column may have: fixed ones all, the others what is left, evenly."""
    needs = _needs(columns, texts)
    left = room - GAP * (len(columns) - 1)
    left -= sum(need for need, column in zip(needs, columns, strict=True) if column.fixed)
    limits = list(needs)
    open_ = sorted((k for k, c in enumerate(columns) if not c.fixed), key=lambda k: needs[k])
    for position, k in enumerate(open_):
        limits[k] = max(min(needs[k], left // (len(open_) - position)), SHORTEST)
        left -= limits[k]
    return limits


def _middle(text: str, limit: int) -> str:
    """Cut in the middle: both the block and the number at the end of a name matter."""
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{text[: limit - 1 - tail]}…{text[len(text) - tail :]}"


def _columns(audit: Audit) -> list[Column]:
    given, true = {
        "converter": ("recorded", "true"),
        "file": ("in the file", "needed"),
    }[audit.subject]
    columns = [
        Column("tensor", "left", lambda row: row.label, lambda row: "bold", fixed=False),
        Column(_OPTIONAL, "left", lambda row: row.op, lambda row: "dim"),
        Column(given, "right", lambda row: _range(row.given)),
        Column(true, "right", lambda row: _range(row.true)),
        Column("wider", "right", lambda row: f"{row.ratio:.2f}x", _severity),
        Column("lost", "right", lambda row: f"{max(row.bits_lost, 0.0):.1f} bit", _severity),
    ]
    if audit.clipping:
        columns.append(Column("clips", "right", _clips))
    if any(row.leak for row in audit.wide):
        columns.append(Column("leaked from", "left", _leak, fixed=False))
    return columns


def _clips(row: TensorRow) -> str:
    return f"{row.outside:.2%}" if row.outside > 0 else "-"


def _leak(row: TensorRow) -> str:
    return f"{row.leak.op} {row.leak.label}" if row.leak else ""


def _severity(row: TensorRow) -> str:
    return "red" if row.bits_lost >= 0.5 else "yellow" if row.bits_lost >= 0.1 else ""


def _range(r: Range) -> str:
    return f"{_number(r.min)} .. {_number(r.max)}"


def _number(x: float) -> str:
    """Three digits, as short as they get: -19.6, 0.0312, 1.2e-05."""
    return f"{x:.3g}" if x else "0"


def new_table(columns: Sequence[tuple[str, str]], *, header: bool = True) -> Table:
    """An empty table; columns are (title, justify). Cells are cut, never wrapped."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD if header else None,
        show_header=header,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0) if header else (0, 2, 0, 0),
    )
    for title, justify in columns:
        table.add_column(
            Text(title, style="dim", no_wrap=True),
            justify=justify,  # type: ignore[arg-type]
            no_wrap=True,
            overflow="ellipsis",
        )
    return table


def cell(text: str, style: str = "") -> Text:
    """A Text, never markup: names of tensors may hold brackets."""
    from rich.text import Text

    return Text(text, style=style)
