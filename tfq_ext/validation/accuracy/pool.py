"""Worker processes behind threads: tasks in, results in the same order, few under way."""

from __future__ import annotations

import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

AHEAD = 3  # tasks under way for each worker: one at work, one on its way, one to spare


class Closes(Protocol):
    """What a pool owns."""

    def close(self) -> None:
        """End it."""


W = TypeVar("W", bound=Closes)
T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


class Pool(Generic[W]):
    """Up to `count` workers, each opened when there is work for it.

    Args:
        open_worker: makes one; called in a thread.
        count: the most of them.
    """

    def __init__(self, open_worker: Callable[[], W], count: int):
        self.count = count
        self._open_worker = open_worker
        self._idle: queue.SimpleQueue[W] = queue.SimpleQueue()
        self._all: list[W] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    def opened(self) -> int:
        """Workers that were needed so far."""
        return len(self._all)

    def take(self) -> W:
        """An idle worker, or a new one."""
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            worker = self._open_worker()
            with self._lock:
                self._all.append(worker)
                late = self._closed
            if late:  # closed while it opened
                worker.close()
            return worker

    def give(self, worker: W) -> None:
        """Hand a worker back."""
        self._idle.put(worker)

    def in_order(self, work: Callable[[W, T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
        """The results, in the order of the tasks; the first error, in that order, ends it.

        Tasks are read in the caller's thread, at most `AHEAD` a worker beyond the result that is
        waited for, so that memory does not grow with their number.
        """

        def one(task: T) -> R:
            worker = self.take()
            try:
                return work(worker, task)
            finally:
                self.give(worker)

        threads = ThreadPoolExecutor(self.count, thread_name_prefix="accuracy")
        waiting: deque[Future[R]] = deque()
        try:
            for task in tasks:
                waiting.append(threads.submit(one, task))
                if len(waiting) >= AHEAD * self.count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            if waiting:  # an error, Ctrl-C, or nobody wants the rest: end what is under way
                self.close()
            threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """End every worker; calls under way fail."""
        with self._lock:
            self._closed = True
            mine = list(self._all)
        for worker in mine:
            worker.close()
