"""Observers: what can be remembered of a stream of activations, as triples of pure functions.

`OBSERVERS["full"]` is all of them in one pass. Its state is `TensorStats`, and `Accumulator` is the
same in place, for the loop that must be fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tfq_ext._table import Table
from tfq_ext.calibrate.accumulator import Accumulator, as_float32, observe_many
from tfq_ext.calibrate.stats import SampleRanges, TensorStats, merge_sample_ranges
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.numerics.moments import Moments, merge_moments

__all__ = ["OBSERVERS", "Accumulator", "Observer", "observe_many"]


class Observer(NamedTuple):
    """Three pure functions that summarise a stream of samples.

    Laws (tests/contracts): merge is associative and commutative, with init() neutral;
    update(s, key, x) == merge(s, update(init(), key, x)); both hold bit for bit. So no order and no
    grouping of the samples changes the state. One key names one sample: whoever keeps keys raises
    StatsError when a key returns.
    """

    init: Callable[[], Any]
    update: Callable[[Any, int, np.ndarray], Any]
    merge: Callable[[Any, Any], Any]


def _observer(
    init: Callable[[], Any], one: Callable[[int, np.ndarray], Any], merge: Callable[[Any, Any], Any]
) -> Observer:
    """The observer of which `one` is the state after a single sample."""
    return Observer(init, lambda state, key, x: merge(state, one(key, as_float32(x))), merge)


class Extremes(NamedTuple):
    """Lowest and highest finite value; inf, -inf where there is none."""

    min: float
    max: float


class Tally(NamedTuple):
    """Values seen, and how many of them were NaN and +-inf."""

    seen: int
    nan: int
    inf: int


def _extremes(x: np.ndarray) -> Extremes:
    finite = x[np.isfinite(x)]
    lo, hi = finite.min(initial=np.inf), finite.max(initial=-np.inf)
    return Extremes(float(lo) + 0.0, float(hi) + 0.0)  # -0.0 becomes 0.0


def _sample_range(key: int, x: np.ndarray) -> SampleRanges:
    lo, hi = _extremes(x)
    return np.array([key], np.int64), np.array([lo], np.float32), np.array([hi], np.float32)


def _no_ranges() -> SampleRanges:
    return np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32)


def _full(key: int, x: np.ndarray) -> TensorStats:
    accumulator = Accumulator()
    accumulator.add(key, x)
    return accumulator.freeze()


OBSERVERS: Table[Observer] = Table(
    "observer",
    {
        "minmax": _observer(
            lambda: Extremes(np.inf, -np.inf),
            lambda _, x: _extremes(x),
            lambda a, b: Extremes(min(a.min, b.min), max(a.max, b.max)),
        ),
        "histogram": _observer(Histogram.empty, lambda _, x: Histogram.of(x), lambda a, b: a + b),
        "sample_ranges": _observer(_no_ranges, _sample_range, merge_sample_ranges),
        "moments": _observer(Moments.empty, lambda key, x: _full(key, x).channels, merge_moments),
        "nonfinite": _observer(
            lambda: Tally(0, 0, 0),
            lambda _, x: Tally(x.size, int(np.isnan(x).sum()), int(np.isinf(x).sum())),
            lambda a, b: Tally(*(p + q for p, q in zip(a, b, strict=True))),
        ),
        "full": _observer(TensorStats.empty, _full, TensorStats.merge),
    },
)
