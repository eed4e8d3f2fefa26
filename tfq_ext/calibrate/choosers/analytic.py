"""Ranges from formulas: aciq (a fitted Gauss or Laplace) and octav (Newton on the histogram)."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tfq_ext.calibrate.choosers.entry import Distribution, bins_of, clipped, observed
from tfq_ext.numerics.bins import Bins
from tfq_ext.numerics.gridsearch import mean_square
from tfq_ext.spec import QSpec, Range

ITERATIONS = 100
TOLERANCE = 1e-9


def _gauss_tail(a: float) -> float:
    density = math.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    return density - a * math.erfc(a / math.sqrt(2)) / 2


def _laplace_tail(a: float) -> float:
    return math.exp(-a) / 2


_TAILS = {"gauss": _gauss_tail, "laplace": _laplace_tail}  # integral from a of (x - a) f(x) dx


@lru_cache(maxsize=64)
def aciq_constant(shape: str, bits: int) -> float:
    """The clip that minimises clipping plus rounding noise, in sigma ("gauss") or b ("laplace").

    The minimum of `2 integral from a of (x - a)^2 f(x) dx + a^2 / (3 4^bits)`, hence the root of
    `2 integral from a of (x - a) f(x) dx = a / (3 4^bits)`, by bisection.

    Source: Banner et al. 1810.05723 (ACIQ); its constants for 2 to 8 bits come out (tested).
    """
    lo, hi, tail = 0.0, 64.0, _TAILS[shape]
    for _ in range(80):
        a = (lo + hi) / 2
        lo, hi = (a, hi) if 2 * tail(a) > a / (3 * 4.0**bits) else (lo, a)
    return (lo + hi) / 2


def aciq(dist: Distribution, spec: QSpec) -> Range:
    """mu -/+ alpha for the likelier of Gauss and Laplace.

    Values on one side of zero only (after ReLU) are taken as half of a distribution around 0:
    exact zeros are left out, and a zero-pointed grid counts for one bit more.

    Source: Banner et al. 1810.05723 (ACIQ). We choose the shape by likelihood.
    """
    full = observed(dist)
    bins, half = bins_of(dist), full.min == 0 or full.max == 0
    center = 0.0 if half or spec.symmetric else _mean(bins)
    if half:
        bins = bins.magnitudes()
    shape, width = _fit(bins, center)
    bits = spec.bits + (half and not spec.symmetric)
    alpha = aciq_constant(shape, bits) * width
    return clipped(dist, center - alpha, center + alpha)


def _middle(bins: Bins) -> np.ndarray:
    return (bins.lo + bins.hi) / 2


def _fit(bins: Bins, center: float) -> tuple[str, float]:
    """The shape of greater likelihood and its width: sigma, or b = E|x - center|."""
    unit = max(float(np.max(np.abs([bins.lo, bins.hi]))), np.finfo(np.float64).tiny)
    moved = Bins((bins.lo - center) / unit, (bins.hi - center) / unit, bins.counts)
    sigma = float(np.sqrt(mean_square(moved)))
    b = float((moved.counts * np.abs(_middle(moved))).sum()) / moved.total
    # log likelihoods: -log(2 pi e sigma^2) / 2 against -log(2 e b), so equal at b / sigma = 0.760
    gauss = b > np.sqrt(np.pi / (2 * np.e)) * sigma
    return ("gauss", sigma * unit) if gauss else ("laplace", b * unit)


def octav_step(s: float, bins: Bins, noise: float) -> float:
    """One Newton step: `sum |x| [|x| > s] / (noise #{0 < |x| <= s} + #{|x| > s})`.

    Args:
        s: clip on |x|.
        bins: of |x|, zeros left out.
        noise: 4^-B / 3, or 4^-B / 12 for unsigned values.
    """
    above = bins.counts * _share_above(s, bins)
    moment = float((above * (np.maximum(bins.lo, s) + bins.hi) / 2).sum())
    outside = float(above.sum())
    return moment / (noise * (bins.total - outside) + outside)


def octav(dist: Distribution, spec: QSpec) -> Range:
    """Newton's iteration for the MSE-optimal clip of |x|; min-max if that is no worse.

    The paper iterates on the tensor; we on its histogram, values uniform inside a bin. Exact zeros
    cost nothing on any grid and are left out.

    Source: Sakr et al. 2206.06501 (OCTAV).
    """
    full = observed(dist)
    top = max(-full.min, full.max)
    bins = bins_of(dist).magnitudes().in_units(top)
    noise, s = _noise(spec, full), _mean(bins)  # the paper starts at E|x|
    for _ in range(ITERATIONS):
        before, s = s, octav_step(s, bins, noise)
        if abs(s - before) <= TOLERANCE * s:
            break
    if _octav_error(s, bins, noise) >= _octav_error(1.0, bins, noise):
        return full
    return clipped(dist, -s * top, s * top)


def octav_error(dist: Distribution, spec: QSpec, kept: Range) -> float:
    """Clipping plus rounding noise for a range, in units of (largest |x|) squared."""
    full = observed(dist)
    top = max(-full.min, full.max)
    bins = bins_of(dist).magnitudes().in_units(top)
    return _octav_error(max(-kept.min, kept.max) / top, bins, _noise(spec, full))


def _octav_error(s: float, bins: Bins, noise: float) -> float:
    share = _share_above(s, bins)
    near, far = np.maximum(bins.lo - s, 0), np.maximum(bins.hi - s, 0)
    clipping = share * (near * near + near * far + far * far) / 3
    return float((bins.counts * (clipping + (1 - share) * noise * s * s)).sum()) / bins.total


def _share_above(s: float, bins: Bins) -> np.ndarray:
    """Part of each bin beyond `s`; 0 or 1 for spikes."""
    width = bins.hi - bins.lo
    spike = (bins.hi > s).astype(np.float64)
    return np.clip(np.divide(bins.hi - s, width, out=spike, where=width > 0), 0, 1)


def _noise(spec: QSpec, full: Range) -> float:
    unsigned = not spec.symmetric and (full.min == 0 or full.max == 0)
    return 4.0**-spec.bits / (12 if unsigned else 3)


def _mean(bins: Bins) -> float:
    return float((bins.counts * _middle(bins)).sum()) / bins.total
