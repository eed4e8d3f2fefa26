"""The values of a grid's tensors as one distribution, and how far it may be clipped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.calibrate.stats import TensorStats
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.spec import NO_RANGE, QSpec, Range

MANY = 20_000  # judged values that show a tail of 1 in 10 000
UNSEEN = 0.25  # of min-max's rounding error: what unjudged clipping may add


@dataclass(frozen=True)
class Pooled:
    """Several tensors' values as one distribution."""

    min: float
    max: float
    histogram: Histogram
    sample_min: np.ndarray
    sample_max: np.ndarray

    @classmethod
    def of(cls, parts: list[TensorStats]) -> Pooled:
        """Histograms add; per-sample extremes pair up where the samples are the same."""
        histogram = parts[0].histogram
        for part in parts[1:]:
            histogram = histogram + part.histogram
        same = all(np.array_equal(p.sample_keys, parts[0].sample_keys) for p in parts)
        mins = [p.sample_min for p in parts]
        maxs = [p.sample_max for p in parts]
        return cls(
            min(p.min for p in parts),
            max(p.max for p in parts),
            histogram,
            np.minimum.reduce(mins) if same else np.concatenate(mins),
            np.maximum.reduce(maxs) if same else np.concatenate(maxs),
        )

    def tightest(self, judged: Pooled | None, spec: QSpec) -> Range:
        """The range below which clipping would go unjudged.

        Judges that saw few values of a tensor cannot speak against cutting off its tail (a MEAN
        gives a few dozen values a sample; clipping one cost 6 dB on new samples). There the
        squared clipping error over all samples, beyond what the judges saw themselves, may reach
        a share of min-max's rounding error and no more.

        Args:
            judged: the distribution over the judging samples; None if there are none.
            spec: the codes.
        """
        full = Range.of(self.min, self.max)
        if judged is None or full.width == 0:
            return full
        if judged.histogram.total >= MANY:
            return NO_RANGE
        step = full.width / (spec.qmax - spec.qmin)
        allowed = UNSEEN * step * step / 12 / 2  # half for each end
        hi = _tightest_end(self, judged, full.max, 1.0, allowed)
        lo = _tightest_end(self, judged, -full.min, -1.0, allowed)
        return Range.of(-lo, hi)

    def outside(self, r: Range) -> float:
        """Share of the values beyond `r` (bin resolution, 0.8 %)."""
        centers, counts = self.histogram.values()
        beyond = (centers > r.max * 1.004) | (centers < r.min * 1.004)
        return float(counts[beyond].sum() / max(counts.sum(), 1))


def _tightest_end(every: Pooled, judged: Pooled, end: float, sign: float, allowed: float) -> float:
    """Least bound >= 0 on `sign` times the values whose unjudged clipping error is allowed."""
    bounds = end * np.linspace(1.0, 0.05, 96)
    unseen = _clipped(every, bounds, sign) - _clipped(judged, bounds, sign)
    beyond = np.flatnonzero(unseen > allowed)
    return float(bounds[max(beyond[0] - 1, 0)] if len(beyond) else bounds[-1])


def _clipped(dist: Pooled, bounds: np.ndarray, sign: float) -> np.ndarray:
    """Mean squared clipping error for each bound; float64[bounds]."""
    centers, counts = dist.histogram.values()
    keep = sign * centers > bounds[-1]
    excess = np.maximum(sign * centers[keep] - bounds[:, None], 0.0)
    return np.square(excess) @ counts[keep] / max(counts.sum(), 1)
