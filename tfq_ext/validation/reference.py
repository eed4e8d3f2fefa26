"""The float model that a file is held against, as the bytes of a .tflite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfq_ext.tflite.read import Model, describe, is_tflite, read_bytes

CustomObjects = Mapping[str, Any] | Sequence[str] | None


def float_bytes(
    reference: Any, custom_objects: CustomObjects = None
) -> tuple[bytes, tuple[str, ...]]:
    """A .tflite as it is, by path or bytes; all else through the float pivot, with its notes.

    TensorFlow is imported for the latter only.

    Raises:
        ModelError: it cannot be read or converted.
    """
    if isinstance(reference, bytes | bytearray) or is_tflite(reference):
        content = read_bytes(reference)
        Model.parse(content, source=f"the reference ({describe(reference)})")  # or say so now
        return content, ()
    from tfq_ext.emit.to_float import to_float

    pivot = to_float(reference, custom_objects=custom_objects or None)
    return pivot.model.to_bytes(), tuple(pivot.notes)
