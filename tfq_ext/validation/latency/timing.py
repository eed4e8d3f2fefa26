"""Timing in one process: interleaved runs, medians, paired ratios with bootstrap intervals."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.seat.noise import noise

Interval = tuple[float, float]
Clock = Callable[[], int]  # nanoseconds
RESAMPLES = 2000


@dataclass(frozen=True)
class Latency:
    """Time of one model's invoke, inputs already set.

    Args:
        median_ms: of all timed runs.
        interval_ms: 95 % bootstrap interval of that median.
        runs: how many were timed.
        threads: LiteRT threads.
        ratio: median over rounds of this model's time by the first model's in the same round;
            below 1 is faster.
        ratio_interval: 95 % bootstrap interval of that median.
        p90_ms: nine runs of ten were faster.
        variation: standard deviation by mean; over 0.2 somebody disturbed.
    """

    median_ms: float
    interval_ms: Interval
    runs: int
    threads: int
    ratio: float
    ratio_interval: Interval
    p90_ms: float = math.nan
    variation: float = math.nan


class Timed(Protocol):
    """What `time_rounds` drives; `Runner` is one."""

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Set the inputs (not timed)."""

    def invoke(self) -> None:
        """Run (timed)."""


def measure_latency(
    models: Mapping[str, bytes | str | os.PathLike[str]],
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
    seed: int = 0,
) -> dict[str, Latency]:
    """Time several .tflite files in one process; ratios are to the first.

    Args:
        models: name -> path or bytes.
        inputs: one sample for all of them; None: uniform noise in -1..1 (zeros for integers),
            with 1 for every dynamic dimension.
        runs: timed rounds. A round runs every model once, so that a slow moment hits all alike.
        warmup: rounds before those, thrown away.
        threads: LiteRT threads.
        seed: of the noise and of the bootstrap.

    Raises:
        DataError: no models, or a count that is not positive.
        ModelError: a model cannot be loaded or run.
    """
    runners = {name: Runner(model, threads=threads) for name, model in models.items()}
    samples = {
        name: noise(runner.inputs, seed) if inputs is None else dict(inputs)
        for name, runner in runners.items()
    }
    times = time_rounds(runners, samples, runs=runs, warmup=warmup)
    return summarize(times, threads=threads, seed=seed)


def time_rounds(
    models: Mapping[str, Timed],
    inputs: Mapping[str, Mapping[str, np.ndarray]],
    *,
    runs: int,
    warmup: int,
    clock: Clock = time.perf_counter_ns,
) -> dict[str, np.ndarray]:
    """Run A B C A B C and so on; float64[runs] milliseconds by model name, in round order."""
    if runs < 1 or warmup < 0:
        raise DataError(f"Timing needs runs >= 1 and warmup >= 0, got {runs} and {warmup}.")
    times = {name: np.empty(runs) for name in models}
    for round_ in range(-warmup, runs):
        for name, model in models.items():
            model.feed(inputs[name])  # each time: an invoke may overwrite its own inputs
            start = clock()
            model.invoke()
            elapsed = clock() - start
            if round_ >= 0:
                times[name][round_] = elapsed / 1e6
    return times


def summarize(
    times: Mapping[str, np.ndarray], *, threads: int, seed: int = 0
) -> dict[str, Latency]:
    """Medians, bootstrap intervals and ratios to the first model, round by round.

    Args:
        times: model name -> float64[runs] milliseconds; round k of every model belongs together.
    """
    if not times:
        raise DataError("Timing needs at least one model, got none.")
    first = next(iter(times.values()))
    rng = np.random.default_rng(seed)
    # One set of resampled rounds for all, so that equal times give equal intervals.
    picks = rng.integers(0, len(first), (RESAMPLES, len(first)))
    return {name: _latency(ms, ms / first, picks, threads) for name, ms in times.items()}


def _latency(ms: np.ndarray, ratios: np.ndarray, picks: np.ndarray, threads: int) -> Latency:
    return Latency(
        median_ms=float(np.median(ms)),
        interval_ms=_bootstrap(ms, picks),
        runs=len(ms),
        threads=threads,
        ratio=float(np.median(ratios)),
        ratio_interval=_bootstrap(ratios, picks),
        p90_ms=float(np.percentile(ms, 90)),
        variation=float(ms.std() / ms.mean()) if ms.mean() > 0 else 0.0,
    )


def _bootstrap(values: np.ndarray, picks: np.ndarray) -> Interval:
    """95 % percentile interval of the median (Efron 1979).

    Rounds are resampled whole. The interval knows nothing of drift between rounds; the ratio,
    being taken inside a round, hardly feels it.
    """
    medians = np.median(values[picks], axis=1)
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)
