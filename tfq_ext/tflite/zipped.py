"""What a file costs on its way to a phone: its size in a zip."""

from __future__ import annotations

import io
import zipfile

_NAME = "model.tflite"


def zipped_size(content: bytes) -> int:
    """Bytes of a zip that holds the file, deflated as hard as zip can; ~110 of them are the zip's.

    Args:
        content: of a .tflite. One with a zip of labels behind it counts with that.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(_NAME, content)
    return len(buffer.getvalue())
