"""Statistics on disk: numbers in `.npz`, what they belong to in `.json` beside it."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext.calibrate.stats import Stats, TensorStats
from tfq_ext.errors import OutputError, StatsError
from tfq_ext.numerics.exact import SQUARES, SUMS, ExactSum
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.numerics.moments import Moments

FORMAT = "tfq_ext.stats"
VERSION = 1
_Parts = dict[str, np.ndarray]


def save(stats: Stats, path: str | PathLike[str]) -> Path:
    """Write `path`.npz and `path`.json; equal statistics give equal bytes.

    Each file is replaced in one step, the `.json` last; it holds the hash of the `.npz`, so that
    `load` notices a pair which an interruption left half new.

    Returns:
        The path of the `.npz`.

    Raises:
        OutputError: the files cannot be written.
    """
    names = sorted(stats)
    parts = [_parts(stats[name]) for name in names]
    columns: _Parts = {}
    for column in parts[0] if parts else ():
        arrays = [p[column] for p in parts]
        columns[column] = np.concatenate([a.reshape(-1) for a in arrays])
        columns[f"{column}_size"] = np.array([a.size for a in arrays], np.int64)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)  # type: ignore[arg-type]
    numbers = buffer.getvalue()
    head = {
        "format": FORMAT,
        "version": VERSION,
        "model": stats.model,
        "sample_hash": stats.sample_hash,
        "samples": stats.samples,
        "npz_sha256": hashlib.sha256(numbers).hexdigest(),
        "tensors": [_summary(name, stats[name]) for name in names],
    }
    base = _base(path)
    _replace(base.with_name(base.name + ".npz"), numbers)
    text = json.dumps(head, indent=1, allow_nan=False, ensure_ascii=False)
    _replace(base.with_name(base.name + ".json"), (text + "\n").encode())
    return base.with_name(base.name + ".npz")


def load(path: str | PathLike[str], *, model: str | None = None) -> Stats:
    """Read what `save` wrote.

    Args:
        path: as given to `save`; with or without `.npz` or `.json`.
        model: hash of the model that they must belong to; None takes any.

    Raises:
        StatsError: a file is missing, truncated or altered, or it holds another format version or
            the statistics of another model. The message says which, and what to do.
    """
    base = _base(path)
    numbers = _read(base.with_name(base.name + ".npz"))
    head = _head(_read(base.with_name(base.name + ".json")), base)
    if head.get("npz_sha256") != hashlib.sha256(numbers).hexdigest():
        raise StatsError(
            f"{base}.npz is not the file that {base}.json was written with: truncated, altered, or "
            "the last save was interrupted. Observe the samples again."
        )
    if model is not None and head.get("model") != model:
        raise StatsError(
            f"{base}.json holds statistics of model {str(head.get('model'))[:12]}, not of "
            f"{model[:12]}. Observe the samples again with this model, or name another file."
        )
    try:
        with np.load(io.BytesIO(numbers), allow_pickle=False) as columns:
            return _assemble(head, {name: columns[name] for name in columns.files})
    except (KeyError, TypeError, ValueError, IndexError, OSError, zipfile.BadZipFile) as error:
        raise StatsError(
            f"{base}.npz and {base}.json do not fit together ({error}). Observe the samples again."
        ) from None


def _parts(t: TensorStats) -> _Parts:
    """The arrays of one tensor; `_tensor` reads them back."""
    bins, counts = t.histogram.sparse()
    channels = Moments.empty() if t.channels is None else t.channels
    return {
        "bins": bins,
        "counts": counts,
        "sample_keys": t.sample_keys,
        "sample_min": t.sample_min,
        "sample_max": t.sample_max,
        "channel_n": channels.n,
        "channel_sums": channels.sums.limbs,
        "channel_squares": channels.squares.limbs,
    }


def _summary(name: str, t: TensorStats) -> dict[str, Any]:
    """What a person wants to see of one tensor; null: no finite value, channels not followed."""
    return {
        "name": name,
        "count": t.count,
        "nan": t.nan,
        "inf": t.inf,
        "min": t.min if math.isfinite(t.min) else None,
        "max": t.max if math.isfinite(t.max) else None,
        "channels": None if t.channels is None else t.channels.channels,
    }


def _assemble(head: Mapping[str, Any], columns: _Parts) -> Stats:
    tensors = {}
    rows = head["tensors"]
    names = [name for name in columns if not name.endswith("_size")]
    cut = {n: np.split(columns[n], np.cumsum(columns[f"{n}_size"])[:-1]) for n in names}
    for i, row in enumerate(rows):
        tensors[str(row["name"])] = _tensor(row, {n: pieces[i] for n, pieces in cut.items()})
    stats = Stats(tensors, head["model"], head["sample_hash"])
    if len(stats) != len(rows) or stats.samples != head["samples"]:
        raise StatsError("the number of tensors or samples differs")
    return stats


def _tensor(row: Mapping[str, Any], part: _Parts) -> TensorStats:
    channels = row["channels"]
    moments = None
    if channels is not None:
        moments = Moments(
            part["channel_n"],
            ExactSum(SUMS, part["channel_sums"].reshape(SUMS.limbs, channels)),
            ExactSum(SQUARES, part["channel_squares"].reshape(SQUARES.limbs, channels)),
        )
    return TensorStats(
        count=row["count"],
        nan=row["nan"],
        inf=row["inf"],
        min=np.inf if row["min"] is None else float(row["min"]),
        max=-np.inf if row["max"] is None else float(row["max"]),
        histogram=Histogram.from_sparse(part["bins"], part["counts"]),
        sample_keys=part["sample_keys"],
        sample_min=part["sample_min"],
        sample_max=part["sample_max"],
        channels=moments,
    )


def _head(text: bytes, base: Path) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except ValueError as error:
        raise StatsError(f"{base}.json is not JSON: {error}. Observe the samples again.") from None
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise StatsError(f"{base}.json is not a file of statistics (no format {FORMAT!r}).")
    if head.get("version") != VERSION:
        raise StatsError(
            f"{base}.json has format version {head.get('version')}, this tfq_ext reads version "
            f"{VERSION}: observe the samples again, or use the tfq_ext that wrote it."
        )
    return head


def _base(path: str | PathLike[str]) -> Path:
    path = Path(path)
    return path.with_suffix("") if path.suffix in (".npz", ".json") else path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StatsError(
            f"No statistics at {path}: {error.strerror}. They are a .npz and a .json side by side, "
            "as Stats.save writes them."
        ) from None


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that there is never half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
