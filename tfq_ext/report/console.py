"""Terminals: names that come from models are text, never markup."""

from __future__ import annotations

from rich.console import Console


def stdout() -> Console:
    """For what was asked for."""
    return Console(markup=False, emoji=False, highlight=False)


def stderr() -> Console:
    """For progress and remarks."""
    return Console(stderr=True, markup=False, emoji=False, highlight=False)
