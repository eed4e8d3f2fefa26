"""A progress bar on stderr around any pass over samples."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from tfq_ext._terminal import watched

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")


def progress(
    samples: Iterable[T], *, label: str, total: int | None = None, enabled: bool | None = None
) -> Iterator[T]:
    """The same samples, with a bar, the rate and the remaining time shown meanwhile.

    Args:
        samples: anything iterable; `.count` gives the total if it has one.
        label: what is being done, in front of the bar.
        total: number of samples, if the caller knows better.
        enabled: None shows the bar on a terminal only; True forces it, False silences it.
    """
    if not (watched(sys.stderr) if enabled is None else enabled):
        yield from samples
        return
    bar = _bar()
    count = getattr(samples, "count", None)
    known = total if total is not None else count if isinstance(count, int) else None
    with bar:
        task = bar.add_task(label, total=known, rate="")
        for sample in samples:
            yield sample
            bar.advance(task)
            bar.update(task, rate=_rate(bar.tasks[0].speed))


def _bar() -> Progress:
    from rich import progress as show
    from rich.console import Console

    return show.Progress(
        show.TextColumn("{task.description}"),
        show.BarColumn(),
        show.MofNCompleteColumn(),
        show.TextColumn("{task.fields[rate]}"),
        show.TimeElapsedColumn(),
        show.TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _rate(speed: float | None) -> str:
    return "" if speed is None else f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each"
