"""Writing files so that there is never half of one, and what was there survives a failure."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from tfq_ext.errors import OutputError


def write_atomic(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` beside `path`, flush it to disk, then rename it into place.

    Raises:
        OutputError: no such folder, read-only, disk full; an existing file is untouched.
    """
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise OutputError(
            f"Cannot write {target}: {error.strerror or error}. Nothing was changed there."
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """The same for text in UTF-8; bytes of a file's name that are no text are escaped."""
    return write_atomic(path, text.encode("utf-8", "backslashreplace"))
