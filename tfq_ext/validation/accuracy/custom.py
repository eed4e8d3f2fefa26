"""Any metric: the user's function of all predictions and all labels."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, TfqError
from tfq_ext.numerics.intervals import percentile_interval, resampled_sums
from tfq_ext.validation.accuracy.values import MetricRow

Metric = Callable[[np.ndarray, np.ndarray | None], Any]
MAX_BYTES = 2 << 30  # predictions and labels that are kept for it
RESAMPLES = 200
BUDGET = 20.0  # seconds that resampling may take
_TAKEN = (Exception,)  # the user's code raises what it likes


@dataclass(frozen=True)
class Custom:
    """The function, its name in the report, its direction (`higher_is_better` on the function)."""

    measure: Metric
    name: str
    higher_is_better: bool


def load_metric(metric: str | Metric) -> Custom:
    """From "module:function" (the current directory included) or a function.

    Raises:
        DataError: no such module or function.
    """
    if callable(metric):
        name = getattr(metric, "__name__", "metric")
        return Custom(metric, name, bool(getattr(metric, "higher_is_better", True)))
    module, colon, name = metric.partition(":")
    if not colon or not module or not name:
        raise DataError(f"A metric is written module:function, got {metric!r}.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except _TAKEN as error:
        raise DataError(
            f"Metric {metric}: {type(error).__name__}: {error}. The module is looked for in the "
            "current directory and on Python's path."
        ) from None
    if not callable(found):
        raise DataError(f"Metric {metric} is a {type(found).__name__}, not a function.")
    return Custom(found, metric, bool(getattr(found, "higher_is_better", True)))


def check_room(count: int, values: np.ndarray, models: int) -> None:
    """Refuse what would not fit.

    Args:
        count: samples.
        values: predictions of some of them, [R, ...].
        models: 1 or 2.

    Raises:
        DataError: over `MAX_BYTES`.
    """
    need = count * (values.nbytes // max(len(values), 1)) * models
    if need > MAX_BYTES:
        raise DataError(
            f"The metric needs every prediction at once: {need / 2**30:.1f} GiB for {count} "
            f"samples, at most {MAX_BYTES / 2**30:.0f} GiB are kept. Set a limit on the samples."
        )


def measured(
    custom: Custom,
    candidate: np.ndarray,
    reference: np.ndarray | None,
    labels: np.ndarray | None,
    *,
    seed: int,
) -> tuple[MetricRow, tuple[str, ...]]:
    """The metric's row, and notes.

    A function that gives one value a sample is averaged, and its interval is a bootstrap of
    these; of one that gives a single number the samples are drawn again, if that is quick.
    """
    start = time.perf_counter()
    mine = _call(custom, candidate, labels)
    theirs = None if reference is None else _call(custom, reference, labels)
    spent = time.perf_counter() - start
    n, better = len(candidate), custom.higher_is_better
    if mine.ndim == 1 and n > 1:
        both = np.stack([mine, mine if theirs is None else theirs], axis=1)
        drawn = resampled_sums(both, seed=seed) / n
    elif n > 1 and mine.ndim == 0 and spent * RESAMPLES <= BUDGET:
        drawn = _redrawn(custom, candidate, reference, labels, seed)
    else:
        drawn = None
    notes = (_without(custom, n),) if drawn is None else ()
    return _row(custom.name, better, mine, theirs, drawn), notes


def _row(
    name: str,
    better: bool,
    mine: np.ndarray,
    theirs: np.ndarray | None,
    drawn: np.ndarray | None,
) -> MetricRow:
    point, base = float(mine.mean()), None if theirs is None else float(theirs.mean())
    sign = 1.0 if better else -1.0
    interval = None if drawn is None else percentile_interval(drawn[:, 0])
    drop = None
    if base is not None:
        ends = (-np.inf, np.inf)
        if drawn is not None:
            ends = percentile_interval(sign * (drawn[:, 1] - drawn[:, 0]))
        drop = (sign * (base - point), *ends)
    return MetricRow(name, "", point, interval, base, drop, None, better)


def _redrawn(
    custom: Custom,
    candidate: np.ndarray,
    reference: np.ndarray | None,
    labels: np.ndarray | None,
    seed: int,
) -> np.ndarray:
    """float64[RESAMPLES, 2]: both models' metric on resamples; NaN where it failed."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        at = rng.integers(0, len(candidate), len(candidate))
        truth = None if labels is None else labels[at]
        row = []
        for values in (candidate, candidate if reference is None else reference):
            try:
                row.append(float(_call(custom, values[at], truth)))
            except TfqError:  # a resample may lack a class that the function needs
                row.append(float("nan"))
        made.append(row)
    return np.array(made)


def _call(custom: Custom, predictions: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """float64[] or float64[N]."""
    try:
        value = np.asarray(custom.measure(predictions, labels), np.float64)
    except _TAKEN as error:
        raise DataError(f"Metric {custom.name} failed: {type(error).__name__}: {error}") from None
    if value.ndim == 1 and len(value) == 1 != len(predictions):
        value = value[0]
    value = np.asarray(value)
    if value.ndim > 1 or (value.ndim == 1 and len(value) != len(predictions)):
        raise DataError(
            f"Metric {custom.name} gave shape {list(value.shape)}; one number, or one for each of "
            f"the {len(predictions)} samples, is expected."
        )
    if np.isnan(value).any():
        raise DataError(f"Metric {custom.name} gave NaN.")
    return value


def _without(custom: Custom, n: int) -> str:
    if n < 2:
        return f"{custom.name}: one sample says nothing about its interval."
    return (
        f"{custom.name} has no interval: it is too slow to be called {RESAMPLES} times. Have it "
        "return one value a sample."
    )
