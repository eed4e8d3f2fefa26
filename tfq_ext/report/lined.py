"""Plain tables of one line a row, for any number of rows; rich's own take 2 ms a row.

Where room is short only the "name" columns are cut, the widest first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.text import Text

GAP = 2
SHORTEST = 10  # cells of a name


class Lined:
    """A table that a rich console can print.

    Args:
        titles: of the columns.
        kinds: "left", "right" or "name" (to the left, cut where room is short).
        rows: cells as plain texts without line breaks.
        styles: of each row's first cell, or none.
        spare: titles of columns that go, in this order, where room is short or cut names would
            look alike.
    """

    def __init__(
        self,
        titles: Sequence[str],
        kinds: Sequence[str],
        rows: Sequence[Sequence[str]],
        styles: Sequence[str] = (),
        spare: Sequence[str] = (),
    ):
        self.kinds = list(kinds)
        self.spare = spare
        self.rows = [list(titles), *map(list, rows)]
        self.styles = ["", *styles] if styles else []
        self.widths = _widths(self.rows)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        whole = options.max_width + min(self._excess(self.widths, options.max_width), 0)
        return Measurement(whole, whole)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        if self._excess(self.widths, options.max_width) > 0:
            self._share_prefixes()
        widths = self._fitted(options.max_width)
        for title in self.spare:
            if self._excess(widths, options.max_width) > 0 or self._alike(widths):
                self._drop(title)
                widths = self._fitted(options.max_width)
        for k, row in enumerate(self.rows):
            cells = list(map(_cell, row, widths, self.kinds))
            line = Text((" " * GAP).join(cells).rstrip(), no_wrap=True, overflow="ellipsis")
            if k == 0:
                line.stylize("dim")
            elif self.styles and self.styles[k]:
                line.stylize(self.styles[k], 0, len(cells[0]))
            yield line

    def _excess(self, widths: Sequence[int], room: int) -> int:
        return sum(widths) + GAP * (len(widths) - 1) - room

    def _alike(self, widths: Sequence[int]) -> bool:
        """True where different names would be cut to the same text."""
        for k in (k for k, kind in enumerate(self.kinds) if kind == "name"):
            names = {row[k] for row in self.rows[1:]}
            if len({_cell(name, widths[k], "name") for name in names}) < len(names):
                return True
        return False

    def _drop(self, title: str) -> None:
        if title in self.rows[0]:
            k = list(self.rows[0]).index(title)
            self.rows = [[*row[:k], *row[k + 1 :]] for row in self.rows]
            self.kinds.pop(k)
            self.widths.pop(k)

    def _share_prefixes(self) -> None:
        """The folders that all names of a column lie in go to its title."""
        for k in (k for k, kind in enumerate(self.kinds) if kind == "name"):
            names = [row[k] for row in self.rows[1:] if row[k] not in ("", "-")]
            prefix = _folder(names)
            if prefix:
                self.rows[0][k] += f" in {prefix}"
                for row in self.rows[1:]:
                    row[k] = row[k].removeprefix(f"{prefix}/")
        self.widths = _widths(self.rows)

    def _fitted(self, room: int) -> list[int]:
        widths = list(self.widths)
        names = [k for k, kind in enumerate(self.kinds) if kind == "name"]
        excess = self._excess(widths, room)
        while excess > 0 and names:
            widest = max(names, key=lambda k: widths[k])
            if widths[widest] <= SHORTEST:
                break
            widths[widest] -= 1
            excess -= 1
        return widths


def _folder(names: Sequence[str]) -> str:
    """The folder that all of several names lie in, "" for none."""
    if len(names) < 2:
        return ""
    low, high = min(names), max(names)  # what these two share, all share
    same = 0
    while same < min(len(low), len(high)) and low[same] == high[same]:
        same += 1
    return low[:same].rpartition("/")[0]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(*rows, strict=True)]


def _cell(content: str, width: int, kind: str) -> str:
    spare = width - cell_len(content)
    if spare < 0:  # cut in the middle: both the block and the number at the end of a name matter
        tail = content[len(content) - (width - 1) // 2 :]
        tail = tail if cell_len(tail) == len(tail) else ""
        return set_cell_size(content, width - 1 - len(tail)) + "…" + tail
    return " " * spare + content if kind == "right" else content + " " * spare
