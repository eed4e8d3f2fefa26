"""Regression: MAE, RMSE and R2 over all values of all samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import percentile_interval, resampled_sums
from tfq_ext.validation.accuracy.rowwise import Columns, flat
from tfq_ext.validation.accuracy.values import MetricRow

WIDEST = 64  # values of one label up to which R2 is given; it needs each label again
_BOTH = ("candidate", "reference")


def columns(
    candidate: np.ndarray, reference: np.ndarray | None, labels: np.ndarray | None
) -> Columns:
    """Per labelled row and model: sum of |error|, of error^2, and how many values.

    Args:
        candidate, reference: real[R, ...].
        labels: real[R, ...], as many values a row.

    Raises:
        DataError: labels of another size, or not finite.
    """
    if labels is None:
        return {}
    y = flat(np.asarray(labels, np.float64).reshape(len(labels), -1))
    if y.shape[1] != flat(candidate).shape[1]:
        raise DataError(
            f"regression needs as many values in a label as in the output; got {y.shape[1]} and "
            f"{flat(candidate).shape[1]} per sample."
        )
    if not np.isfinite(y).all():
        raise DataError("the label holds NaN or infinity.")
    made: Columns = {"judged:size": np.full(len(y), y.shape[1], np.float64)}
    if y.shape[1] <= WIDEST:
        made["judged:y"] = y
    for name, values in zip(_BOTH, (candidate, reference), strict=True):
        if values is not None:
            error = flat(np.asarray(values, np.float64)) - y
            made[f"judged:{name}:abs"] = np.abs(error).sum(axis=1)
            made[f"judged:{name}:square"] = np.square(error).sum(axis=1)
    return made


Sums = dict[str, np.ndarray]  # column -> [B] or [B, D], summed over the samples of B resamples


def _mae(sums: Sums, who: str) -> np.ndarray:
    return sums[f"{who}:abs"] / sums["size"]


def _rmse(sums: Sums, who: str) -> np.ndarray:
    return np.sqrt(sums[f"{who}:square"] / sums["size"])


def _r2(sums: Sums, who: str) -> np.ndarray:
    """1 - squared error / spread of the labels around the mean of each of their values."""
    n = sums["one"]
    spread = sums["yy"] - (np.square(sums["y"]) / n[:, None]).sum(axis=1)
    error = sums[f"{who}:square"]
    some = spread > 1e-12 * np.maximum(sums["yy"], 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(some, 1 - error / spread, np.where(error == 0, 1.0, -np.inf))


_METRICS: tuple[tuple[str, Callable[[Sums, str], np.ndarray], bool], ...] = (
    ("mae", _mae, False),
    ("rmse", _rmse, False),
    ("r2", _r2, True),
)


def rows(joined: Columns, seed: int, confidence: float) -> tuple[MetricRow, ...]:
    """mae, rmse, and r2 where labels are narrow enough; intervals by a paired bootstrap."""
    table = _table(joined)
    names = list(table)
    widths = [table[name].shape[1] for name in names]
    stacked = np.concatenate([table[name] for name in names], axis=1)
    whole = _split(stacked.sum(axis=0, keepdims=True), names, widths)
    drawn = None
    if len(stacked) > 1:
        drawn = _split(resampled_sums(stacked, seed=seed), names, widths)
    both = "reference:abs" in table
    return tuple(
        _row(name, measure, better, whole, drawn, both, confidence)
        for name, measure, better in _METRICS
        if name != "r2" or "y" in table
    )


def _table(joined: Columns) -> Sums:
    """The columns as [n, D], centred labels for R2 (their squares would swallow the spread)."""
    plain = {
        key.removeprefix("judged:"): x.reshape(len(x), -1)
        for key, x in joined.items()
        if key.startswith("judged:")
    }
    kept = {k: x for k, x in plain.items() if k in ("size", "y") or k.endswith((":abs", ":square"))}
    if "y" in kept:
        kept["y"] = kept["y"] - kept["y"].mean(axis=0)
        kept["yy"] = np.square(kept["y"]).sum(axis=1, keepdims=True)
        kept["one"] = np.ones((len(kept["y"]), 1))
    return kept


def _split(sums: np.ndarray, names: list[str], widths: list[int]) -> Sums:
    parts = np.split(sums, np.cumsum(widths)[:-1], axis=1)
    return {n: p if n == "y" else p[:, 0] for n, p in zip(names, parts, strict=True)}


def _row(
    name: str,
    measure: Callable[[Sums, str], np.ndarray],
    better: bool,
    whole: Sums,
    drawn: Sums | None,
    both: bool,
    confidence: float,
) -> MetricRow:
    mine = float(measure(whole, "candidate")[0])
    theirs = float(measure(whole, "reference")[0]) if both else None
    sign = 1.0 if better else -1.0
    interval, drop = None, None
    if drawn is not None:
        interval = percentile_interval(measure(drawn, "candidate"))
    if theirs is not None:
        lo, hi = -np.inf, np.inf
        if drawn is not None:
            lost = sign * (measure(drawn, "reference") - measure(drawn, "candidate"))
            lo, hi = percentile_interval(lost, confidence)
        drop = (sign * (theirs - mine), float(lo), float(hi))
    return MetricRow(name, "", mine, interval, theirs, drop, None, better)
