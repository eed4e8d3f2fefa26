"""Labels that lie in files: one a row, or one a file name."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.arrays import LABEL_NAMES, load_npy

_HEADERS = frozenset({"label", "labels", "class", "target", "y", "category", "name", "file"})


def labels_beside(data: object) -> bool | None:
    """True for a .npz with a member that is called like labels; None otherwise."""
    if not isinstance(data, str | Path) or Path(data).suffix.lower() != ".npz":
        return None
    try:
        with np.load(data, allow_pickle=False) as archive:
            return True if set(LABEL_NAMES) & set(archive.files) else None
    except (OSError, ValueError, EOFError, TypeError, BadZipFile):
        return None  # whoever opens the data says what is wrong


def read_labels(path: Path) -> Sequence | np.ndarray | Mapping[str, object]:
    """What a label file holds.

    Args:
        path: .npy: one row each. .txt: numbers or words, one a row, or lines "NAME LABEL". .csv:
            one row each, or NAME, then the label (several numbers make a vector); a header is
            skipped.

    Returns:
        One label a row, or file name -> label.

    Raises:
        DataError: an empty file, rows of different lengths, or a name that comes twice.
    """
    if path.suffix.lower() == ".npy":
        return load_npy(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is no text: labels come as .npy, .txt or .csv. With x and y in one .npz, give "
            "that as the data."
        ) from None
    if path.suffix.lower() == ".csv":
        rows = [[c.strip() for c in row] for row in csv.reader(text.splitlines()) if any(row)]
        rows = rows[1:] if rows and _is_header(rows) else rows
    else:
        rows = _lines(text)
    if not rows:
        raise DataError(f"{path}: no label in it.")
    if len({len(row) for row in rows}) > 1:
        raise DataError(f"{path}: rows have {sorted({len(row) for row in rows})} columns.")
    if len(rows[0]) > 1 and not all(_is_number(row[0]) for row in rows):
        return _mapping(rows, path)
    return [_value(row) for row in rows]


def indexed(values: Sequence[object]) -> tuple[list[object], tuple[str, ...]]:
    """Labels, words replaced by their place among the sorted words, and these words."""
    if not values or not all(isinstance(value, str) for value in values):
        return list(values), ()
    words = tuple(sorted({str(value) for value in values}))
    place = {word: k for k, word in enumerate(words)}
    return [place[str(value)] for value in values], words


def by_name(labels: Mapping[str, object], names: Sequence[str], what: str) -> list[object]:
    """The label of each file, looked up by its path inside the folder, its name, or its stem.

    Raises:
        DataError: a file without a label.
    """
    found = []
    for name in names:
        path = Path(name)
        ways = [way for way in (path.as_posix(), path.name, path.stem) if way in labels]
        if not ways:
            some = ", ".join(list(labels)[:3])
            raise DataError(f"{what}: no label for {name} among {len(labels)} ({some}, ...).")
        found.append(labels[ways[0]])
    return found


def _lines(text: str) -> list[list[str]]:
    """Lines of a .txt: "NAME LABEL" where every line reads so, else every word is a label."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    named = all(len(line) == 2 and "." in line[0] and not _is_number(line[0]) for line in lines)
    return lines if named else [[word] for line in lines for word in line]


def _is_header(rows: Sequence[Sequence[str]]) -> bool:
    first = [cell.lower() for cell in rows[0]]
    if first[-1] in _HEADERS:
        return True
    return len(rows) > 1 and not _is_number(first[-1]) and all(_is_number(r[-1]) for r in rows[1:])


def _mapping(rows: Sequence[Sequence[str]], path: Path) -> dict[str, object]:
    made = {row[0]: _value(row[1:]) for row in rows}
    if len(made) < len(rows):
        raise DataError(f"{path}: a name comes twice.")
    return made


def _value(cells: Sequence[str]) -> object:
    """A whole number, a number, a vector, or a word."""
    if not all(map(_is_number, cells)):
        return ",".join(cells)
    numbers = [int(c) if c.lstrip("+-").isdigit() else float(c) for c in cells]
    return numbers[0] if len(numbers) == 1 else np.array(numbers, np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
