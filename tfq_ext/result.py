"""What quantize() gives back: the file's bytes and a plain account of what was done."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tfq_ext._files import write_atomic
from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.islands import FloatOp
from tfq_ext.emit.result import Note
from tfq_ext.emit.to_float import Pivot
from tfq_ext.numerics.clusters import Structure
from tfq_ext.recipe import Recipe
from tfq_ext.repair.ranges import RangeChoice, Release
from tfq_ext.rounding import Learning
from tfq_ext.samples import Samples
from tfq_ext.tflite.zipped import zipped_size

_PACKAGES = ("tfq_ext", "tensorflow", "keras", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class WeightRow:
    """One weight as it stands in the file.

    Args:
        op, tensor: op code and its output.
        bits: 8 or 4.
        channels: number of scales (1: per tensor).
        sqnr_db: of the rounded weight against the float one, dB.
        notes: what was departed from, and why.
        before: zeros and distinct values of the float weight; None where nobody counted.
        after: the same of the codes.
        learned: steps, unsettled share and loss, where the rounding was learned.
    """

    op: str
    tensor: str
    bits: int
    channels: int
    sqnr_db: float
    notes: tuple[str, ...] = ()
    before: Structure | None = None
    after: Structure | None = None
    learned: Learning | None = None


@dataclass(frozen=True)
class Provenance:
    """Everything that decides the bytes."""

    source: str
    source_sha256: str
    sample_sha256: str
    samples: int
    held_back: int
    seed: int
    versions: Mapping[str, str]

    @classmethod
    def of(
        cls, pivot: Pivot, stats: Stats | None, held_back: Samples | None, *, seed: int
    ) -> Provenance:
        """Gathered from the stages' values and the installed packages."""
        return cls(
            source=pivot.source,
            source_sha256=pivot.digest,
            sample_sha256=stats.sample_hash if stats is not None else "",
            samples=stats.samples if stats is not None else 0,
            held_back=(held_back.count or 0) if held_back is not None else 0,
            seed=seed,
            versions={name: _version(name) for name in _PACKAGES},
        )


@dataclass(frozen=True)
class Account:
    """What was done.

    Args:
        bytes_before, bytes_after: size of the float pivot and of the file.
        ops: op code -> count in the file.
        float_ops: ops that stayed float, with reasons.
        ranges: one row a grid.
        weights: one row a weight.
        released: for relu6 = "relu".
        read_back: what was compared after writing.
        end_to_end: how each tried variant did on held-back samples (output SQNR, dB).
        notes: everything else worth a sentence.
    """

    bytes_before: int
    bytes_after: int
    ops: Mapping[str, int]
    float_ops: tuple[FloatOp, ...]
    ranges: tuple[RangeChoice, ...]
    weights: tuple[WeightRow, ...]
    released: tuple[Release, ...]
    read_back: str
    end_to_end: Mapping[str, float]
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Result:
    """A finished file.

    Args:
        content: the .tflite.
        recipe: what was asked for, the widths in place of a `search`; the same recipe, model and
            samples give the same bytes.
        provenance: hashes, seeds and versions.
        account: what was done.
    """

    content: bytes
    recipe: Recipe
    provenance: Provenance
    account: Account = field(repr=False)

    @cached_property
    def bytes_zipped(self) -> int:
        """Bytes of a zip that holds the file: what a download costs. Deflated when first asked."""
        return zipped_size(self.content)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the file, atomically.

        Raises:
            OutputError: it cannot be written; what was there before is untouched.
        """
        return write_atomic(path, self.content)

    def to_dict(self) -> dict[str, Any]:
        """Recipe, provenance and account as JSON values."""
        account = asdict(self.account)
        account["bytes_zipped"] = self.bytes_zipped
        return {
            "recipe": self.recipe.to_dict(),
            "provenance": asdict(self.provenance),
            "account": account,
        }

    def to_json(self) -> str:
        """The same as text; null stands for infinite levels (a weight that rounds to itself)."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.text import summary

        return summary(self)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
