"""Shared by the benchmarks: processes that take turns, clean peaks of memory, tables."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import TfqError

Inputs = Mapping[str, np.ndarray]  # one sample, with the batch axis


class Child:
    """A process of its own that prepares once and then works whenever it is told to.

    Args:
        prepare: picklable; called in the child with `args`, returns what a turn does.
        limit: seconds for an answer, after which the process is ended; None: it has all the time.

    What it prints is dropped: rivals draw progress bars and C++ talks. A model that kills its
    process leaves the others alone.
    """

    def __init__(
        self,
        prepare: Callable[..., Callable[[], Any]],
        *args: object,
        limit: float | None = None,
    ):
        context = get_context("spawn")  # a fork would inherit TensorFlow's threads half
        self._pipe, theirs = context.Pipe()
        self._limit = limit
        self._process = context.Process(target=_serve, args=(theirs, prepare, args), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def turn(self) -> Any:
        """Let it work once; the result.

        Raises:
            RuntimeError: it failed (its traceback's last line), died or took too long.
        """
        self._pipe.send(True)
        return self._answer()

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self._pipe.send(False)
        self._process.join()

    def _answer(self) -> Any:
        if not self._pipe.poll(self._limit):
            self._process.kill()
            self._process.join()
            raise RuntimeError(f"it was not ready after {self._limit:g} s and was ended")
        try:
            error, value = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the process died, code {self._process.exitcode}") from None
        if error:
            raise RuntimeError(error)
        return value


def _serve(pipe: Connection, prepare: Callable[..., Callable[[], Any]], args: Sequence) -> None:
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    try:
        turn = prepare(*args)
        pipe.send((None, None))
        while pipe.recv():
            pipe.send((None, turn()))
    except Exception as error:
        pipe.send((traceback.format_exception_only(error)[-1].strip(), None))


def in_child(work: Callable[..., Any], *args: object, limit: float | None = None) -> Any:
    """`work(*args)` in a process of its own; RuntimeError if it fails, dies or takes too long."""
    child = Child(_once, work, args, limit=limit)
    try:
        return child.turn()
    finally:
        child.close()


def _once(work: Callable[..., Any], args: Sequence) -> Callable[[], Any]:
    return lambda: work(*args)


@dataclass(frozen=True)
class Measured:
    """What came out of a process, and what it took.

    Args:
        value: the result.
        seconds: wall time of the work alone, not of starting the process and importing.
        peak_mb: the most memory that the process ever held, what it imported included.
    """

    value: Any
    seconds: float
    peak_mb: float


def measured(work: Callable[..., Any], *args: object, limit: float | None = None) -> Measured:
    """`in_child` with time and memory."""
    found: Measured = in_child(_measured, work, args, limit=limit)
    return found


def _measured(work: Callable[..., Any], args: Sequence) -> Measured:
    start = time.perf_counter()
    value = work(*args)
    return Measured(value, time.perf_counter() - start, memory_mb()[1])


def memory_mb() -> tuple[float, float]:
    """(resident now, peak) of this process, MB.

    From /proc where there is one: `ru_maxrss` of a child starts at its parent's peak.
    """
    with suppress(OSError):
        rows = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
        now, peak = (float(rows[key].split()[0]) / 1e3 for key in ("VmRSS", "VmHWM"))
        return now, peak
    unit = 1e6 if sys.platform == "darwin" else 1e3
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return peak, peak


@dataclass
class Stamped:
    """Samples that note when each was asked for: the same clock for everybody's calibration."""

    samples: Sequence[Inputs]
    stamps: list[float] = field(default_factory=list)

    def __iter__(self) -> Iterator[Inputs]:
        self.stamps = []  # litert-quantizer lists the samples once before it uses them
        for sample in self.samples:
            self.stamps.append(time.perf_counter())
            yield sample

    def ms_each(self) -> float:
        """Milliseconds between two requests, past the first few (buffers fill, memory is new)."""
        skip = min(8, len(self.stamps) // 4)
        return 1e3 * (self.stamps[-1] - self.stamps[skip]) / (len(self.stamps) - 1 - skip)


def litert_quantizer(content: bytes, recipe: Any = None) -> Any:
    """litert-quantizer on a float flatbuffer: int8 activations, weights by channel.

    Args:
        content: of the float .tflite.
        recipe: another one of its recipes; None: static_wi8_ai8.
    """
    rival = need("litert_quantizer", why="the comparison with litert-quantizer")
    quantizer = rival.quantizer.Quantizer(bytearray(content))
    quantizer.load_quantization_recipe(rival.recipe.static_wi8_ai8() if recipe is None else recipe)
    return quantizer


def busy() -> str:
    """Load of the machine in words; timings with company are worth little."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"{cores} cores, load {load:.1f}" + (" (not idle)" if load > 0.3 * cores else "")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if k else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (header, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(lines)


def write_json(path: Path | None, content: object) -> None:
    """Write what was measured, if a path was given."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n")
        print(f"Written to {path}.", file=sys.stderr)


def run(main: Callable[[], int], *foreseen: type[Exception]) -> NoReturn:
    """End the process with `main`'s code, or with one sentence where it raises what was foreseen.

    Args:
        main: the tool.
        foreseen: errors that are answers, beside our own.
    """
    told: tuple[type[Exception], ...] = (TfqError, *foreseen)
    try:
        sys.exit(main())
    except told as error:
        sys.exit(f"{type(error).__name__}: {error}")
