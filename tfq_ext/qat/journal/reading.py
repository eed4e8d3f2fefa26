"""A journal as arrays, for plots."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfq_ext.errors import UnknownName
from tfq_ext.qat.journal.file import load
from tfq_ext.qat.journal.rows import COLUMNS, NUMBERS, WHOLE


@dataclass(frozen=True, eq=False)
class Log:
    """What a Journal wrote.

    Args:
        columns: name -> array, one entry a line of the file; float64, int64 or str. The columns
            are those of `Row`.
    """

    columns: Mapping[str, np.ndarray]

    @property
    def names(self) -> list[str]:
        """The quantizers, in the model's order."""
        return list(dict.fromkeys(self.columns["name"].tolist()))

    def series(self, name: str, column: str) -> tuple[np.ndarray, np.ndarray]:
        """One quantizer's course.

        Args:
            name: of the quantizer.
            column: "sqnr_db", "scale_high", ...

        Returns:
            int64[n] steps and the column's n values.

        Raises:
            UnknownName: no such quantizer or column.
        """
        if column not in self.columns:
            raise UnknownName(f"No column {column!r}. Known: {', '.join(self.columns)}.")
        if name not in self.names:
            raise UnknownName(f"No quantizer {name!r}. Known: {', '.join(self.names)}.")
        mine = self.columns["name"] == name
        return self.columns["step"][mine], self.columns[column][mine]


def read_journal(path: str | os.PathLike[str]) -> Log:
    """Read what a Journal wrote; also while it is still being written.

    Raises:
        DataError: no journal, or one of another version.
    """
    rows = load(Path(path))
    texts = {name: [row[name] for row in rows] for name in COLUMNS}
    columns = {name: np.array(cells, dtype=np.str_) for name, cells in texts.items()}
    for name in WHOLE:
        columns[name] = np.array([int(cell) for cell in texts[name]], np.int64)
    for name in NUMBERS:
        columns[name] = np.array([float(cell or "nan") for cell in texts[name]], np.float64)
    return Log(columns)
