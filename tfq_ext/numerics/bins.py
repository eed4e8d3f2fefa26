"""What a range search works on: values as intervals, and many candidate grids at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.spec import TINY, QParams, QSpec, round_half_away

F32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Bins:
    """Values of one tensor as intervals, uniform inside each.

    Args:
        lo, hi: float64[n], ends, lo <= hi; equal ends are a spike.
        counts: float64[n], > 0.
    """

    lo: np.ndarray
    hi: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        counts: np.ndarray,
        *,
        lo: float = -F32_MAX,
        hi: float = F32_MAX,
    ) -> Bins:
        """The bfloat16-shaped bins around histogram centers.

        Args:
            values: float64[n], any point of each bin; exactly 0 stands for itself.
            counts: int64[n].
            lo, hi: the tensor's exact extremes, which cut the outermost bins.
        """
        pattern = np.asarray(values, np.float32).view(np.uint32) >> 16
        magnitude = (pattern & 0x7FFF).astype(np.uint32)
        inner = (magnitude << 16).view(np.float32).astype(np.float64)
        outer = ((magnitude + (magnitude > 0)) << 16).view(np.float32).astype(np.float64)
        negative = (pattern & 0x8000) != 0
        low = np.where(negative, -outer, inner)
        high = np.where(negative, -inner, outer)
        return cls(np.clip(low, lo, hi), np.clip(high, lo, hi), np.asarray(counts, np.float64))

    @property
    def total(self) -> float:
        """Number of values."""
        return float(self.counts.sum())

    def magnitudes(self) -> Bins:
        """The bins of |x|, exact zeros left out; ascending."""
        lo = np.where(self.hi <= 0, -self.hi, self.lo)
        hi = np.where(self.hi <= 0, -self.lo, self.hi)
        order = np.argsort(hi, kind="stable")
        order = order[hi[order] > 0]
        return Bins(lo[order], hi[order], self.counts[order])

    def take(self, which: np.ndarray) -> Bins:
        """Some of the bins."""
        return Bins(self.lo[which], self.hi[which], self.counts[which])

    def in_units(self, unit: float) -> Bins:
        """The same values divided by `unit` (> 0)."""
        return Bins(self.lo / unit, self.hi / unit, self.counts)


class Grids(NamedTuple):
    """K affine grids: reals `scale * k` for whole k in [a, b]; float64[K] each."""

    scale: np.ndarray
    a: np.ndarray
    b: np.ndarray

    @classmethod
    def of(cls, spec: QSpec, lo: np.ndarray, hi: np.ndarray) -> Grids:
        """The nudged grids of K ranges; lo, hi are [K].

        The arithmetic of QParams.from_range for many at once (a test holds both equal): one call
        of that a candidate would cost more than the error itself.

        Raises:
            SpecError: a spec with an axis.
        """
        if spec.axis is not None:
            raise SpecError(f"A range search fits one scale; the spec has axis={spec.axis}.")
        lo, hi = np.asarray(lo, np.float32), np.asarray(hi, np.float32)
        if spec.symmetric:
            scale = np.maximum(np.maximum(-lo, hi).astype(np.float64) / spec.qmax, TINY)
            scale = scale.astype(np.float32).astype(np.float64)
            z = np.zeros_like(scale)
        else:
            steps = (hi - lo) / np.float32(spec.qmax - spec.qmin)
            scale = np.where(hi == lo, 1.0, np.maximum(steps, np.float32(TINY)).astype(np.float64))
            z = np.clip(spec.qmin - round_half_away(lo / scale), spec.qmin, spec.qmax)
            z = np.where(hi == lo, 0.0, z)
        return cls(scale, spec.qmin - z, spec.qmax - z)

    @classmethod
    def one(cls, qparams: QParams) -> Grids:
        """The grid of per-tensor `qparams`, K = 1."""
        spec, z = qparams.spec, float(qparams.zero_point)
        ends = np.array([spec.qmin - z]), np.array([spec.qmax - z])
        return cls(np.array([float(qparams.scale)]), *ends)

    def in_units(self, unit: float) -> Grids:
        """The grids for values divided by `unit` (> 0)."""
        return Grids(self.scale / unit, self.a, self.b)
