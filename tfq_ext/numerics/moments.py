"""Mean and variance per channel from exact sums: merging them rounds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfq_ext.errors import StatsError
from tfq_ext.numerics.exact import SQUARES, SUMS, ExactSum


@dataclass(frozen=True, eq=False)
class Moments:
    """First and second moments of C channels.

    Args:
        n: int64[C], finite values per channel.
        sums: exact sums of x. Each term is the float64 sum over one sample, in a fixed order.
        squares: exact sums of x^2, likewise.

    Raises:
        StatsError: shapes that disagree, or a negative n.

    No channels at all (C = 0) means "nothing seen yet" and merges with anything.
    """

    n: np.ndarray
    sums: ExactSum
    squares: ExactSum

    def __post_init__(self) -> None:
        if self.n.dtype != np.int64 or self.n.ndim != 1 or np.any(self.n < 0):
            raise StatsError(f"Moments need int64[C] counts >= 0, got {self.n}.")
        if not self.n.size == self.sums.channels == self.squares.channels:
            raise StatsError(
                f"Moments disagree on the channels: {self.n.size} counts, {self.sums.channels} "
                f"sums, {self.squares.channels} sums of squares."
            )
        if self.sums.grid != SUMS or self.squares.grid != SQUARES:
            raise StatsError("Moments take their sums on the grids SUMS and SQUARES.")
        self.n.flags.writeable = False

    @classmethod
    def empty(cls) -> Moments:
        """Nothing seen yet; the number of channels is open."""
        return cls(np.zeros(0, np.int64), ExactSum.zeros(0, SUMS), ExactSum.zeros(0, SQUARES))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Moments):
            return NotImplemented
        counts = bool(np.array_equal(self.n, other.n))
        return counts and self.sums == other.sums and self.squares == other.squares

    __hash__ = None  # type: ignore[assignment]

    @property
    def channels(self) -> int:
        """Number of channels, C."""
        return int(self.n.size)

    @cached_property
    def mean(self) -> np.ndarray:
        """sum(x) / n, rounded once; float64[C], NaN for a channel without finite values."""
        unit = 1 << -SUMS.low
        pairs = zip(self.sums.integers(), self.n.tolist(), strict=True)
        return np.array([s / (n * unit) if n else np.nan for s, n in pairs], np.float64)

    @cached_property
    def variance(self) -> np.ndarray:
        """sum(x^2) / n - mean^2 >= 0, rounded once (population); float64[C], NaN where n = 0.

        In integers s = sum(x) 2^149 and q = sum(x^2) 2^298 this is (n q - s^2) / (n^2 2^298), free
        of the cancellation that it suffers in floats.
        """
        unit = 1 << -SQUARES.low
        rows = zip(self.sums.integers(), self.squares.integers(), self.n.tolist(), strict=True)
        return np.array(
            [max(n * q - s * s, 0) / (n * n * unit) if n else np.nan for s, q, n in rows],
            np.float64,
        )


def merge_moments(a: Moments | None, b: Moments | None) -> Moments | None:
    """Both together; None (channels that vary from sample to sample) absorbs everything."""
    if a is None or b is None:
        return None
    if a.channels == 0 or b.channels == 0:
        return a if b.channels == 0 else b
    if a.channels != b.channels:
        return None
    return Moments(a.n + b.n, a.sums + b.sums, a.squares + b.squares)
