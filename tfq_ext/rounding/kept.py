"""Codes kept on disk, so that a long run that was killed goes on where it was.

One file a weight, named after all that its codes depend on: a rerun with the same inputs finds it,
any other does not. Files are written whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from tfq_ext._files import write_atomic
from tfq_ext.errors import OutputError
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.table import Rounder

_VERSION = 1  # raise it when a rounder's arithmetic changes: old files are then not found


class Kept:
    """A folder of rounded weights.

    Args:
        folder: made if absent.

    Raises:
        OutputError: it cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"Cannot make the folder {self.folder} for kept codes: {error.strerror or error}."
            ) from None

    def round(self, name: str, rounder: Rounder, job: Job) -> np.ndarray:
        """The codes that `rounder.round(job)` gives, from the folder if they are there."""
        path = self.folder / f"{job_key(name, job)}.npy"
        found = _read(path, job)
        if found is not None:
            return found
        codes = rounder.round(job)
        content = io.BytesIO()
        np.save(content, codes, allow_pickle=False)
        write_atomic(path, content.getvalue())
        return codes


def job_key(name: str, job: Job) -> str:
    """SHA-256, in hexadecimal, of the rounder's name and everything that its job holds."""
    digest = hashlib.sha256()
    settings = (_VERSION, name, job.argument, job.seed, job.taps, job.params.spec)
    digest.update(repr(settings).encode())
    arrays = [job.weight, job.params.scale, job.params.zero_point]
    if job.data is not None:
        arrays += [job.data.gram, job.data.cross, job.data.power]
        if (patches := job.data.patches) is not None:
            digest.update(repr((float(patches.lo), float(patches.hi))).encode())
            arrays += [patches.rough, patches.target, patches.bias]
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _read(path: Path, job: Job) -> np.ndarray | None:
    """Kept codes; None where there are none that fit (a file that somebody cut short, say)."""
    try:
        codes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    spec = job.params.spec
    if codes.dtype != np.int8 or codes.shape != job.weight.shape:
        return None
    if codes.size and not spec.qmin <= codes.min() <= codes.max() <= spec.qmax:
        return None
    return np.asarray(codes)
