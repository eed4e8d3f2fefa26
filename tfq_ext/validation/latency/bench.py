"""`bench`: files side by side, each in a child process of its own, taking turns.

    start children -> load, first run, memory -> rounds of turns -> medians and paired ratios
    -> profile -> reasons

Children isolate crashes and give every file its own memory figure. Taking turns is as fair as
in one process: MobileNetV2 int8 by float 0.489 against 0.478-0.504, a 1.2 us autoencoder 0.78
against 0.77-0.82 (two cores, LiteRT 2.3). With threads the parked pool has to be woken first,
which is why a turn begins with untimed runs (`Seat.turn`).
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.read import Model
from tfq_ext.validation.latency.explain import explain
from tfq_ext.validation.latency.machine import busy_share, machine, ticks
from tfq_ext.validation.latency.notes import notes_of
from tfq_ext.validation.latency.rows import BenchReport, BenchRow
from tfq_ext.validation.latency.timing import Latency, summarize
from tfq_ext.validation.profile import Profile, profile_model
from tfq_ext.validation.sandbox import Child, Limits, Remote
from tfq_ext.validation.seat.disk import Source, on_disk
from tfq_ext.validation.seat.kernels import KERNELS

SEAT = "tfq_ext.validation.seat.seat:Seat"
FEWEST = 5  # rounds, however short the time
SETTLE = 0.003  # s between turns with several threads: idle pools spin so long before they sleep
Key = tuple[str, int]  # file, threads


@dataclass(frozen=True)
class Plan:
    """How to measure; see `bench`."""

    inputs: Mapping[str, np.ndarray] | None
    threads: tuple[int, ...]
    kernels: tuple[str, ...]
    runs: int
    warmup: int
    seconds: float | None
    signature: str | None
    seed: int
    limits: Limits

    def __post_init__(self) -> None:
        if self.runs < 1 or self.warmup < 0:
            raise DataError(
                f"Timing needs runs >= 1 and warmup >= 0, got {self.runs} and {self.warmup}."
            )
        if not self.threads or min(self.threads) < 1 or not self.kernels:
            raise DataError("Timing needs at least one number of threads >= 1 and one kernel set.")
        if self.seconds is not None and not self.seconds > 0:
            raise DataError(f"seconds is a time over 0, got {self.seconds}.")
        for name in self.kernels:
            KERNELS[name]  # an unknown one raises with the known ones


def bench(
    models: Mapping[str, Source],
    *,
    inputs: Mapping[str, np.ndarray] | None = None,
    baseline: str | None = None,
    threads: Sequence[int] = (1,),
    kernels: Sequence[str] = ("xnnpack",),
    runs: int = 50,
    warmup: int = 5,
    seconds: float | None = None,
    profile: bool = True,
    signature: str | None = None,
    seed: int = 0,
    limits: Limits | None = None,
    on_round: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Time .tflite files against each other, and say where the time goes.

    Args:
        models: name -> path or bytes.
        inputs: one sample of reals (with the batch axis) by input name for all of them; None:
            uniform noise in -1..1, zeros for ids, 1 for every dynamic dimension.
        baseline: the file that ratios refer to; None: the first.
        threads, kernels: every combination is measured; the first of each is profiled.
        runs: timed rounds; in a round every file has one turn.
        warmup: rounds before those, thrown away.
        seconds: stop the rounds of one kernel set after so long (at least 5 rounds are made).
        profile: measure each op too, in a process of its own, after the timing.
        signature: what to run; None: the first subgraph.
        seed: of the noise and of the bootstrap.
        limits: of each child process.
        on_round: called with (done, all) after each round.

    Raises:
        DataError: no models, a count that is not positive, inputs that do not fit.
        ModelError: no file could be measured.
        UnknownName: a kernel set or baseline that there is not.
    """
    if not models:
        raise DataError("Timing needs at least one model, got none.")
    first = next(iter(models)) if baseline is None else baseline
    if first not in models:
        raise DataError(f"The baseline {first!r} is none of the models: {', '.join(models)}.")
    threads, kernels = tuple(dict.fromkeys(threads)), tuple(dict.fromkeys(kernels))
    limits = limits or Limits()
    plan = Plan(inputs, threads, kernels, runs, warmup, seconds, signature, seed, limits)
    here, before, own = machine(), ticks(), _own_seconds()
    with on_disk(models) as paths:
        tables = [_Table(plan, name, paths, first) for name in kernels]
        for table in tables:
            table.measure(on_round)
        here = replace(here, busy=busy_share(before, ticks(), _own_seconds() - own))
        rows = tuple(row for table in tables for row in table.rows())
        if all(row.failed for row in rows):
            raise ModelError("; ".join(dict.fromkeys(f"{r.name}: {r.failed}" for r in rows)))
        profiles = {name: _profile(paths[name], plan) for name in models} if profile else {}
        graphs = {name: Model.load(path) for name, path in paths.items()}
    report = BenchReport(rows, first, here, profiles)
    assumed = tuple(dict.fromkeys(name for table in tables for name in table.assumed))
    return replace(
        report,
        reasons=explain(report, graphs, signature),
        notes=notes_of(report, assumed, graphs, signature),
    )


