"""Named entries of a file, what they say, and the files that are packed behind the model."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np

from tfq_ext.tflite.read import Model, text
from tfq_ext.validation.inspection.rows import AssociatedFile, MetadataRow

LONGEST = 200  # characters of one text
MOST_FILES = 1000
_ZIP_END = b"PK\x05\x06"
_ZIP_TAIL = 22 + 65535  # its last record and the longest comment
# TensorFlow's conversion_metadata.fbs, ModelOptimizationMode
_MODES = {
    1001: "float16 weights",
    1002: "dynamic range",
    1003: "full integer",
    1004: "int16 activations",
    2000: "quantization-aware training",
    3001: "random sparsity",
    3002: "block sparsity",
    3003: "structured sparsity",
}
# google_ai metadata_schema.fbs, ModelMetadata: field number -> its name
_MODEL_FIELDS = {0: "name", 1: "description", 2: "version", 4: "author", 5: "license", 7: "parser"}


def entries(model: Model) -> tuple[MetadataRow, ...]:
    """Every entry in the order of the file."""
    rows = []
    for entry in model.tree.metadata or ():
        buffers = model.tree.buffers
        data = buffers[entry.buffer].data if 0 <= entry.buffer < len(buffers) else None
        raw = b"" if data is None else bytes(np.asarray(data, np.uint8)[: 2**20])
        name = text(entry.name)
        said = READERS.get(name, _plain)(raw)[:LONGEST]
        rows.append(MetadataRow(name, 0 if data is None else len(data), said))
    return tuple(rows)


def stated_runtime(rows: tuple[MetadataRow, ...]) -> str:
    """What the file itself says it needs; "" where it does not say."""
    return next((row.text for row in rows if row.name == "min_runtime_version"), "")


def associated_files(data: bytes) -> tuple[tuple[AssociatedFile, ...], int]:
    """Files of a zip archive behind the model, and the bytes that the archive takes."""
    if data.rfind(_ZIP_END, max(len(data) - _ZIP_TAIL, 0)) < 0:
        return (), 0
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(BytesIO(data)) as archive:
            listed = archive.infolist()
    except (BadZipFile, ValueError, OSError, struct.error, NotImplementedError):
        return (), 0  # bytes that only look like an archive's end
    rows = [AssociatedFile(i.filename, i.file_size, i.compress_size) for i in listed]
    start = min((i.header_offset for i in listed), default=len(data))
    return tuple(rows[:MOST_FILES]), len(data) - start


def _plain(raw: bytes) -> str:
    """Short texts as they are; anything else says nothing."""
    body = raw.rstrip(b"\0")
    try:
        said = body.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return said if said.isprintable() and len(said) <= 64 else ""


def _guarded(reader: Callable[[bytes], Iterator[str]]) -> Callable[[bytes], str]:
    """A damaged table says what it says before the damage."""

    def read(raw: bytes) -> str:
        parts = []
        try:
            for part in reader(raw):
                parts.append(part)
        except (struct.error, IndexError, UnicodeDecodeError):
            parts.append("(damaged)")
        return ", ".join(parts)

    return read


class _Table:
    """A flatbuffer table of a schema that is not at hand, by field numbers."""

    def __init__(self, raw: bytes, at: int):
        self.raw, self.at = raw, at
        self.fields = at - struct.unpack_from("<i", raw, at)[0]
        if self.fields < 0:
            raise IndexError("vtable before the file")
        self.length = struct.unpack_from("<H", raw, self.fields)[0]

    def place(self, field: int) -> int:
        """Where a field's value lies; 0 where it is absent."""
        slot = 4 + 2 * field
        if slot + 2 > self.length:
            return 0
        offset = int(struct.unpack_from("<H", self.raw, self.fields + slot)[0])
        return self.at + offset if offset else 0

    def follow(self, field: int) -> int:
        """Where the table, vector or text of a field begins; 0 where it is absent."""
        at = self.place(field)
        return at + int(struct.unpack_from("<I", self.raw, at)[0]) if at else 0

    def string(self, field: int) -> str:
        """Text of a field."""
        at = self.follow(field)
        if not at:
            return ""
        length = struct.unpack_from("<I", self.raw, at)[0]
        return self.raw[at + 4 : at + 4 + min(length, LONGEST)].decode("utf-8", "replace")


def _root(raw: bytes) -> _Table:
    return _Table(raw, struct.unpack_from("<I", raw, 0)[0])


def _tflite_metadata(raw: bytes) -> Iterator[str]:
    table = _root(raw)
    for field, name in _MODEL_FIELDS.items():
        if said := table.string(field):
            yield f"{name}: {said}"


def _conversion(raw: bytes) -> Iterator[str]:
    """ConversionMetadata: environment {version, api, kind of model}, options {modes}."""
    table = _root(raw)
    if (at := table.follow(0)) and (said := _Table(raw, at).string(0)):
        yield f"TensorFlow {said}"
    if at := table.follow(1):
        modes = _Table(raw, at).follow(0)
        count = struct.unpack_from("<I", raw, modes)[0] if modes else 0
        for k in range(min(count, 8)):
            mode = struct.unpack_from("<i", raw, modes + 4 + 4 * k)[0]
            yield _MODES.get(mode, f"optimization {mode}")


READERS: dict[str, Callable[[bytes], str]] = {
    "TFLITE_METADATA": _guarded(_tflite_metadata),
    "CONVERSION_METADATA": _guarded(_conversion),
}
