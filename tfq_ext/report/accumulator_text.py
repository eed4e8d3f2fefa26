"""`tfq inspect --accumulator`: which layers fit how many bits."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from tfq_ext.repair.accumulators import AccumulatorRow
from tfq_ext.report.inspect_tables import Column, safe, table
from tfq_ext.report.words import count

COLUMNS: list[Column[AccumulatorRow]] = [
    ("op", "left", lambda row: safe(row.op, 20)),
    ("makes", "name", lambda row: safe(row.tensor)),
    ("products", "right", lambda row: str(row.fan_in)),
    ("weight", "right", lambda row: f"int{row.weight_bits}"),
    ("input", "right", lambda row: f"{row.lo}..{row.hi}"),
    ("by type", "right", lambda row: str(row.by_type)),
    ("needs", "right", lambda row: str(row.needed)),
    ("with bias", "right", lambda row: str(row.with_bias)),
    ("over", "right", lambda row: f"{len(row.over)} of {row.channels}" if row.over else ""),
]


def show_accumulators(rows: Sequence[AccumulatorRow], bits: int, console: Console) -> None:
    """Print a row a layer and the verdict."""
    if not rows:
        console.print("No layer with integer weights and activations.")
        return
    styles = ["green" if row.fits else "red" for row in rows]
    console.print(table(COLUMNS, rows, styles, spare=("weight", "by type", "with bias")))
    console.print(Text(verdict(rows, bits)))


def verdict(rows: Sequence[AccumulatorRow], bits: int) -> str:
    """How many fit, and what the widest needs."""
    fitting = sum(row.fits for row in rows)
    widest = max(rows, key=lambda row: row.needed)
    said = f"{fitting} of {count(len(rows), 'layer')} cannot overflow {bits} bits; "
    said += f"the widest sum needs {widest.needed}: {safe(widest.tensor)}."
    return said if fitting == len(rows) else f"{said} Rounding a2q:{bits} makes weights that fit."
