"""The journal's file: CSV that is only appended to, survives a crash and goes on where it was."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

from tfq_ext._files import write_text
from tfq_ext.errors import DataError, OutputError
from tfq_ext.qat.journal.rows import COLUMNS, Row


def append(path: Path, rows: Iterable[Row]) -> None:
    """Add rows in one write, with the header if the file is new.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not path.exists():
        writer.writerow(COLUMNS)
    writer.writerows(map(_cells, rows))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, text.getvalue().encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from None


def _cells(row: Row) -> list[str]:
    cells = (f"{v:.7g}" if isinstance(v, float) else str(v) for v in astuple(row))
    return ["" if cell == "nan" else cell for cell in cells]


def load(path: Path) -> list[dict[str, str]]:
    """All whole rows; half a row at the end, left by a crash, is not one.

    Raises:
        DataError: no journal, or one of another version.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the journal {path}: {error}.") from None
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise DataError(
            f"{path} is no journal of this version: its header is not {','.join(COLUMNS)}. "
            "Give another path."
        )
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in lines[1:]]


def go_on(path: Path, step: int) -> None:
    """Prepare a file for a run that stands at `step`: what lies after it was never trained.

    A new run (step 0) starts a new file; an old journal there is replaced, any other file is not.
    """
    if not path.exists():
        return
    kept = [row for row in load(path) if step and int(row["step"]) < step]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.values() for row in kept)
    write_text(path, text.getvalue())
