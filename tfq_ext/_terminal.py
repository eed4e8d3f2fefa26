"""Whether somebody watches a stream: the one place that asks."""

from __future__ import annotations

import os
from typing import TextIO

# Jupyter sets it for kernels. Their `!command` runs on a terminal of its own, whose every frame
# of a bar, and every colour, ends up in the notebook's file.
_KERNEL = "JPY_PARENT_PID"


def in_notebook() -> bool:
    """Whether this process is a kernel, or a command that a notebook started."""
    return _KERNEL in os.environ


def watched(stream: TextIO) -> bool:
    """Whether what moves on a stream is seen and gone, as on a terminal."""
    return stream.isatty() and not in_notebook()
