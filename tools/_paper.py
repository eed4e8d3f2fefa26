"""What the parts of reproduce_whitepaper hand to each other: tables, claims, pictures, sections."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _qat_queue import Log

Row = dict[str, Any]
Cells = tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """One table of texts.

    Args:
        title: what it shows, with the unit.
        header: of the columns.
        rows: as wide as the header.
        notes: sentences below it.
    """

    title: str
    header: Cells
    rows: tuple[Cells, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.header):
                raise ValueError(f"{self.title}: {len(self.header)} columns, but a row {row}.")

    def markdown(self) -> str:
        """The table with its title, in Markdown."""
        lines = [f"**{self.title}**", ""]
        lines += [f"| {' | '.join(row)} |" for row in (self.header, ("---",) * len(self.header))]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])


@dataclass(frozen=True)
class Claim:
    """A finding of the paper, and whether it is seen here.

    Args:
        text: the finding, in the present tense.
        shown: the figures that decide.
        holds: whether they bear it out, with the slack that `text` states.
        must: if it does not hold, the tool ends with exit code 1; else it is a remark.
    """

    text: str
    shown: str
    holds: bool
    must: bool = True

    @property
    def word(self) -> str:
        """For the table."""
        return "holds" if self.holds else ("FAILS" if self.must else "not here")


def settled(name: str) -> bool:
    """Whether a network has the same weights everywhere: "small" is trained on the spot."""
    return not name.startswith("small")


@dataclass(frozen=True)
class Picture:
    """A figure.

    Args:
        name: of the file, without suffix; the section's name comes before it.
        caption: what is to be seen.
        draw: draws on an empty matplotlib Figure.
        size: inches.
    """

    name: str
    caption: str
    draw: Callable[[Any], None] = field(repr=False)
    size: tuple[float, float] = (7.2, 3.6)


@dataclass(frozen=True)
class Found:
    """What a section has found out."""

    grids: tuple[Grid, ...] = ()
    claims: tuple[Claim, ...] = ()
    pictures: tuple[Picture, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """Numbers of a paper.

    Args:
        source: paper and table.
        columns: names of what was measured.
        rows: network -> one number a column; None where the paper has none.
        says: what it concludes, in one sentence.
    """

    source: str
    says: str
    columns: Cells = ()
    rows: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One finding that can be rerun.

    Args:
        title: heading.
        run: (lab, published) -> what was found.
        published: what the paper says.
        differs: sentences: what is different here, and why.
    """

    title: str
    run: Callable[[Lab, Published], Found]
    published: Published
    differs: tuple[str, ...]


@dataclass
class Lab:
    """Where the work is done, and what is known already.

    Args:
        out: folder of log, report and files.
        quick: small numbers, bundled data.
        networks: that can be quantized after training, by name.
        grounds: where networks can be trained, by name.
        qat: folder of a finished bench_qat; None without.
        cifar: the .npz; None without.
        absent: sources that were not given, one sentence each.
    """

    out: Path
    quick: bool
    networks: Mapping[str, Any] = field(default_factory=dict)
    grounds: Mapping[str, Any] = field(default_factory=dict)
    qat: Path | None = None
    cifar: Path | None = None
    absent: tuple[str, ...] = ()

    @property
    def log(self) -> Log:
        """JSON lines; a row that is there is not computed again."""
        return Log(self.out / "log.jsonl")

    def known(self, kind: str, name: str, work: Callable[[], Row]) -> Row:
        """The row of that name, or `work()`, which is written down."""
        if (row := self.log.rows(kind).get(name)) is not None:
            return row
        start = time.perf_counter()
        row = work()
        self.write(kind, name, row, time.perf_counter() - start)
        return self.log.rows(kind)[name]

    def write(self, kind: str, name: str, row: Row, seconds: float) -> None:
        """One line of the log, and one on the terminal."""
        self.log.write(kind, {"id": name, **row, "seconds": round(seconds, 2)})
        self.tell(f"{name}: {seconds:.1f} s")

    def tell(self, text: str) -> None:
        """Progress, on stderr."""
        print(f"  {text}", file=sys.stderr, flush=True)


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a number of percent; "" for None."""
    return "" if share is None else f"{100 * share:.{digits}f}"


def decibels(value: float | None) -> str:
    """One digit; "inf" where nothing differs (JSON has no infinity, so None)."""
    return "inf" if value is None else f"{value:.1f}"


def kilobytes(count: float | None) -> str:
    """Thousands of bytes; "" for None."""
    return "" if count is None else f"{count / 1e3:.1f}"


def beside(published: Published, ours: Iterable[Cells], title: str, more: Sequence[str]) -> Grid:
    """Published rows, then ours, of the same columns.

    Args:
        published: shares, printed as percent.
        ours: network, then a cell for each published column, then for each of `more`.
        title: of the table.
        more: columns that only we have.
    """
    blank = ("",) * len(more)
    rows = [
        (f"{name} (paper)", *(percent(v) for v in values), *blank)
        for name, values in published.rows.items()
    ]
    return Grid(title, ("network", *published.columns, *more), (*rows, *ours))
