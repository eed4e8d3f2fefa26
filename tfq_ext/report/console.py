"""Terminals: names that come from models are text, never markup."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from tfq_ext._terminal import in_notebook

_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}


def stdout() -> Console:
    """For what was asked for."""
    return Console(force_terminal=_forced(), **_PLAIN)


def stderr() -> Console:
    """For progress and remarks."""
    return Console(stderr=True, force_terminal=_forced(), **_PLAIN)


def _forced() -> bool | None:
    """False in a notebook, where no terminal is meant; None: see for yourself."""
    return False if in_notebook() else None


def text_of(show: Callable[[Console], object], width: int = 100) -> str:
    """What `show` prints, as plain text of so many columns, without blanks at line ends.

    Inside Jupyter, too, where rich would display the text at once instead of giving it back.
    """
    file = io.StringIO()
    show(Console(file=file, width=width, color_system=None, force_jupyter=False, **_PLAIN))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"
