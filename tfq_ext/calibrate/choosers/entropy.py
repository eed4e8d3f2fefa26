"""The range that loses the least information, TensorRT's rule: kl."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from tfq_ext.calibrate.choosers.entry import Distribution, bins_of, clipped, observed
from tfq_ext.numerics.bins import Bins
from tfq_ext.spec import QSpec, Range

BINS = 2048
SMOOTHING = 1e-6  # share of Q spread evenly, so that outliers beyond a gap cost much, not infinity
_DUST = 1e-3  # counts; a full linear bin holds at least 1/17 of an observed value


def kl(dist: Distribution, spec: QSpec) -> Range:
    """Clip |x| at the threshold with the least KL(P || Q).

    P is the histogram of |x| up to bin i with all outliers added to its last bin; Q is the same
    without outliers, merged into the grid's levels and spread back over P's occupied bins.

    What we changed: the 2048 linear bins are made from the log-spaced histogram, counts spread
    evenly inside each bin. Exact zeros are left out: the grid holds them exactly, and the spike
    that ReLU leaves would drown the rest. Levels per sign follow the grid (128 for int8 around
    zero, 256 after ReLU on a zero-pointed grid) instead of always 128. Groups are i / levels wide
    instead of whole bins with the rest in the last group. Q is smoothed by 1e-6. Every i is tried;
    the threshold is the upper end of bin i, not its middle. With 2048 levels or more (16 bits) no
    bins merge, and the range is min-max.

    Source: Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    full = observed(dist)
    top = max(-full.min, full.max)
    divergence = _divergences(linear_counts(bins_of(dist), top), _levels(spec, full))
    kept = BINS - int(np.argmin(divergence[::-1]))  # the widest of equals
    bound = top * kept / BINS
    return clipped(dist, -bound, bound)


def kl_divergence_of(dist: Distribution, spec: QSpec, kept: Range) -> float:
    """KL(P || Q) in nats for the threshold of a range."""
    full = observed(dist)
    top = max(-full.min, full.max)
    divergence = _divergences(linear_counts(bins_of(dist), top), _levels(spec, full))
    i = round(max(-kept.min, kept.max) / top * BINS)
    return float(divergence[min(max(i, 1), BINS) - 1])


def linear_counts(bins: Bins, top: float) -> np.ndarray:
    """Counts of |x| in 2048 equal bins of [0, top], zeros left out; float64[2048]."""
    edges = np.linspace(0.0, top, BINS + 1)
    counts = np.zeros(BINS)
    for side in (bins.take(bins.hi > 0), bins.take(bins.lo < 0)):
        half = side.magnitudes()
        if len(half.counts):
            after = np.cumsum(half.counts)
            reals = np.stack([half.lo, half.hi], 1).ravel()
            below = np.stack([after - half.counts, after], 1).ravel()
            counts += np.diff(np.interp(edges, reals, below, left=0.0))
    return np.where(counts > _DUST, counts, 0.0)


def _levels(spec: QSpec, full: Range) -> int:
    """Codes that the values on one side of zero have, zero's own included."""
    one_sided = full.min == 0 or full.max == 0
    return spec.qmax - spec.qmin + 1 if one_sided and not spec.symmetric else spec.qmax + 1


@lru_cache(maxsize=8)
def _groups(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers i of bins kept, int[T], and where each one's groups end, int[T, levels + 1]."""
    kept = np.arange(levels, BINS + 1)
    return kept, kept[:, None] * np.arange(levels + 1)[None, :] // levels


def _divergences(p: np.ndarray, levels: int) -> np.ndarray:
    """KL(P || Q) in nats when i = 1..2048 bins are kept; inf where i < levels or Q is empty.

    In a group g all occupied bins share one Q, so with m, n the group's mass and occupied bins,
    KL = sum P log P - sum over g of P_g log Q_g: prefix sums and O(levels) work for each i.
    """
    out = np.full(BINS, np.inf)
    if levels >= BINS or not p.any():
        out[-1] = 0.0
        return out
    kept, ends = _groups(levels)
    total, last = p.sum(), p[kept - 1]
    outliers = total - np.cumsum(p)[kept - 1]
    outliers[-1] = 0.0
    mass = np.diff(_prefix(p)[ends], axis=1)
    occupied = np.diff(_prefix(p > 0)[ends], axis=1)
    entropy = _prefix(_xlogx(p))[kept] - _xlogx(last) + _xlogx(last + outliers)
    occupied[:, -1] += (last == 0) & (outliers > 0)
    inside = np.maximum(mass.sum(axis=1), _DUST)[:, None]
    q = (1 - SMOOTHING) * mass / (np.maximum(occupied, 1) * inside) + SMOOTHING / kept[:, None]
    mass[:, -1] += outliers
    cross = (mass * np.log(q)).sum(axis=1)
    divergence = (entropy - cross) / total - np.log(total)
    out[kept - 1] = np.where(np.cumsum(p)[kept - 1] > 0, np.maximum(divergence, 0.0), np.inf)
    return out


def _prefix(x: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(x)])


def _xlogx(x: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, x, 1.0))
