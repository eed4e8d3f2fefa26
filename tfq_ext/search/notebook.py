"""What was measured, one JSON line each, in a file that is only appended to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfq_ext._files import write_text
from tfq_ext.errors import OutputError, StatsError

FORMAT = "tfq search 1"


class Notebook:
    """Measurements by name; those that are there are not made again.

    Args:
        path: of the file; None: nothing is kept on disk.
        run: digest of everything that the measurements depend on (`run_key`). Lines of other
            runs stay in the file and are not read.

    Each line is written in one piece and flushed to disk; half a line that a crash left is
    dropped.

    Raises:
        StatsError: the file is no notebook.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path | None, run: str) -> None:
        self._path, self._run = path, run
        self._known: dict[str, Any] = {}
        self.reused = 0
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StatsError(f"Cannot read the measurements in {path}: {error}.") from None
        whole = text[: text.rfind("\n") + 1]
        try:
            rows = [json.loads(line) for line in whole.splitlines()]
            for row in rows:
                if row["format"] != FORMAT:
                    raise ValueError(row["format"])
                if row["run"] == self._run:
                    self._known[row["what"]] = row["value"]
        except (ValueError, KeyError, TypeError):
            raise StatsError(
                f"{path} holds no measurements of this version of tfq. Give another --checkpoint, "
                "or remove the file."
            ) from None
        if whole != text:
            write_text(path, whole)

    def get(self, what: str, measure: Callable[[], Any]) -> Any:
        """The value noted under `what`, else measured now and noted; JSON values only."""
        if what in self._known:
            self.reused += 1
            return self._known[what]
        # Through JSON at once, so that a run that goes on sees what the first one saw.
        row = {"format": FORMAT, "run": self._run, "what": what, "value": measure()}
        line = json.dumps(row, ensure_ascii=True)
        value = self._known[what] = json.loads(line)["value"]
        if self._path is not None:
            _append(self._path, line + "\n")
        return value


def run_key(*parts: object) -> str:
    """16 hexadecimal digits that stand for a model, recipe and samples."""
    text = json.dumps([str(part) for part in parts])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _append(path: Path, line: str) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(handle, line.encode())
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise OutputError(f"Cannot write {path}: {error.strerror or error}.") from None
