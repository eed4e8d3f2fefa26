"""Runs in processes side by side, each after the one it starts from; lines of JSON as they end."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _qat_plan import Run, Settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Log:
    """What is known: one JSON value a line, of a `kind`; the last line of an id counts.

    Args:
        path: the file; it need not exist.
    """

    path: Path

    def write(self, kind: str, row: Row) -> None:
        """Append one line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, "at": time.strftime("%F %T"), **row}) + "\n")

    def rows(self, kind: str) -> dict[str, Row]:
        """id -> row."""
        return {row["id"]: row for row in self._all() if row["kind"] == kind}

    def _all(self) -> Iterator[Row]:
        if self.path.exists():
            with self.path.open(encoding="utf-8") as file:
                yield from (json.loads(line) for line in file if line.strip())


@dataclass(frozen=True)
class Job:
    """What training needs besides the run.

    Args:
        data: the .npz.
        out: folder of everything that is written.
        settings: how long and how much.
        deadline: seconds since 1970 after which nothing begins and what runs is dropped.
        docs: folder that gets qat_results.md and .png, too; None: no docs.
    """

    data: Path
    out: Path
    settings: Settings
    deadline: float | None = None
    docs: Path | None = None

    def log(self) -> Log:
        """The lines of this folder."""
        return Log(self.out / "log.jsonl")

    def late(self) -> bool:
        """Whether the time is over."""
        return self.deadline is not None and time.time() > self.deadline


def train_all(runs: Sequence[Run], job: Job, processes: int) -> list[str]:
    """Train what the log does not have yet; a sentence for every run that failed.

    Args:
        runs: in order of importance.
        job: data, folder, settings.
        processes: side by side; 1: in this process.
    """
    done = set(job.log().rows("run"))
    waiting = [run for run in runs if run.id not in done]
    print(f"{len(waiting)} of {len(runs)} runs to go.", file=sys.stderr, flush=True)
    if processes == 1:
        return _one_by_one(waiting, job)
    share_programs(job.out)
    return _side_by_side(_Waiting(waiting, done), job, processes)


def share_programs(out: Path) -> None:
    """Let JAX keep compiled programs in the folder, and processes share a GPU's memory."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(out / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _one_by_one(runs: Sequence[Run], job: Job) -> list[str]:
    failed = []
    for run in runs:
        if job.late():
            break
        failed += _ended(run, lambda run=run: _work(run, job), job)  # type: ignore[misc]
    return failed


@dataclass
class _Waiting:
    """Runs not yet begun, and the ids of those that are done."""

    runs: list[Run]
    done: set[str] = field(default_factory=set)

    def next(self) -> Run | None:
        """The first whose start is done; it is taken out."""
        ready = (run for run in self.runs if run.start is None or run.start.id in self.done)
        found = next(ready, None)
        if found is not None:
            self.runs.remove(found)
        return found


def _side_by_side(waiting: _Waiting, job: Job, processes: int) -> list[str]:
    failed: list[str] = []
    running: dict[Future[Row], Run] = {}
    context = get_context("spawn")  # a fork would inherit the backend's threads half
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        while True:
            while len(running) < processes and not job.late():
                run = waiting.next()
                if run is None:
                    break
                running[pool.submit(_work, run, job)] = run
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                run = running.pop(future)
                sentences = _ended(run, future.result, job)
                failed += sentences
                waiting.done |= set() if sentences else {run.id}
    return failed + [f"{run.id}: not begun" for run in waiting.runs]


def _work(run: Run, job: Job) -> Row:
    """In the process that trains: imports Keras, so not before."""
    from _qat_train import train

    return train(run, job.data, job.out, job.settings, job.deadline)


def _ended(run: Run, result: Callable[[], Row], job: Job) -> list[str]:
    try:
        row = result()
    except Exception as error:  # one run's failure leaves the others alone
        sentence = f"{run.id}: {type(error).__name__}: {str(error).strip()[:300]}"
        print(sentence, file=sys.stderr, flush=True)
        return [sentence]
    job.log().write("run", row)
    print(
        f"{run.id}: {row['accuracy']:.2%}, {row['seconds']:.0f} s, {row['step_ms']:.1f} ms a step",
        file=sys.stderr,
        flush=True,
    )
    return []
