r"""What is taken for the distribution of an activation, channel by channel, without looking at it.

A channel is \( x = \min(\max(z, l), h), \; z \sim N(\mu, \sigma^2) \).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tfq_ext.errors import StatsError
from tfq_ext.numerics.clipped import clipped_moments, normal_quantiles

# Deviations that a range covers. Published: 6 (Nagel et al. 1906.04721, section 5). Output SQNR of
# MobileNetV2 and EfficientNet-Lite0: 6 19.6 and 21.7 dB, 5 20.3 and 22.0, 4 19.9 and 21.9.
ALPHA = 5.0
POINTS = 129


@dataclass(frozen=True, eq=False)
class Belief:
    """Independent channels, each normal and then clamped.

    Args:
        mean, deviation: before the clamp, float64[C].
        low, high: ends of the clamp, float64[C]; infinite: none.
        source: "norm" of a BatchNormalization, "samples", "input", "constant", or "propagated".
        alpha: deviations that a range covers.
    """

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    source: str = "propagated"
    alpha: float = ALPHA

    def __post_init__(self) -> None:
        shapes = {getattr(self, name).shape for name in ("mean", "deviation", "low", "high")}
        if len(shapes) != 1 or self.mean.ndim != 1:
            raise StatsError(f"A belief has float64[C] fields, got {sorted(shapes)}.")
        if not (np.all(np.isfinite(self.mean)) and np.all(np.isfinite(self.deviation))):
            raise StatsError("A belief's means and deviations must be finite.")
        if np.any(self.deviation < 0) or np.any(self.low > self.high):
            raise StatsError("A belief needs deviations >= 0 and low <= high.")

    @classmethod
    def of(
        cls,
        mean: object,
        deviation: object,
        low: object = -np.inf,
        high: object = np.inf,
        source: str = "propagated",
    ) -> Belief:
        """Of anything that broadcasts to [C]."""
        given = [np.atleast_1d(np.asarray(v, np.float64)) for v in (mean, deviation, low, high)]
        mu, sigma, least, most = (np.array(v) for v in np.broadcast_arrays(*given))
        return cls(mu, sigma, least, most, source)

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
        """(least, greatest) that a range must hold: ALPHA deviations, inside the clamp."""
        spread = self.alpha * self.deviation
        ends = self.mean - spread, self.mean + spread
        return np.clip(ends[0], self.low, self.high), np.clip(ends[1], self.low, self.high)

    def points(self, count: int = POINTS) -> np.ndarray:
        """Equally likely values of each channel, float64[count, C]."""
        z = normal_quantiles(count)[:, None]
        return np.clip(self.mean + self.deviation * z, self.low, self.high)

    def clamped(self, low: float, high: float) -> Belief:
        """After one more clamp."""
        if np.isinf(low) and np.isinf(high):
            return self
        ends = np.clip(self.low, low, high), np.clip(self.high, low, high)
        return replace(self, low=ends[0], high=ends[1])

    def pick(self, channels: np.ndarray) -> Belief:
        """Some of the channels, perhaps several times."""
        mean, deviation = self.mean[channels], self.deviation[channels]
        low, high = self.low[channels], self.high[channels]
        return replace(self, mean=mean, deviation=deviation, low=low, high=high)

    def mixed(self, channels: int = 1) -> Belief:
        """Every channel any of the old ones: the same first two moments and the widest clamp."""
        mean, variance = self.moments
        total = variance.mean() + mean.var()
        least, greatest = self.reach
        one = Belief.of(mean.mean(), np.sqrt(total), least.min(), greatest.max())
        return one.pick(np.zeros(channels, np.int64))

    def changed(self, factor: np.ndarray | float, offset: np.ndarray | float = 0.0) -> Belief:
        """factor x + offset; a negative factor turns the ends round."""
        f = np.broadcast_to(np.asarray(factor, np.float64), self.mean.shape)
        with np.errstate(invalid="ignore"):  # 0 times an open end: a constant, whatever its ends
            ends = np.array([self.low * f, self.high * f]) + offset
        ends = np.where(f == 0, np.broadcast_to(offset, f.shape), ends)
        mean, deviation = self.mean * f + offset, self.deviation * np.abs(f)
        low, high = ends.min(axis=0), ends.max(axis=0)
        return replace(self, mean=mean, deviation=deviation, low=low, high=high)


def together(parts: list[Belief]) -> Belief:
    """Channels side by side."""
    fields = ("mean", "deviation", "low", "high")
    mean, deviation, low, high = (
        np.concatenate([getattr(p, name) for p in parts]) for name in fields
    )
    return Belief(mean, deviation, low, high, alpha=max(p.alpha for p in parts))


def from_moments(
    mean: np.ndarray, variance: np.ndarray, low: np.ndarray, high: np.ndarray
) -> Belief:
    """Normal with the moments that something else has, inside ends that it keeps to."""
    return Belief.of(np.clip(mean, low, high), np.sqrt(np.maximum(variance, 0.0)), low, high)
