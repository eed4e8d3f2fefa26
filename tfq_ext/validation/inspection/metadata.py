"""Named entries of a file, what they say, and the files that are packed behind the model."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np

from tfq_ext.tflite.read import Model, text
from tfq_ext.validation.inspection.known_metadata import READERS
from tfq_ext.validation.inspection.rows import AssociatedFile, MetadataRow

LONGEST = 400  # characters of one entry
MOST_FILES = 1000
_ZIP_END = b"PK\x05\x06"
_ZIP_TAIL = 22 + 65535  # its last record and the longest comment


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
