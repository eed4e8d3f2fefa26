r"""What is taken for the distribution of an activation, channel by channel, without looking at it.

A channel is \( x = \min(\max(z, l), h), \; z \sim N(\mu, \sigma^2) \).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tfq_ext.errors import StatsError
from tfq_ext.numerics.clipped import clipped_moments, normal_quantiles

# Deviations that a range covers. Published: 6 (Nagel et al. 1906.04721, section 5). Output SQNR of
# MobileNetV2 and EfficientNet-Lite0: 6 19.6 and 21.7 dB, 5 20.3 and 22.0, 4 19.9 and 21.9 (before
# padding counted in means; with it, 5: 20.3 and 20.8).
ALPHA = 5.0
POINTS = 129
_ARRAYS = ("mean", "deviation", "low", "high", "least", "most")


@dataclass(frozen=True, eq=False)
class Belief:
    """Independent channels, each normal and then clamped.

    Args:
        mean, deviation: before the clamp, float64[C].
        low, high: ends of the clamp, float64[C]; infinite: none.
        least, most: what a range need not pass, float64[C]; the moments do not know of it.
        source: "norm" of a BatchNormalization, "samples", "input", "constant", or "propagated".
        alpha: deviations that a range covers; infinite: it goes from `least` to `most`.
    """

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    least: np.ndarray
    most: np.ndarray
    source: str = "propagated"
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in _ARRAYS}
        if len(shapes) != 1 or self.mean.ndim != 1:
            raise StatsError(f"A belief has float64[C] fields, got {sorted(shapes)}.")
        if not (np.all(np.isfinite(self.mean)) and np.all(np.isfinite(self.deviation))):
            raise StatsError("A belief's means and deviations must be finite.")
        ordered = np.all(self.low <= self.high) and np.all(self.least <= self.most)
        if np.any(self.deviation < 0) or not ordered:
            raise StatsError("A belief needs deviations >= 0, low <= high and least <= most.")

    @classmethod
    def of(
        cls,
        mean: object,
        deviation: object,
        low: object = -np.inf,
        high: object = np.inf,
        *,
        ends: tuple[object, object] = (-np.inf, np.inf),
        source: str = "propagated",
        alpha: float = ALPHA,
    ) -> Belief:
        """Of anything that broadcasts to [C]; `ends` are (least, most)."""
        given = (mean, deviation, low, high, *ends)
        arrays = [np.atleast_1d(np.asarray(v, np.float64)) for v in given]
        mu, sigma, a, b, c, d = (np.array(v) for v in np.broadcast_arrays(*arrays))
        return cls(mu, sigma, a, b, c, d, source, alpha)

    @property
    def channels(self) -> int:
        """C."""
        return len(self.mean)

    @cached_property
    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, variance) after the clamp, float64[C] each."""
        return clipped_moments(self.mean, self.deviation, self.low, self.high)

    @cached_property
    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """(least, greatest) that a range must hold: `alpha` deviations, inside all ends."""
        if np.isinf(self.alpha):
            ends = self.least, self.most
        else:
            spread = self.alpha * self.deviation
            ends = self._within(self.mean - spread), self._within(self.mean + spread)
        return np.clip(ends[0], self.low, self.high), np.clip(ends[1], self.low, self.high)

    def _within(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, self.least, self.most)

    def points(self, count: int = POINTS) -> np.ndarray:
        """Equally likely values of each channel, float64[count, C]."""
        z = normal_quantiles(count)[:, None]
        return np.clip(self._within(self.mean + self.deviation * z), self.low, self.high)

    def clamped(self, low: float, high: float) -> Belief:
        """After one more clamp."""
        return replace(self, low=np.clip(self.low, low, high), high=np.clip(self.high, low, high))

    def pick(self, channels: np.ndarray) -> Belief:
        """Some of the channels, perhaps several times."""
        return self._with([getattr(self, name)[channels] for name in _ARRAYS])

    def mixed(self, channels: int = 1) -> Belief:
        """Every channel any of the old ones: the same first two moments and the widest ends."""
        mean, variance = self.moments
        total = variance.mean() + mean.var()
        ends = self.reach[0].min(), self.reach[1].max()
        one = from_moments(np.array([mean.mean()]), np.array([total]), *ends)
        return one.pick(np.zeros(channels, np.int64))

    def changed(self, factor: np.ndarray | float, offset: np.ndarray | float = 0.0) -> Belief:
        """factor x + offset; a negative factor turns the ends round."""
        f = np.broadcast_to(np.asarray(factor, np.float64), self.mean.shape)
        sides = [self.low, self.high], [self.least, self.most]
        moved = [_turned(np.array(pair), f, offset) for pair in sides]
        mean, deviation = self.mean * f + offset, self.deviation * np.abs(f)
        return self._with([mean, deviation, *moved[0], *moved[1]])

    def _with(self, arrays: Sequence[np.ndarray]) -> Belief:
        mean, deviation, low, high, least, most = arrays
        return Belief(mean, deviation, low, high, least, most, self.source, self.alpha)


def _turned(ends: np.ndarray, f: np.ndarray, offset: np.ndarray | float) -> np.ndarray:
    """Both ends times a factor, the lesser one first; float64[2, C]."""
    with np.errstate(invalid="ignore"):  # 0 times an open end: a constant, whatever its ends
        moved = np.where(f == 0, 0.0, ends * f) + offset
    return np.sort(moved, axis=0)


def together(parts: Sequence[Belief]) -> Belief:
    """Channels side by side."""
    mean, deviation, low, high, least, most = (
        np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS
    )
    ends = least, most
    alpha = max(p.alpha for p in parts)
    if np.isinf(alpha):  # those that have no ends of their own get what they reach
        least, most = (np.concatenate([p.reach[k] for p in parts]) for k in (0, 1))
        ends = least, most
    return Belief.of(mean, deviation, low, high, ends=ends, alpha=alpha)


def from_moments(
    mean: np.ndarray,
    variance: np.ndarray,
    least: np.ndarray,
    most: np.ndarray,
    *,
    alpha: float = ALPHA,
) -> Belief:
    """Normal with the moments that something else has, and ends that a range need not pass."""
    center = np.clip(mean, least, most)
    return Belief.of(center, np.sqrt(np.maximum(variance, 0.0)), ends=(least, most), alpha=alpha)
