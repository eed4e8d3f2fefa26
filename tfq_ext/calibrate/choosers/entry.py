"""What a calibrator is: a rule from one tensor's statistics to the range it shall keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np

from tfq_ext.errors import RecipeError, StatsError
from tfq_ext.numerics.bins import Bins
from tfq_ext.spec import QSpec, Range


class Values(Protocol):
    """A histogram: float64[n] ascending centers and int64[n] counts."""

    def values(self) -> tuple[np.ndarray, np.ndarray]:
        """Centers, ascending, and counts > 0."""


class Distribution(Protocol):
    """The statistics of one tensor that calibrators read; TensorStats fits."""

    @property
    def min(self) -> float:
        """Least finite value observed."""

    @property
    def max(self) -> float:
        """Greatest finite value observed."""

    @property
    def histogram(self) -> Values:
        """All finite values, in bins of the float32 pattern's top 16 bits."""

    @property
    def sample_min(self) -> np.ndarray:
        """float32[N], least value of each sample, in order of sample key."""

    @property
    def sample_max(self) -> np.ndarray:
        """float32[N], greatest value of each sample, in order of sample key."""


@dataclass(frozen=True)
class Parameter:
    """The number behind the colon of "percentile:99.99".

    Args:
        name: keyword of the rule.
        default: value when the text has no colon.
        low, high: the allowed interval, `low` included only if `closed`, `high` always.
    """

    name: str
    default: float
    low: float
    high: float
    closed: bool = False

    def read(self, chooser: str, text: str) -> float:
        """The value that `text` spells.

        Raises:
            RecipeError: no number, or one outside the interval.
        """
        interval = f"{'[' if self.closed else '('}{self.low:g}, {self.high:g}]"
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if self.low < value <= self.high or (self.closed and value == self.low):
            return value
        raise RecipeError(
            f"Calibrator {chooser!r} takes a number in {interval} after the colon, got {text!r}; "
            f"for example {chooser}:{self.default:g}."
        )


@dataclass(frozen=True)
class Chooser:
    """One entry of CHOOSERS.

    Args:
        choose: rule(dist, spec, **parameter) -> Range.
        doc: one line for people.
        parameter: the number it takes, if any.
        order_dependent: whether the order of samples moves the result.
        criterion: criterion(dist, spec, range, **parameter) -> what the rule minimises, if it
            searches; lower is better.
    """

    choose: Callable[..., Range]
    doc: str
    parameter: Parameter | None = None
    order_dependent: bool = False
    criterion: Callable[..., float] | None = None


@dataclass(frozen=True)
class BoundChooser:
    """A calibrator with its parameter filled in; `text` parses back to it.

    `choose` is guarded: the range contains 0, is finite, and lies inside the values observed.
    """

    name: str
    text: str
    choose: Callable[[Distribution, QSpec], Range]
    doc: str
    order_dependent: bool
    criterion: Callable[[Distribution, QSpec, Range], float] | None

    def __str__(self) -> str:
        return self.text


def bind(name: str, entry: Chooser, argument: str | None = None) -> BoundChooser:
    """Fill in the parameter of `entry`.

    Args:
        name: the entry's name in its table.
        entry: the calibrator.
        argument: what the user wrote after the colon; None for the default.

    Raises:
        RecipeError: a parameter that the entry does not take, or outside its interval.
    """
    given: dict[str, Any] = {}
    text = name
    if entry.parameter is not None:
        wanted = entry.parameter.default
        if argument is not None:
            wanted = entry.parameter.read(name, argument)
        given[entry.parameter.name] = wanted
        text = f"{name}:{wanted:.12g}"
    elif argument is not None:
        raise RecipeError(f"Calibrator {name!r} takes no parameter, got {argument!r} after it.")
    return BoundChooser(
        name=name,
        text=text,
        choose=partial(_guarded, partial(entry.choose, **given)),
        doc=entry.doc,
        order_dependent=entry.order_dependent,
        criterion=partial(_judged, partial(entry.criterion, **given)) if entry.criterion else None,
    )


def observed(dist: Distribution) -> Range:
    """Min-max, widened to contain 0.

    Raises:
        StatsError: no finite value was ever observed.
    """
    lo, hi = float(dist.min), float(dist.max)
    if not (np.isfinite(lo) and np.isfinite(hi) and lo <= hi):
        raise StatsError(
            f"Statistics with min {lo} and max {hi}: no finite value was observed. "
            "Feed samples first, and look for NaN or inf in the model's output."
        )
    return Range.of(lo, hi)


def bins_of(dist: Distribution) -> Bins:
    """The histogram as intervals, cut at the exact extremes."""
    values, counts = dist.histogram.values()
    return Bins.of(values, counts, lo=float(dist.min), hi=float(dist.max))


def clipped(dist: Distribution, lo: float, hi: float) -> Range:
    """[lo, hi] within what was observed, ends rounded to float32 as files keep them."""
    full = observed(dist)
    lo, hi = float(np.float32(max(lo, full.min))), float(np.float32(min(hi, full.max)))
    return Range.of(max(min(lo, full.max), full.min), min(max(hi, full.min), full.max))


def _guarded(
    choose: Callable[[Distribution, QSpec], Range], dist: Distribution, spec: QSpec
) -> Range:
    full = observed(dist)
    if full.width == 0:  # nothing but zeros: there is nothing to choose
        return full
    chosen = choose(dist, spec)
    return clipped(dist, chosen.min, chosen.max)


def _judged(
    criterion: Callable[[Distribution, QSpec, Range], float],
    dist: Distribution,
    spec: QSpec,
    kept: Range,
) -> float:
    return 0.0 if observed(dist).width == 0 else criterion(dist, spec, kept)
