"""Where the work stands, for whoever watches from outside: marks before dangerous steps."""

from __future__ import annotations

from collections.abc import Callable

_watchers: list[Callable[[str], None]] = []


def stage(name: str) -> None:
    """Say that the step `name` ("load", "allocate", "invoke") begins.

    Nobody listens outside of a sandbox's child, and the call costs 50 ns; inside, the mark lies
    in memory that outlives a crash (validation/sandbox).
    """
    for watcher in _watchers:
        watcher(name)


def watch(watcher: Callable[[str], None]) -> None:
    """Have `watcher` called with every stage from now on."""
    _watchers.append(watcher)


def watched() -> bool:
    """Whether somebody listens: true in a sandbox's child."""
    return bool(_watchers)
