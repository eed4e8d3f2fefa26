"""Arrays whose first axis counts samples: in memory, memory-mapped .npy, or .npz by input name."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.adapt import unpack, warn_of_rest
from tfq_ext.samples.checks import explain
from tfq_ext.samples.request import Request
from tfq_ext.samples.source import Indexed
from tfq_ext.samples.spec import InputSpec, Sample, by_signature

LABEL_NAMES = ("y", "labels", "label", "y_test", "y_train", "targets")


def from_arrays(data: object, request: Request, *, what: str = "arrays") -> Indexed:
    """One array, a dict by input name, a tuple or list in the order of the inputs, or `(x, y)`.

    Arrays are cut into samples of the model's fixed batch, else of one row. An array that has
    exactly the shape of one sample without its batch axis counts as one sample.

    Raises:
        DataError: shapes that do not fit, or arrays of different lengths.
    """
    item = unpack(data, by_signature(request.inputs))
    specs = [spec for spec in request.inputs if spec.signature == item.signature]
    arrays = {s.name: _with_rows(item.arrays[s.name], s) for s in specs}
    count = _common_count(arrays, specs, what)
    truth = None if item.label is None else np.asarray(item.label)

    def read(key: int) -> Sample:
        cut = {s.name: _cut(arrays[s.name], s, key) for s in specs}
        return Sample(key, cut, item.signature, None if label is None else label(key))

    label = None if truth is None else row_labels(truth, _rows_per_sample(specs), count, what)
    return Indexed(what, range(count), read, label)


def from_npy(path: Path, request: Request) -> Indexed:
    """A .npy file, memory-mapped: only the rows in use are in memory."""
    return from_arrays([load_npy(path)], request, what=path.name)


def from_npz(path: Path, request: Request) -> Indexed:
    """A .npz archive: arrays by input name, or one array for the one input.

    numpy loads a member at a time, whole, so the inputs' members stay in memory; a .npy is
    mapped instead. Members named y, labels, ... are labels, read when they are asked for.
    """
    with _reading(path), np.load(path, allow_pickle=False) as archive:
        names = _input_members(archive.files, request, path)
        arrays = {name: archive[name] for name in names}
        labels = _label_member(archive.files, names, request.labels, path)
        truth = None if labels is None else archive[labels]
    data: object = arrays
    if len(arrays) == 1 and len(request.inputs) == 1:
        data = list(arrays.values())
    return from_arrays(data if truth is None else (data, truth), request, what=path.name)


def load_npy(path: Path) -> np.ndarray:
    """A .npy file mapped read-only; pickled objects are refused."""
    with _reading(path):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def row_labels(
    truth: Sequence | np.ndarray, batch: int, count: int | None, what: str
) -> Callable[[int], object]:
    """Labels by sample key from labels by row.

    Raises:
        DataError: fewer or more labels than rows (at once if the count is known).
    """
    if count is not None and not count * batch <= len(truth) < (count + 1) * batch:
        raise DataError(f"{what}: {len(truth)} labels came for {count * batch} rows.")

    def label(key: int) -> object:
        rows = truth[key * batch : (key + 1) * batch]
        if len(rows) < batch:
            raise DataError(f"{what}: {len(truth)} labels came, row {key * batch} has none.")
        row = np.asarray(rows) if batch > 1 else rows[0]
        return row.item() if isinstance(row, np.generic) else row

    return label


def _rows_per_sample(specs: Sequence[InputSpec]) -> int:
    return max((spec.batch for spec in specs), default=1)


def _with_rows(array: np.ndarray, spec: InputSpec) -> np.ndarray:
    """The array with a first axis that counts rows (rank-0 inputs excepted)."""
    if not spec.shape or spec.fits_row(array.shape[1:]):
        return array
    if spec.fits_row(array.shape):
        return array[None]
    raise DataError(f"input {spec.name}: {explain(array.shape, spec)}")


def _common_count(arrays: Mapping[str, np.ndarray], specs: Sequence[InputSpec], what: str) -> int:
    counts = {s.name: len(arrays[s.name]) // s.batch for s in specs if arrays[s.name].ndim}
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise DataError(f"{what}: the inputs have different numbers of samples: {shown}.")
    count = next(iter(counts.values()), 1)
    for spec in specs:
        if arrays[spec.name].ndim:
            warn_of_rest(len(arrays[spec.name]) - count * spec.batch, spec.batch, count, what)
    if not count:
        raise DataError(f"{what}: no samples, the first axis is empty.")
    return count


def _cut(array: np.ndarray, spec: InputSpec, key: int) -> np.ndarray:
    if not array.ndim:
        return array
    rows = array[key * spec.batch : (key + 1) * spec.batch]
    return np.asarray(rows[0] if not spec.shape else rows)


def _input_members(files: Sequence[str], request: Request, path: Path) -> list[str]:
    wanted = {spec.name for spec in request.inputs}
    if found := [name for name in files if name in wanted]:
        return found
    asked = request.labels if isinstance(request.labels, str) else None
    others = [name for name in files if name not in LABEL_NAMES and name != asked]
    if len(others) != 1 and len(others) != len(wanted):
        raise DataError(
            f"{path.name} holds {', '.join(files) or 'nothing'}; expected one array for each of "
            f"{', '.join(sorted(wanted))}, or one array if the model has one input."
        )
    return others


def _label_member(
    files: Sequence[str], inputs: Sequence[str], asked: object, path: Path
) -> str | None:
    if asked is True:
        found = [name for name in LABEL_NAMES if name in files and name not in inputs]
        if not found:
            raise DataError(f"{path.name} has no labels ({', '.join(LABEL_NAMES)}), only {files}.")
        return found[0]
    return asked if isinstance(asked, str) and asked in files else None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns numpy's errors on bad files into ours."""
    try:
        yield
    except DataError:
        raise
    except (ValueError, OSError, BadZipFile, EOFError, SyntaxError, zlib.error) as error:
        if "pickle" in str(error) or "object" in str(error).lower():
            raise DataError(
                f"{path.name} holds pickled Python objects, which may run code and are never "
                "loaded. Save plain arrays: np.save(path, np.stack(list_of_arrays))."
            ) from None
        raise DataError(
            f"{path} cannot be read as {path.suffix} ({error}). "
            "Write it again with np.save or np.savez."
        ) from None
