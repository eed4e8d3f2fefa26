"""The tables of `tfq inspect`: ops, tensors, weights, one row each or gathered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from tfq_ext.report import words
from tfq_ext.report.lined import Lined
from tfq_ext.validation.inspection.model import Inspection
from tfq_ext.validation.inspection.rows import OpRow, TensorRow, WeightRow

R = TypeVar("R")
# title; "left", "right", "name" (cut where room is short) or "text" (broken there); cell
Column = tuple[str, str, Callable[[R], str]]
COLOURS = {"integer": "green", "hybrid": "yellow", "float": "yellow", "custom": "red"}


def amount(n: int | None) -> str:
    """Counts with three digits: 950, 12.3 k, 4.22 M, 1.1 G; "?" where not known."""
    if n is None:
        return "?"
    if n == 0:
        return "-"
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)


def number(x: float) -> str:
    """Three digits, as short as they get."""
    return f"{x:.3g}" if x else "0"


def share(part: float, whole: float) -> str:
    """Percent without false precision: "<1 %", "37 %", "99.9 %", "100 %"."""
    if not whole or not part:
        return "-"
    percent = 100 * part / whole
    if percent < 1:
        return "<1 %"
    return f"{percent:.0f} %" if percent <= 99 or part == whole else f"{min(percent, 99.9):.1f} %"


def shape_text(shape: Sequence[int]) -> str:
    """ "1x224x224x3", "?x10" where open; "()" for a scalar or a shape that is not recorded."""
    return "x".join("?" if n < 0 else str(n) for n in shape) or "()"


def size(count: int) -> str:
    """Bytes: 88 B, 12.3 kB, 4.18 MB."""
    return f"{count} B" if count < 1000 else words.size(count)


def table(
    columns: Sequence[Column[R]],
    rows: Sequence[R],
    styles: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> Lined:
    """Rows under dim titles; only "name" columns are cut where room is short.

    Args:
        columns: (title, kind, cell of a row).
        rows: any values.
        styles: one for each row's first cell, or none.
        spare: titles of columns that go first where room is short.
    """
    cells = [[show(row) for _, _, show in columns] for row in rows]
    return Lined([c[0] for c in columns], [c[1] for c in columns], cells, styles, spare)


def broken_table(columns: Sequence[Column[R]], rows: Sequence[R]) -> Table:
    """The same for few rows, whose "text" columns are broken between words."""
    made = Table(box=None, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for title, kind, _ in columns:
        made.add_column(
            Text(title, "dim"),
            justify="right" if kind == "right" else "left",
            no_wrap=kind != "text",
        )
    for row in rows:
        made.add_row(*(Text(show(row)) for _, _, show in columns))
    return made


def safe(name: str, width: int = 60) -> str:
    """A name from a file on one line."""
    return words.short(name, width) or "-"


def clean(text: str, width: int) -> str:
    """Text from a file on one line of at most `width` characters, whatever it holds."""
    line = words.printable(text)
    return line if len(line) <= width else line[: width - 3] + "..."


class Group:
    """Ops of one code, version and types, counted together."""

    def __init__(self, rows: list[OpRow]):
        self.rows = rows
        self.first = rows[0]
        self.macs = sum(row.macs or 0 for row in rows)
        self.parameters = sum(row.parameters for row in rows)
        self.unknown = any(row.macs is None for row in rows)


def groups(ops: Sequence[OpRow]) -> list[Group]:
    """Gathered ops, most work first, then most frequent."""
    found: dict[tuple[str, ...], list[OpRow]] = {}
    for row in ops:
        key = (row.code, str(row.version), row.types, str(row.weight_bits), row.arithmetic)
        found.setdefault(key, []).append(row)
    made = [Group(rows) for rows in found.values()]
    return sorted(made, key=lambda g: (-g.macs, -len(g.rows), g.first.code))


def op_groups(found: Inspection, shown: Sequence[Group]) -> Lined:
    """Ops by code: how many, how they compute, what they cost."""
    total = found.macs
    columns: list[Column[Group]] = [
        ("op", "name", lambda g: safe(g.first.code, 40)),
        ("count", "right", lambda g: str(len(g.rows))),
        ("types", "left", lambda g: g.first.types),
        ("bits", "right", lambda g: str(g.first.weight_bits or "")),
        ("v", "right", lambda g: str(g.first.version)),
        ("params", "right", lambda g: amount(g.parameters)),
        ("MACs", "right", lambda g: "?" if g.unknown else amount(g.macs)),
        ("", "right", lambda g: "" if g.unknown else share(g.macs, total)),
    ]
    styles = [COLOURS.get(g.first.arithmetic, "") for g in shown]
    return table(columns, shown, styles, spare=("v", "params"))


def op_rows(found: Inspection, rows: Sequence[OpRow]) -> Lined:
    """Ops one by one, in execution order."""
    several = len(found.subgraphs) > 1
    columns: list[Column[OpRow]] = [
        ("op", "left", lambda row: safe(row.code, 28)),
        ("at", "right", lambda row: f"{row.subgraph}:{row.index}" if several else str(row.index)),
        ("makes", "name", lambda row: safe(row.tensor)),
        ("shape", "left", lambda row: shape_text(row.shape)),
        ("types", "left", lambda row: row.types),
        ("v", "right", lambda row: str(row.version)),
        ("MACs", "right", lambda row: amount(row.macs)),
    ]
    styles = [COLOURS.get(row.arithmetic, "") for row in rows]
    return table(columns, rows, styles, spare=("v", "types"))


def tensor_rows(found: Inspection, rows: Sequence[TensorRow]) -> Lined:
    """Tensors one by one."""
    several = len(found.subgraphs) > 1
    columns: list[Column[TensorRow]] = [
        ("at", "right", lambda row: f"{row.subgraph}:{row.index}" if several else str(row.index)),
        ("tensor", "name", lambda row: safe(row.name)),
        ("kind", "left", lambda row: row.kind),
        ("type", "left", lambda row: row.dtype),
        ("shape", "left", lambda row: shape_text(row.shape)),
        ("stored", "right", lambda row: size(row.stored) if row.stored else ""),
        ("scale, zero", "left", grid_text),
    ]
    return table(columns, rows, spare=("stored", "kind"))


def grid_text(row: TensorRow) -> str:
    """Scale and zero point, or how many scales along which axis."""
    if row.scale is None:
        return ""
    if row.scales > 1:
        return f"{row.scales} along {row.axis}"
    return f"{number(row.scale)}, {row.zero_point}"


def weight_rows(rows: Sequence[WeightRow]) -> Lined:
    """Weights one by one."""
    columns: list[Column[WeightRow]] = [
        ("op", "left", lambda row: safe(row.op, 18)),
        ("weight", "name", lambda row: safe(row.tensor)),
        ("type", "left", lambda row: row.dtype),
        ("shape", "left", lambda row: shape_text(row.shape)),
        ("scales", "right", lambda row: str(row.scales) if row.scales else ""),
        ("from", "right", lambda row: number(min(row.low))),
        ("to", "right", lambda row: number(max(row.high))),
        ("spread", "right", lambda row: f"{number(row.spread)}x" if row.channels > 1 else ""),
        ("dead", "right", lambda row: str(len(row.dead)) if row.dead else ""),
        ("faint", "right", lambda row: str(len(row.faint)) if row.faint else ""),
        ("zeros", "right", lambda row: share(row.zeros, 1.0)),
    ]
    return table(drop_empty(columns, rows), rows, spare=("op", "type", "scales"))


def channel_rows(weight: WeightRow, top: int) -> Lined:
    """The channels of one weight."""
    columns: list[Column[int]] = [
        ("channel", "right", lambda k: str(k)),
        ("from", "right", lambda k: number(weight.low[k])),
        ("to", "right", lambda k: number(weight.high[k])),
        ("", "left", lambda k: "dead" if k in weight.dead else "faint" * (k in weight.faint)),
    ]
    return table(columns, range(weight.channels)[:top])


def drop_empty(columns: list[Column[R]], rows: Sequence[R]) -> list[Column[R]]:
    """Only the columns that have something to say."""
    return [
        c for c in columns if c[1] != "right" or any(c[2](row) not in ("", "-") for row in rows)
    ]
