"""Accounts and recipes as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tfq_ext.emit.islands import FloatOp
from tfq_ext.recipe import PresetRow
from tfq_ext.report import findings, words
from tfq_ext.report.text import headline
from tfq_ext.result import Account, Result

SHOWN_FLOAT_OPS = 12
SHOWN_NOTES = 12
SHOWN_LEARNED = 5
LEFT, RIGHT = "left", "right"


def plain_table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table with one rule, under the head: (title, "left" or "right") a column."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title, side in columns:
        table.add_column(title, justify="right" if side == RIGHT else "left")
    for row in rows:
        table.add_row(*row)
    return table


def recipe_table(rows: Sequence[PresetRow]) -> Table:
    """`tfq recipes`: the name; what it is for; its grids; whether it needs samples."""
    table = plain_table([("recipe", LEFT), ("data", LEFT), ("what it gives", LEFT)], ())
    table.columns[0].no_wrap = True
    for row in rows:
        grids = [f"weights {row.weights}"]
        if row.activations != "-":
            grids += [f"activations {row.activations}", f"ranges {row.calibrator}"]
        what = Text(row.description).append(f"\n{', '.join(grids)}", "dim")
        table.add_row(Text(row.name, "bold"), "yes" if row.needs_data else "no", what)
    return table


def account_view(result: Result, target: Path) -> RenderableType:
    """Everything that `tfq quantize` tells a person."""
    a = result.account
    parts: list[RenderableType] = [
        Text(f"{target}", "bold"),
        headline(result),
        findings.recipe_line(result),
    ]
    if result.recipe.mode == "static":
        parts.append(findings.integer_share(a))
        parts += _float_ops(a.float_ops)
    parts.append(f"{a.read_back}.")
    for line in (
        findings.sample_line(result),
        findings.variant_line(a.end_to_end),
        findings.release_line(a),
    ):
        parts += [line] if line else []
    return Group(*parts, *_ruined(a), *_noisiest(a), *_weights(a), *_learned(a), *_notes(a))


def _section(title: str, body: RenderableType) -> list[RenderableType]:
    return ["", Text(title, "bold"), Padding(body, (0, 0, 0, 2))]


def _float_ops(rows: Sequence[FloatOp]) -> list[RenderableType]:
    if not rows:
        return []
    shown = [(row.op, words.short(row.tensor, 32), row.reason) for row in rows[:SHOWN_FLOAT_OPS]]
    table = plain_table([("op", LEFT), ("tensor", LEFT), ("stayed float because", LEFT)], shown)
    return [Padding(table, (0, 0, 0, 2)), *_more(len(rows) - SHOWN_FLOAT_OPS)]


def _ruined(account: Account) -> list[RenderableType]:
    rows = findings.ruined_inputs(account.ranges)
    if not rows:
        return []
    lines = [Text(f"{row}.", "yellow") for row in rows[:5]]
    remedies = [Text(f"- {remedy}") for remedy in findings.REMEDIES]
    body = Group(*lines, *_more(len(rows) - 5), "Any of these helps:", *remedies)
    return _section("Inputs that a shared range ruins", body)


def _noisiest(account: Account) -> list[RenderableType]:
    rows = findings.noisiest(account.ranges)
    if not rows:
        return []
    columns = [
        ("tensor", LEFT),
        ("observed", RIGHT),
        ("chosen", RIGHT),
        ("by", LEFT),
        ("dB", RIGHT),
    ]
    shown = [
        (
            words.short(row.tensors[0], 26),
            words.interval(row.observed),
            words.interval(row.range),
            row.calibrator,
            words.db(level).removesuffix(" dB"),
        )
        for row, level in rows
    ]
    title = "Noisiest ranges (signal to noise at their consumers)"
    return _section(title, plain_table(columns, shown))


def _weights(account: Account) -> list[RenderableType]:
    rows = findings.weakest(account.weights)
    if not rows:
        return []
    columns = [("op", LEFT), ("tensor", LEFT), ("bits", RIGHT), ("scales", RIGHT), ("dB", RIGHT)]
    shown = [
        (
            row.op,
            words.short(row.tensor, 36),
            str(row.bits),
            str(row.channels),
            words.db(row.sqnr_db).removesuffix(" dB"),
        )
        for row in rows
    ]
    title = f"Weights that rounding hurt most, of {len(account.weights)}"
    return _section(title, plain_table(columns, shown))


def _learned(account: Account) -> list[RenderableType]:
    rows = findings.least_settled(account.weights)
    if not rows:
        return []
    columns = [("op", LEFT), ("tensor", LEFT), ("steps", RIGHT), ("unsettled", RIGHT)]
    columns += [("nearest", RIGHT), ("learned", RIGHT)]
    shown = [
        (
            row.op,
            words.short(row.tensor, 26),
            str(one.steps),
            f"{one.unsettled:.1%}",
            f"{one.before:.2e}",
            f"{one.after:.2e}",
        )
        for row, one in rows[:SHOWN_LEARNED]
    ]
    title = "Learned rounding, least settled first (mean square error of the layer's output)"
    more = _more(len(rows) - SHOWN_LEARNED)
    return [*_section(title, plain_table(columns, shown)), *more]


def _notes(account: Account) -> list[RenderableType]:
    lines = findings.alike(account.notes)
    lines += findings.gathered(account.weights)
    if not lines:
        return []
    body = Group(*lines[:SHOWN_NOTES], *_more(len(lines) - SHOWN_NOTES))
    return _section("Notes", body)


def _more(hidden: int) -> list[RenderableType]:
    return [Text(f"  and {hidden} more (--json lists them all)", "dim")] if hidden > 0 else []
