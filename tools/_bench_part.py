"""What a part of tools/bench_validate.py gives back, and commands that take turns."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Part:
    """One part of the benchmark.

    Args:
        name, title: key in PARTS, and a sentence.
        head, rows: the table that is printed.
        figures: the same for machines, and more.
        verdicts: what was demanded, and whether it was met; one line each.
    """

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: Mapping[str, Any]
    verdicts: Sequence[str] = field(default=())


def seconds(command: Sequence[str]) -> float:
    """Wall time of a command, process start included.

    Raises:
        RuntimeError: it failed; with the last line that it wrote.
    """
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    passed = time.perf_counter() - begun
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(command[:4])} ...: exit code {done.returncode}: {last}")
    return passed


def race(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, list[float]]:
    """Wall times by name; every round runs each once, the first round is thrown away."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, command in commands.items():
            passed = seconds(command)
            if turn:  # the first one reads everything from the disk
                times[name].append(passed)
    return times


def ratio(times: Mapping[str, Sequence[float]], name: str, to: str) -> float:
    """Median over the rounds of one's time over the other's."""
    return median(a / b for a, b in zip(times[name], times[to], strict=True))
