"""Models as files, for LiteRT maps files as apps do."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tfq_ext.tflite.read import Model, describe, read_bytes

Source = bytes | str | os.PathLike[str]


@contextmanager
def on_disk(models: Mapping[str, Source]) -> Iterator[dict[str, Path]]:
    """A path for each model; bytes lie in a temporary folder meanwhile.

    Raises:
        ModelError: one is no .tflite.
    """
    with tempfile.TemporaryDirectory(prefix="tfq-bench-") as folder:
        paths = {}
        for k, (name, source) in enumerate(models.items()):
            content = read_bytes(source)
            Model.parse(content, source=describe(source))  # what is no .tflite ends here
            paths[name] = Path(folder) / f"{k}.tflite"
            if isinstance(source, str | os.PathLike) and _is_text(str(source)):
                paths[name] = Path(source).absolute()
            else:
                paths[name].write_bytes(content)
        yield paths


def _is_text(path: str) -> bool:
    """LiteRT opens no path with bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
