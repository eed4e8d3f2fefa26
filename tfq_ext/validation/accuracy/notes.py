"""What a reader of the numbers must know: labels off by one, inputs off their grid, few samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tfq_ext.numerics.intervals import detectable_drop, wilson_interval
from tfq_ext.validation.accuracy.rowwise import Columns
from tfq_ext.validation.accuracy.values import AccuracyReport

FEW = 30  # samples below which a bootstrap's interval is known to be too narrow
_OUTSIDE = 0.01  # share of input values outside the grid that is worth a note
_TIES = 5e-4  # of top1
_UNUSED = 1 / 16  # share of the grid that the values should at least use


def findings(
    joined: Columns, grids: Mapping[int, tuple[str, float, float]], task: str | None
) -> Iterator[str]:
    """One sentence each."""
    yield from _inputs(joined, grids)
    if "judged:shifted" in joined:
        yield from _shifted(joined)
        yield from _tied(joined)
    n = len(joined.get("judged:candidate:abs", joined.get("judged:labelled", ())))
    if 0 < n < FEW and task in ("regression", "segmentation"):
        yield (
            f"{n} samples are few for a bootstrap: its intervals are too narrow below {FEW}, and "
            "the drop's should not decide anything."
        )


def _inputs(joined: Columns, grids: Mapping[int, tuple[str, float, float]]) -> Iterator[str]:
    for k, (name, lo, hi) in grids.items():
        if f"input:{k}" not in joined:
            continue
        least, most, outside = joined[f"input:{k}"].T
        low, high, share = float(least.min()), float(most.max()), float(outside.mean())
        came = f"input {name} got reals {low:.4g}..{high:.4g}; its grid covers {lo:.4g}..{hi:.4g}"
        if share > _OUTSIDE:
            yield (
                f"{came}, and {share:.0%} of the values lie outside and are clipped. State the "
                f"preprocessing that the model was trained with{_likely(low, high, lo, hi)}."
            )
        elif high - low < _UNUSED * (hi - lo):
            yield (
                f"{came}: the values use {(high - low) / (hi - lo):.1%} of it. Were they scaled "
                "once too often?"
            )


def _likely(low: float, high: float, lo: float, hi: float) -> str:
    """The usual map from pixels, if it fits."""
    if low < 0 or high > 255 or high <= 1:
        return ""
    for text, a, b in (
        ("scale=1/255", 0.0, 1.0),
        ("scale=1/127.5,mean=1", -1.0, 1.0),
        ("mean=128", -128.0, 127.0),
    ):
        if abs(lo - a) <= 0.02 * (b - a) and abs(hi - b) <= 0.02 * (b - a):
            return f"; this grid fits preprocess='{text}'"
    return ""


def _shifted(joined: Columns) -> Iterator[str]:
    """Models of 1001 classes begin with "background", and lists of labels begin with 1."""
    mine, shifted = joined["judged:candidate:top1"], joined["judged:shifted"]
    n, own = len(mine), float(mine.sum())
    for column, offset in ((0, 1), (1, -1)):
        right = float(shifted[:, column].sum())
        apart = wilson_interval(right, n, 0.999)[0] > wilson_interval(own, n, 0.999)[1]
        if apart and right > 2 * own:
            yield (
                f"The labels look shifted by one: with label_offset={offset:+d} top-1 would be "
                f"{right / n:.1%}, as given it is {own / n:.1%}."
            )


def _tied(joined: Columns) -> Iterator[str]:
    """Integer scores tie often; which class then comes first is an accident."""
    hits, shared = joined["judged:candidate:top1"], joined["judged:tied"]
    tied = int((hits != shared).sum())
    if tied and abs(float(hits.mean() - shared.mean())) >= _TIES:
        yield (
            f"In {tied} samples the label ties with other classes; top1 counts the first of them, "
            f"as argmax does ({hits.mean():.2%}). Broken at random it would be {shared.mean():.2%}."
        )


def too_small(report: AccuracyReport, bound: float, metric: str = "top1") -> str:
    """Why the samples cannot decide whether the drop of `metric` is within `bound`; "" if they can.

    Args:
        report: with that metric.
        bound: on the drop, in the metric's unit.
    """
    row = report.metric(metric)
    if row is None or row.drop is None:
        return f"{metric}: there is no drop to judge."
    point, lo, hi = row.drop
    if hi <= bound or lo > bound:
        return ""
    text = (
        f"{report.labelled} samples are too few to tell: the drop of {metric} is {point:.4g}, "
        f"95 % between {lo:.4g} and {hi:.4g}, and the bound {bound:.4g} lies within"
    )
    if metric != "top1":
        return f"{text}."
    changed = sum(row.lost + row.won for row in report.changed) / max(report.labelled, 1)
    least = detectable_drop(report.labelled, changed)
    return f"{text}. So many samples show drops of {least:.2%} or more."
