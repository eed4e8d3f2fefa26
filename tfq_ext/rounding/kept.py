"""Codes kept on disk, so that a long run that was killed goes on where it was.

One file a weight, named after all that its codes depend on: a rerun with the same inputs finds it,
any other does not. Beside it lies what a rounder that learns told. Files are written whole or not
at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from tfq_ext._files import write_atomic
from tfq_ext.errors import OutputError
from tfq_ext.rounding.job import Job, Learning
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
        found, beside = _read(path, job), path.with_suffix(".json")
        if found is not None:
            _tell(job, _read_told(beside))
            return found
        told: list[Learning] = []
        codes = rounder.round(replace(job, tell=told.append))
        for learning in told:
            write_atomic(beside, json.dumps(asdict(learning)).encode())
            _tell(job, learning)
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


def _tell(job: Job, learning: Learning | None) -> None:
    if job.tell is not None and learning is not None:
        job.tell(learning)


def _read_told(path: Path) -> Learning | None:
    """What was told of kept codes; None where there is nothing, or something else."""
    try:
        return Learning(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


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
