"""What a rewriting did, row by row, and how it prints."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """One thing that was changed.

    Args:
        path: the layer, nested models with slashes: "backbone/conv1".
        what: what was done, in words.
    """

    path: str
    what: str


@dataclass(frozen=True)
class Kept:
    """One thing that was left alone.

    Args:
        path: the layer.
        reason: why, in words.
    """

    path: str
    reason: str


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns of text under a header, two blanks apart; "" without rows.

    A column whose cells all begin with a digit or a sign is set flush right.
    """
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return ""
    columns = list(zip(header, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(c[:1].isdigit() or c[:1] in "+-" for c in column[1:]) for column in columns]
    lines = [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in ([*header], *cells)
    ]
    return "\n".join(lines)


def paragraphs(*parts: str) -> str:
    """The parts that are not empty, a blank line between them."""
    return "\n\n".join(part for part in parts if part)


def kept_table(kept: Iterable[Kept]) -> str:
    """Path and reason of what was left alone."""
    return table(("left alone", "why"), ((row.path, row.reason) for row in kept))


def count(n: int, noun: str) -> str:
    """ "1 layer", "3 layers"."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
