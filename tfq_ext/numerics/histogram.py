"""A histogram that needs no range in advance: float32 values by the top half of their bit pattern.

The top 16 bits of a float32 are its sign, its exponent and 7 bits of mantissa (the bfloat16 with
the same bits), so a bin is at most 2^-7 = 0.8 % wide, anywhere between 1e-38 and 3e38.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import StatsError

BINS = 1 << 16
_SIGN = 1 << 15  # the bin of -0.0 and of negative values below 2^-133
_INF = 0x7F80  # this bin and the 127 above it, of either sign, hold inf and NaN only


def nonfinite_bins() -> np.ndarray:
    """The 256 bins that only inf and NaN reach; int64[256]."""
    positive = np.arange(_INF, _SIGN)
    return np.concatenate([positive, positive + _SIGN])


def _centers() -> np.ndarray:
    """Middle of every bin, float64[65536]; both zero bins at exactly 0, inf and NaN bins NaN."""
    bits = (np.arange(BINS, dtype=np.uint32) << 16) | 0x8000
    bits[nonfinite_bins()] = 0x7FC00000
    centers = bits.view(np.float32).astype(np.float64)
    centers[[0, _SIGN]] = 0.0
    return centers


_CENTERS = _centers()
# From the lowest value to the highest: negative bins run backwards, then both zeros, then up.
_ASCENDING = np.concatenate([np.arange(_SIGN + _INF - 1, _SIGN, -1), np.arange(_INF)])


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many values fell into each of the 65536 bins.

    Args:
        counts: int64[65536], counts by `bit pattern >> 16`; the bins of inf and NaN hold 0.
            The array is taken over and becomes read-only.

    Raises:
        StatsError: wrong shape or dtype, a negative count, or a count in a bin of inf or NaN.
    """

    counts: np.ndarray

    def __post_init__(self) -> None:
        counts = self.counts
        if counts.shape != (BINS,) or counts.dtype != np.int64:
            raise StatsError(
                f"A histogram has int64[{BINS}] counts, got {counts.dtype}{list(counts.shape)}."
            )
        if counts.min() < 0 or counts[nonfinite_bins()].any():
            raise StatsError("Histogram counts must be >= 0, and 0 in the bins of inf and NaN.")
        counts.flags.writeable = False

    @classmethod
    def empty(cls) -> Histogram:
        """No values at all."""
        return cls(np.zeros(BINS, np.int64))

    @classmethod
    def of(cls, x: np.ndarray) -> Histogram:
        """Count the finite values of `x` (any shape; cast to float32); inf and NaN are left out."""
        bits = np.ascontiguousarray(x, np.float32).reshape(-1).view(np.uint32)
        counts = np.bincount(bits >> 16, minlength=BINS).astype(np.int64)
        counts[nonfinite_bins()] = 0
        return cls(counts)

    @classmethod
    def from_sparse(cls, bins: np.ndarray, counts: np.ndarray) -> Histogram:
        """The inverse of `sparse`; bins uint16[n] without repeats, counts int64[n]."""
        if len(np.unique(bins)) != len(bins):
            raise StatsError("A sparse histogram names a bin twice.")
        dense = np.zeros(BINS, np.int64)
        dense[bins] = counts
        return cls(dense)

    def sparse(self) -> tuple[np.ndarray, np.ndarray]:
        """The bins that are not empty, uint16[n] ascending, and their counts, int64[n]."""
        bins = np.flatnonzero(self.counts)
        return bins.astype(np.uint16), self.counts[bins]

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(self.counts + other.counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return bool(np.array_equal(self.counts, other.counts))

    __hash__ = None  # type: ignore[assignment]

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum())

    def values(self, *, lo: float = -np.inf, hi: float = np.inf) -> tuple[np.ndarray, np.ndarray]:
        """The values as points: float64[n] centers, strictly ascending, and int64[n] counts > 0.

        Values of magnitude below 2^-133 count as 0, both signs together.

        Args:
            lo, hi: the exact extremes where known; centers are moved inside them, so that the spike
                which a clamp leaves (6.0 of ReLU6) stands at its place, not half a bin beyond.
        """
        counts = self.counts[_ASCENDING]
        zero = _INF - 1  # where bin 0 stands in _ASCENDING
        counts[zero] += self.counts[_SIGN]
        keep = np.flatnonzero(counts)
        return np.clip(_CENTERS[_ASCENDING][keep], lo, hi), counts[keep]
