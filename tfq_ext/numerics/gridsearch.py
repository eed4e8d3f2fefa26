"""Expected quantization error of a histogram in closed form, and a search for the range with least.

Values are taken as uniform inside a histogram bin. With `u = x / s`, `k(u) = clip(round(u), a, b)`
the nearest code (real 0 at code 0) and `d = u - k`, the error has the antiderivative

    F(u) = integral of |t - k(t)|^p from 0 to u = 2 k (1/2)^(p+1) / (p+1) + d |d|^p / (p+1)

which holds below one step, above one step and in the clipped tails alike, so a bin [lo, hi] costs
`s^p (F(hi/s) - F(lo/s)) / (hi/s - lo/s)` whatever its width is in codes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfq_ext.numerics.bins import F32_MAX, Bins, Grids
from tfq_ext.spec import QParams, QSpec, Range

NARROW = 1e-6  # bins relatively narrower are points: F(hi) - F(lo) would cancel

Score = Callable[[Grids], np.ndarray]


def mean_error(bins: Bins, grids: Grids, p: float = 2.0) -> np.ndarray:
    """Mean |x - Q(x)|^p under each grid; float64[K], in units of x to the p.

    The derivation is in the module's docstring. Bins below half a step of the finest grid become 0
    on all grids and are summed once.
    """
    outer = np.maximum(np.abs(bins.lo), np.abs(bins.hi))
    zeroed = outer <= grids.scale.min() / 2
    narrow = (bins.hi - bins.lo <= NARROW * outer) & ~zeroed
    wide = ~(zeroed | narrow)
    total = _power_sum(bins.take(zeroed), p) + np.zeros(len(grids.scale))
    if wide.any():
        total += _interval_errors(bins.take(wide), grids, p)
    if narrow.any():
        spikes = bins.take(narrow)
        _, d = _nearest((spikes.lo + spikes.hi) / 2, grids)
        total += _weighted(_abs_power(d, p), spikes.counts) * grids.scale**p
    return total / bins.total


def mean_square_of_codes(bins: Bins, grids: Grids) -> np.ndarray:
    """Mean Q(x)^2 under each grid; float64[K], in units of x squared.

    The antiderivative of k(t)^2 is, for u >= 0 and odd in u,
    `1 + 4 + .. + (k-1)^2 + k^2 (u - k + 1/2)`.
    """
    edges, weights, spikes = _edges(bins, NARROW)
    total = np.zeros(len(grids.scale))
    if len(edges):
        k, d = _nearest(edges, grids)
        sign, k = np.sign(edges), np.abs(k)
        primitive = sign * ((k - 1) * k * (2 * k - 1) / 6 + k * k * (d * sign + 0.5))
        total += _weighted(primitive, weights) * grids.scale**3
    if len(spikes.counts):
        k, _ = _nearest((spikes.lo + spikes.hi) / 2, grids)
        total += _weighted(k * k, spikes.counts) * grids.scale**2
    return total / bins.total


def mean_square(bins: Bins) -> float:
    """Mean x^2, in units of x squared."""
    squares = (bins.lo**2 + bins.lo * bins.hi + bins.hi**2) / 3
    return float((bins.counts * squares).sum()) / bins.total


def expected_error(
    values: np.ndarray,
    counts: np.ndarray,
    qparams: QParams,
    p: float = 2.0,
    *,
    lo: float = -F32_MAX,
    hi: float = F32_MAX,
) -> float:
    """Mean |x - Q(x)|^p of a histogram under one grid, in units of x to the p.

    Args:
        values: float64[n], centers as `Histogram.values()` gives them.
        counts: int64[n].
        qparams: the per-tensor grid.
        p: exponent; 2 for the mean squared error.
        lo, hi: the exact extremes where known. Without them a clamp's spike (6.0 of ReLU6) is
            spread over its bin, beyond the range, and 16-bit errors come out far too high.
    """
    return float(mean_error(Bins.of(values, counts, lo=lo, hi=hi), Grids.one(qparams), p)[0])


def _nearest(x: np.ndarray, grids: Grids) -> tuple[np.ndarray, np.ndarray]:
    """Code k(u) and u - k(u), both [K, n], of reals x[n]; a tie costs the same either way."""
    u = x[None, :] / grids.scale[:, None]
    k = np.clip(np.rint(u), grids.a[:, None], grids.b[:, None])
    return k, u - k


def _abs_power(d: np.ndarray, p: float) -> np.ndarray:
    return d * d if p == 2 else np.abs(d) ** p


def _weighted(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Row sums; not BLAS, whose order of summation depends on threads."""
    return (rows * weights).sum(axis=1)


