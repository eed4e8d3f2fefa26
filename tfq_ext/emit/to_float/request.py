"""What is asked of a conversion and what comes back, before it is cleaned into a pivot."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfq_ext.emit.to_float.norms import Remembered
from tfq_ext.errors import ModelError


@dataclass(frozen=True)
class Request:
    """The options of `to_float`, checked."""

    signatures: tuple[str, ...] = ()  # empty: all of them
    batch: int | None = None
    custom_objects: Mapping[str, object] = field(default_factory=dict)
    allow_custom_ops: bool = False

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ModelError(f"batch must be a positive number, got {self.batch}.")

    def choose(self, present: Sequence[str], source: str) -> list[str]:
        """The signature keys to convert, in the order asked for.

        Raises:
            ModelError: one of them is not in the model; lists those that are.
        """
        for key in self.signatures:
            if key not in present:
                there = ", ".join(map(repr, present)) or "none"
                raise ModelError(f"{source} has no signature {key!r}. It has: {there}.")
        return list(self.signatures or present)


@dataclass(frozen=True)
class Converted:
    """A flatbuffer as the converter wrote it.

    Args:
        data: the bytes.
        notes: what was changed on the way, one sentence each.
        digest: sha256 of the source; None where the source is an object in memory.
        kind: what `Pivot.source` shall say, where the file's name does not tell.
        remembered: what the BatchNorm layers do, of Keras models.
    """

    data: bytes
    notes: tuple[str, ...] = ()
    digest: str | None = None
    kind: str | None = None
    remembered: Remembered = field(default_factory=Remembered)


def import_objects(custom: Mapping[str, object] | Sequence[str] | None) -> dict[str, object]:
    """Custom objects by name, from a mapping or from import paths "package.module:Class".

    Raises:
        ModelError: a path that cannot be imported, or is none.
    """
    if custom is None:
        return {}
    if isinstance(custom, Mapping):
        return {k: _import(v) if isinstance(v, str) else v for k, v in custom.items()}
    paths = [custom] if isinstance(custom, str) else custom
    return {path.rpartition(":")[2].rpartition(".")[2]: _import(path) for path in paths}


def _import(path: str) -> object:
    module, colon, name = path.partition(":")
    if not (module and colon and name):
        raise ModelError(f"A custom object is given as 'package.module:Class', got {path!r}.")
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"Cannot import the custom object {path!r}: {error}. Is its folder on PYTHONPATH?"
        ) from None
    return found


def digest_of_path(path: Path) -> str:
    """sha256 of a file, or of all files of a folder with their relative names."""
    total = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    for file_path in sorted(p for p in path.rglob("*") if p.is_file()):
        total.update(file_path.relative_to(path).as_posix().encode() + b"\0")
        with file_path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
