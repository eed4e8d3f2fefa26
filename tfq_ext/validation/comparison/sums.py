"""Running sums of one tensor; memory does not grow with the samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics import differences as d
from tfq_ext.numerics.histogram import Histogram, nonfinite_bins
from tfq_ext.validation.comparison.tensors import FLOAT, Grid
from tfq_ext.validation.comparison.values import BINS, Shift

_COUNTED = 1 << 31  # values; a histogram for the eye needs no more, and uint32 cannot wrap


@dataclass
class Sums:
    """What two streams of values say about each other.

    Args:
        grid: of the candidate.
        whole: all measures; else SQNR and mean shift only.
    """

    grid: Grid = FLOAT
    whole: bool = True
    values: int = 0
    channels: int = 0
    lo: float = math.inf
    hi: float = -math.inf
    _sums: np.ndarray | None = field(default=None, repr=False)
    _counts: np.ndarray | None = field(default=None, repr=False)

    def add(self, reference: np.ndarray, stored: np.ndarray) -> None:
        """One sample: reference float32, candidate as stored, of one shape.

        Raises:
            DataError: shapes differ, or NaN or infinity in either.
        """
        if reference.shape != stored.shape:
            raise DataError(
                f"has shape {list(reference.shape)} in the reference and {list(stored.shape)} in "
                "the candidate"
            )
        if not reference.size:
            return
        r = np.ascontiguousarray(reference, np.float32).reshape(-1)
        codes = np.ascontiguousarray(_plain(stored)).reshape(-1)
        self._add(r, codes, reference.shape[-1] if reference.ndim else 1)

    def _add(self, r: np.ndarray, codes: np.ndarray, channels: int) -> None:
        if self._sums is None or channels != self.channels:
            kept, before = self._sums, self.channels
            self.channels = channels if kept is None else 1  # the last axis varies: no channels
            self._sums = d.empty(self.channels)
            if kept is not None:
                one = d.folded(kept, before)
                self._sums[:, 0] = one.sum(axis=1)
                self._sums[d.MOST, 0] = one[d.MOST].max()
        grid, (scale, zero) = self.grid, self.grid.factors
        if self.whole:
            d.add(r, codes, scale, zero, float(grid.scale), grid.lo, grid.hi, self._sums)
        else:
            d.add_noise(r, codes, scale, zero, self._sums)
        self._check()
        if self.whole and self.values < _COUNTED:
            self._count(r)
        self.values += r.size

    def _count(self, r: np.ndarray) -> None:
        if self._counts is None:
            self._counts = np.zeros(d.BINS, np.uint32)
        lo, hi = d.count_into(r, self._counts)
        self.lo, self.hi = min(self.lo, float(lo)), max(self.hi, float(hi))

    def _check(self) -> None:
        assert self._sums is not None
        bad = [
            who
            for who, row in (("reference", d.SIGNAL), ("candidate", d.NOISE))
            if not np.isfinite(self._sums[row].sum())
        ]
        if bad:
            raise DataError(f"holds NaN or infinity in the {bad[0]}")

    def _total(self, row: int) -> float:
        return 0.0 if self._sums is None else float(self._sums[row].sum())

    @property
    def signal(self) -> float:
        """Sum of squares of the reference."""
        return self._total(d.SIGNAL)

    @property
    def noise(self) -> float:
        """Sum of squared errors."""
        return self._total(d.NOISE)

    @property
    def sqnr_db(self) -> float:
        """10 log10(signal / noise), dB."""
        return db(self.signal, self.noise)

    @property
    def grid_sqnr_db(self) -> float | None:
        """Of the reference rounded to the candidate's grid; None for floats."""
        return db(self.signal, self._total(d.GRID)) if self.grid.known else None

    @property
    def grid_noise(self) -> float:
        """Squared error of the reference on the grid."""
        return self._total(d.GRID)

    @property
    def clip_noise(self) -> float:
        """The part of it from values beyond the ends."""
        return self._total(d.CLIP)

    @property
    def clipped(self) -> tuple[float, float]:
        """Shares of values beyond the (low, high) end."""
        n = max(self.values, 1)
        return self._total(d.LOW) / n, self._total(d.HIGH) / n

    @property
    def cosine(self) -> float:
        """1 if both are zero, 0 if only one is."""
        a, b = self.signal, self._total(d.POWER)
        if a == 0 or b == 0:
            return float(a == b)
        return max(-1.0, min(1.0, self._total(d.DOT) / math.sqrt(a) / math.sqrt(b)))

    @property
    def mean_error(self) -> float:
        """Mean |error|, reals."""
        return self._total(d.ABS) / max(self.values, 1)

    @property
    def max_error(self) -> float:
        """Greatest |error|, reals."""
        return 0.0 if self._sums is None else float(self._sums[d.MOST].max())

    def shift(self) -> Shift | None:
        """The channel whose mean is off most; None without values."""
        if self._sums is None or not self.values:
            return None
        rows = self.values / self.channels
        mean = d.folded(self._sums, self.channels)[d.SHIFT] / rows
        worst = int(np.argmax(np.abs(mean)))
        lsb = float(mean[worst]) / self.grid.scale if self.grid.known else None
        # The mean of n random errors is not 0 either: that much is no shift.
        power = float(np.square(mean).sum()) * rows - self.noise / max(rows, 1)
        share = max(0.0, min(1.0, power / self.noise)) if self.noise > 0 and rows > 1 else 0.0
        return Shift(worst, float(mean[worst]), lsb, share)

    def histogram(self) -> tuple[int, ...]:
        """64 counts of the reference's values over [lo, hi]."""
        if self._counts is None or not self.lo < self.hi:
            return ()
        counts = self._counts.astype(np.int64)
        counts[nonfinite_bins()] = 0
        centers, weights = Histogram(counts).values(lo=self.lo, hi=self.hi)
        found, _ = np.histogram(centers, BINS, (self.lo, self.hi), weights=weights)
        return tuple(int(n) for n in found)


def db(signal: float, noise: float) -> float:
    """10 log10(signal / noise); inf without noise, -inf without signal."""
    if noise <= 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _plain(stored: np.ndarray) -> np.ndarray:
    """Types that the loops are compiled for."""
    return stored.astype(np.float32, copy=False) if stored.dtype.kind not in "iu" else stored