def _edges(bins: Bins, narrow: float) -> tuple[np.ndarray, np.ndarray, Bins]:
    """Bin ends e, weights g with sum c (F(hi) - F(lo)) / w = sum g F(e), and the spikes."""
    width = bins.hi - bins.lo
    spike = width <= narrow * np.maximum(np.abs(bins.lo), np.abs(bins.hi))
    wide = bins.take(~spike)
    density = wide.counts / width[~spike]
    edges, where = np.unique(np.concatenate([wide.lo, wide.hi]), return_inverse=True)
    weights = np.bincount(where, np.concatenate([-density, density]), minlength=len(edges))
    return edges, weights, bins.take(spike)


def _interval_errors(wide: Bins, grids: Grids, p: float) -> np.ndarray:
    """Sum over bins of count times mean |x - Q(x)|^p; float64[K]."""
    edges, weights, _ = _edges(wide, 0.0)
    k, d = _nearest(edges, grids)
    primitive = k * 0.5**p + d * _abs_power(d, p)
    return _weighted(primitive, weights) * grids.scale ** (p + 1) / (p + 1)


def _power_sum(bins: Bins, p: float) -> float:
    """Sum over bins of count times mean |x|^p, for bins that do not straddle 0."""
    bins = bins.magnitudes()
    width = bins.hi - bins.lo
    spike = width <= NARROW * bins.hi
    over = bins.hi ** (p + 1) - bins.lo ** (p + 1)
    mean = np.divide(over, (p + 1) * width, out=bins.hi**p, where=~spike)
    return float((bins.counts * mean).sum())


def shrunk(observed: Range, spec: QSpec, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranges inside `observed`, ends rounded to float32, in which a flatbuffer keeps them.

    Args:
        observed: exact min and max.
        spec: symmetric grids are cut on |x|, others at each end.
        factors: float64[K, 2], the share kept below and above zero, in (0, 1].

    Returns:
        float64[K] lower and float64[K] upper ends.
    """
    if spec.symmetric:
        bound = factors[:, 1] * max(-observed.min, observed.max)
        lo, hi = np.maximum(observed.min, -bound), np.minimum(observed.max, bound)
    else:
        lo, hi = factors[:, 0] * observed.min, factors[:, 1] * observed.max
    return lo.astype(np.float32).astype(np.float64), hi.astype(np.float32).astype(np.float64)


def search(observed: Range, spec: QSpec, score: Score) -> Range:
    """The range inside `observed` whose nudged grid has the least score; `observed` wins ties.

    Geometric steps from coarse to fine: over both ends where an asymmetric grid has values on
    both sides of zero, else over one bound. Deterministic; scales exactly with powers of two.

    Args:
        observed: exact min and max of the tensor.
        spec: the grid's codes.
        score: lower is better, vectorised over grids.
    """
    both = not spec.symmetric and observed.min < 0 < observed.max
    best, least, chosen = np.ones(2), np.inf, observed
    for steps in _ROUNDS_2D if both else _ROUNDS_1D:
        offsets = np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2) if both else steps
        factors = np.minimum(best * offsets.reshape(-1, 2 if both else 1), 1.0)
        factors = np.broadcast_to(factors, (len(factors), 2))
        lo, hi = shrunk(observed, spec, factors)
        scores = score(Grids.of(spec, lo, hi))
        i = int(np.argmin(scores))
        if scores[i] < least:
            best, least, chosen = factors[i], scores[i], Range(float(lo[i]), float(hi[i]))
    return chosen


def _around(ratio: float, n: int) -> np.ndarray:
    return ratio ** np.linspace(1.0, -1.0, n)


# First round: shares kept from 1 down to 1e-3 (one bound) or 0.02 (each end); then around the best.
_ROUNDS_1D = [0.8 ** np.arange(31), _around(0.8, 13), _around(0.965, 13)]
_ROUNDS_2D = [0.65 ** np.arange(10), _around(0.65, 7), _around(0.85, 5), _around(0.94, 5)]
