"""Where samples come from: by key in any order, or only as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

from tfq_ext.errors import DataError
from tfq_ext.samples.select import Stage
from tfq_ext.samples.spec import Sample

ONE_SHOT = (
    "{what} can be read only once, and this is the second pass. Pass the function that makes it "
    "(data=make_samples, not data=make_samples()), or call .reusable() first, which keeps the "
    "samples on disk."
)


class Source(Protocol):
    """Samples as they come, not yet cast nor checked."""

    @property
    def what(self) -> str:
        """A noun phrase for messages."""

    @property
    def one_shot(self) -> bool:
        """Whether a second pass is impossible."""

    @property
    def preprocessed(self) -> bool:
        """Whether the user's preprocessing has been applied already."""

    @property
    def labelled(self) -> bool:
        """Whether labels were found, or are looked for on reading."""

    def pick(self, stages: Sequence[Stage]) -> Iterator[Sample]:
        """One pass over the samples that the stages let through."""

    def keys(self) -> Sequence[int] | None:
        """Every key if known without a pass."""


@dataclass(frozen=True)
class Indexed:
    """Random access: what is not chosen is not read."""

    what: str
    index: Sequence[int]
    read: Callable[[int], Sample]
    label: Callable[[int], object] | None = None  # without reading the sample
    classes: tuple[str, ...] = ()
    preprocessed: bool = False
    one_shot: bool = False
    close: Callable[[], None] = lambda: None
    names: tuple[str, ...] = ()  # of image files, one a row, relative to their folder
    threads: int = 1  # that read ahead; decoders work outside of Python's lock

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        return self.label is not None

    def pick(self, stages: Sequence[Stage]) -> Iterator[Sample]:
        """Read the chosen keys, in the source's order."""
        keys = through(stages, iter(self.index))
        return map(self.read, keys) if self.threads < 2 else _ahead(self.read, keys, self.threads)

    def keys(self) -> Sequence[int] | None:
        """All of them."""
        return self.index


@dataclass
class _Passes:
    started: int = 0
    seen: int = 0  # samples in the longest pass so far
    length: int | None = None  # samples in a whole pass


@dataclass(frozen=True)
class Stream:
    """Samples in the order they come; `start` begins a fresh pass, if it can."""

    what: str
    start: Callable[[], Iterator[Sample]]
    one_shot: bool = False
    preprocessed: bool = False
    labelled: bool = False
    _passes: _Passes = field(default_factory=_Passes)

    def pick(self, stages: Sequence[Stage]) -> Iterator[Sample]:
        """A pass that stops as soon as the stages are satisfied."""
        current: list[Sample] = []

        def keys() -> Iterator[int]:
            for sample in self._pass():
                current[:] = [sample]
                yield sample.key

        # Stages never look ahead, so the sample of the key that comes out is the current one.
        for _ in through(stages, keys()):
            yield current[0]

    def keys(self) -> Sequence[int] | None:
        """Unknown until a pass is over."""
        return None if self._passes.length is None else range(self._passes.length)

    def _pass(self) -> Iterator[Sample]:
        if self.one_shot and self._passes.started:
            raise DataError(ONE_SHOT.format(what=self.what))
        self._passes.started += 1
        n = 0
        for n, sample in enumerate(self.start(), 1):
            self._passes.seen = max(self._passes.seen, n)
            yield sample
        if n == 0 and self._passes.seen:  # a function that wraps one exhausted generator
            raise DataError(ONE_SHOT.format(what=self.what))
        self._passes.length = n


def _ahead(read: Callable[[int], Sample], keys: Iterator[int], threads: int) -> Iterator[Sample]:
    """The same samples in the same order, some read before they are asked for."""
    pool, waiting = ThreadPoolExecutor(threads, thread_name_prefix="reading"), deque[Future]()
    try:
        for key in keys:
            waiting.append(pool.submit(read, key))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def through(stages: Sequence[Stage], keys: Iterator[int]) -> Iterator[int]:
    """The keys that every stage lets through, stage by stage."""
    return reduce(lambda left, stage: stage(left), stages, keys)
