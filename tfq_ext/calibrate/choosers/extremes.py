"""Ranges from extremes and ranks: minmax, ema, percentile."""

from __future__ import annotations

import numpy as np

from tfq_ext.calibrate.choosers.entry import Distribution, bins_of, observed
from tfq_ext.errors import StatsError
from tfq_ext.spec import QSpec, Range


def minmax(dist: Distribution, spec: QSpec) -> Range:
    """Everything observed: no clipping error, at the mercy of outliers."""
    return observed(dist)


def ema(dist: Distribution, spec: QSpec, *, decay: float) -> Range:
    """Moving average of each sample's min and max, started at the first sample.

    `m_1 = x_1, m_i = decay m_(i-1) + (1 - decay) x_i`. The order of samples matters; samples
    without a finite value are passed over.

    Raises:
        StatsError: no per-sample figures.

    Source: Krishnamoorthi 1806.08342, section 2.5; Jacob et al. 1712.05877, section 3.1.
    """
    lo, hi = (np.asarray(x, np.float64) for x in (dist.sample_min, dist.sample_max))
    finite = np.isfinite(lo) & np.isfinite(hi)
    lo, hi = lo[finite], hi[finite]
    if not len(lo):
        raise StatsError("Calibrator 'ema' needs per-sample min and max, and there are none.")
    weights = (1 - decay) * decay ** np.arange(len(lo) - 1, -1, -1, dtype=np.float64)
    weights[0] = decay ** (len(lo) - 1)
    return Range.of((weights * lo).sum(), (weights * hi).sum())


def percentile(dist: Distribution, spec: QSpec, *, p: float) -> Range:
    """The values at ranks 100 - p and p percent, interpolated inside bins; 100 is minmax.

    Each end loses its own 100 - p percent of *all* values. After ReLU the lower one lands on the
    zeros, so only the top is cut.
    """
    bins = bins_of(dist)
    after = np.cumsum(bins.counts)
    ranks = np.stack([after - bins.counts, after], 1).ravel()
    reals = np.stack([bins.lo, bins.hi], 1).ravel()
    lo, hi = np.interp([after[-1] * (100.0 - p) / 100.0, after[-1] * p / 100.0], ranks, reals)
    return Range.of(lo, hi)
