"""What machine the times are from, and how busy it was with other things."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
# Instructions that multiply 8-bit integers four at a time; without them int8 gains little.
DOT_PRODUCT = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "asimddp", "i8mm"})
BUSY = 0.25  # of the cores, by others


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Args:
        cpu: model name as the system gives it, "" if unknown.
        cores: that this process may use.
        load: load average of one minute before the work began; None where there is none.
        busy: share of the cores' time that others used while we measured; None if unknown.
        dot_product: whether the CPU has 8-bit dot products; None if unknown.
    """

    cpu: str
    cores: int
    load: float | None
    busy: float | None = None
    dot_product: bool | None = None


def machine(proc: Path = PROC) -> Machine:
    """This machine, now."""
    info = _cpuinfo(proc)
    features = (info.get("flags") or info.get("Features") or "").split()
    return Machine(
        cpu=info.get("model name") or info.get("Hardware") or platform.processor(),
        cores=_cores(),
        load=_load(proc),
        dot_product=bool(DOT_PRODUCT & set(features)) if features else None,
    )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpuinfo(proc: Path) -> Mapping[str, str]:
    """The first processor's entries."""
    try:
        text = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _load(proc: Path) -> float | None:
    try:
        return float((proc / "loadavg").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


@dataclass(frozen=True)
class Ticks:
    """Processor time so far, in the kernel's ticks.

    Args:
        work: of all processes on all cores.
        total: that and idle time.
    """

    work: int
    total: int


def ticks(proc: Path = PROC) -> Ticks | None:
    """From /proc/stat; None where there is none."""
    try:
        fields = (proc / "stat").read_text().splitlines()[0].split()
        numbers = [int(n) for n in fields[1:9]]
    except (OSError, ValueError, IndexError):
        return None
    idle = numbers[3] + numbers[4]
    return Ticks(sum(numbers) - idle, sum(numbers))


def busy_share(before: Ticks | None, after: Ticks | None, own_seconds: float) -> float | None:
    """Share of all cores' time that others took between two readings.

    Args:
        own_seconds: processor time of this process and its children meanwhile.
    """
    if before is None or after is None or after.total <= before.total:
        return None
    hertz = os.sysconf("SC_CLK_TCK")
    others = (after.work - before.work) - own_seconds * hertz
    return min(max(others / (after.total - before.total), 0.0), 1.0)
