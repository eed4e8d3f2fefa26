"""Samples kept in a temporary folder, so that a source of one pass can be read many times."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.source import Indexed
from tfq_ext.samples.spec import Sample

MAX_BYTES = 4 << 30


@dataclass(frozen=True)
class _Entry:
    number: int
    names: tuple[str, ...]
    signature: str
    label: object | None


class _Folder:
    """A temporary folder that goes away on close, with its last user, or at exit."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="tfq_samples_"))
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, True)

    def close(self) -> None:
        self._remove()

    def file(self, number: int, position: int) -> Path:
        return self.path / f"{number:08d}_{position}.npy"


def spilled(samples: Iterable[Sample], *, what: str, max_bytes: int, classes: tuple) -> Indexed:
    """Write every sample to disk, one .npy an input, and read them back by key.

    All or nothing: on any error the folder is removed and nothing is returned.

    Args:
        samples: checked samples; memory holds one of them at a time.
        what: the original source, for messages.
        max_bytes: the most that may be written.
        classes: names of the labels, passed on.

    Raises:
        DataError: over `max_bytes`, or text inputs (which have no safe .npy form).
    """
    folder, entries, used = _Folder(), {}, 0
    try:
        for number, sample in enumerate(samples):
            used += sum(array.nbytes for array in sample.inputs.values())
            if used > max_bytes:
                raise DataError(
                    f"{what}: over {max_bytes / 2**20:.0f} MiB after {number} samples. Pass a "
                    "function that makes the generator, set a limit, or raise max_bytes."
                )
            entries[sample.key] = _written(folder, number, sample)
    except BaseException:
        folder.close()
        raise
    return _indexed(folder, entries, what, classes)


def _written(folder: _Folder, number: int, sample: Sample) -> _Entry:
    for position, (name, array) in enumerate(sample.inputs.items()):
        if array.dtype.kind in "OT":
            raise DataError(f"input {name} holds text objects, which are not kept on disk.")
        try:
            np.save(folder.file(number, position), array, allow_pickle=False)
        except OSError as error:
            raise DataError(
                f"Samples cannot be kept in {folder.path.parent} ({error}). Free space there, set "
                "TMPDIR, or pass a function that makes the generator."
            ) from None
    return _Entry(number, tuple(sample.inputs), sample.signature, sample.label)


def _indexed(folder: _Folder, entries: dict[int, _Entry], what: str, classes: tuple) -> Indexed:
    def read(key: int) -> Sample:
        entry = entries[key]
        if not folder.path.exists():
            raise DataError(f"{what}: the samples kept on disk were closed; open the data again.")
        arrays = {
            name: np.load(folder.file(entry.number, position), allow_pickle=False)
            for position, name in enumerate(entry.names)
        }
        return Sample(key, arrays, entry.signature, entry.label)

    labelled = bool(entries) and all(entry.label is not None for entry in entries.values())
    label = (lambda key: entries[key].label) if labelled else None
    return Indexed(what, list(entries), read, label, classes, preprocessed=True, close=folder.close)