def _own_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(use.ru_utime + use.ru_stime for use in map(resource.getrusage, who))


def _profile(path: Path, plan: Plan) -> Profile:
    return profile_model(
        path,
        inputs=plan.inputs,
        kernels=plan.kernels[0],
        threads=plan.threads[0],
        signature=plan.signature,
        seed=plan.seed,
        limits=plan.limits,
    )


@dataclass
class _Table:
    """Everybody at one table: all files and numbers of threads with one kernel set."""

    plan: Plan
    kernels: str
    paths: Mapping[str, Path]
    baseline: str
    seats: dict[Key, Remote] = field(default_factory=dict)
    facts: dict[Key, dict[str, Any]] = field(default_factory=dict)
    times: dict[Key, list[float]] = field(default_factory=dict)
    failed: dict[Key, str] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)

    def measure(self, on_round: Callable[[int, int], None] | None) -> None:
        """Seat all, then rounds until enough."""
        with ExitStack() as stack:
            for name in self.paths:
                for threads in self.plan.threads:
                    self._seat(stack, (name, threads))
            start = time.monotonic()
            for k in range(-self.plan.warmup, self.plan.runs):
                if k == 0:
                    start = time.monotonic()
                self._round(k >= 0)
                if on_round is not None:
                    on_round(max(k + 1, 0), self.plan.runs)
                late = self.plan.seconds is not None and (
                    time.monotonic() - start > self.plan.seconds
                )
                if k + 1 >= FEWEST and late:
                    break

    def _seat(self, stack: ExitStack, key: Key) -> None:
        name, threads = key
        child = stack.enter_context(Child(self.plan.limits))
        try:
            seat = child.make(
                SEAT,
                str(self.paths[name]),
                kernels=self.kernels,
                threads=threads,
                signature=self.plan.signature,
                inputs=None if self.plan.inputs is None else dict(self.plan.inputs),
                seed=self.plan.seed,
            )
            self.facts[key] = seat.call("facts")
            self.assumed += [name] if self.facts[key]["assumed"] else []
            self.seats[key], self.times[key] = seat, []
        except ModelError as error:
            self.failed[key] = str(error)

    def _round(self, counts: bool) -> None:
        """One turn each; who dies is out, and its times with it."""
        taken: dict[Key, float] = {}
        for key, seat in list(self.seats.items()):
            if max(self.plan.threads) > 1:
                time.sleep(SETTLE)
            try:
                taken[key] = float(seat.call("turn"))
            except ModelError as error:
                self.failed[key] = str(error)
                del self.seats[key]
        if counts:
            for key, ms in taken.items():
                self.times[key].append(ms)

    def rows(self) -> Iterator[BenchRow]:
        """One for each file and number of threads."""
        for threads in self.plan.threads:
            times = {
                name: np.array(self.times[name, threads])
                for name in sorted(self.paths, key=lambda name: name != self.baseline)
                if (name, threads) not in self.failed
            }
            found = summarize(times, threads=threads, seed=self.plan.seed) if times else {}
            for name in self.paths:
                yield self._row((name, threads), found.get(name), self.baseline in times)

    def _row(self, key: Key, found: Latency | None, paired: bool) -> BenchRow:
        name, threads = key
        size = self.paths[name].stat().st_size
        if found is None:
            nan = float("nan")
            return BenchRow(
                *(name, self.kernels, threads, nan, nan, (nan, nan), nan, (nan, nan), nan),
                *(nan, nan, 0, 0, 0, nan, size, self.failed[key]),
            )
        facts = self.facts[key]
        nan2 = (float("nan"), float("nan"))
        return BenchRow(
            name=name,
            kernels=self.kernels,
            threads=threads,
            median_ms=found.median_ms,
            p90_ms=found.p90_ms,
            interval_ms=found.interval_ms,
            ratio=found.ratio if paired else float("nan"),
            ratio_interval=found.ratio_interval if paired else nan2,
            thread_ratio=self._scaling(key),
            load_ms=float(facts["load_ms"]),
            first_ms=float(facts["first_ms"]),
            peak_bytes=int(facts["peak_bytes"]),
            model_bytes=int(facts["model_bytes"]),
            runs=found.runs,
            variation=found.variation,
            size_bytes=size,
        )

    def _scaling(self, key: Key) -> float:
        """Paired ratio to the same file with the first number of threads."""
        alone = (key[0], self.plan.threads[0])
        if alone in self.failed:
            return float("nan")
        return float(np.median(np.array(self.times[key]) / np.array(self.times[alone])))
