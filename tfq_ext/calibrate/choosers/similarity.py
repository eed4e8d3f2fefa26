"""The range whose fake-quantized tensor points most nearly the same way: cosine."""

from __future__ import annotations

import numpy as np

from tfq_ext.calibrate.choosers.entry import Distribution, bins_of, observed
from tfq_ext.numerics.bins import Bins, Grids
from tfq_ext.numerics.gridsearch import mean_error, mean_square, mean_square_of_codes, search
from tfq_ext.spec import QSpec, Range


def cosine(dist: Distribution, spec: QSpec) -> Range:
    """Minimise 1 - cos(x, Q(x)) among ranges whose MSE is no worse than min-max's.

    The cosine does not see a scale, so a range that shrinks every value alike would pass: the MSE
    bound shuts that out. EasyQuant searches [0.5, 2] times the absolute maximum in 100 steps on a
    layer's output; here it is the tensor itself, never beyond its extremes, both ends free.

    Source: EasyQuant 2006.16669.
    """
    full = observed(dist)
    unit = max(-full.min, full.max)
    bins = bins_of(dist).in_units(unit)
    bound = mean_error(bins, _grid(spec, full).in_units(unit))[0]

    def score(grids: Grids) -> np.ndarray:
        away, squared = _away(bins, grids.in_units(unit))
        return np.where(squared <= bound, away, np.inf)

    return search(full, spec, score)


def cosine_distance(dist: Distribution, spec: QSpec, kept: Range) -> float:
    """1 - cos(x, Q(x)) for a range; 0..2."""
    full = observed(dist)
    unit = max(-full.min, full.max)
    away, _ = _away(bins_of(dist).in_units(unit), _grid(spec, kept).in_units(unit))
    return float(away[0])


def _away(bins: Bins, grids: Grids) -> tuple[np.ndarray, np.ndarray]:
    """1 - cosine and mean squared error under each grid; float64[K] both.

    With X = E x^2, Y = E Q(x)^2 and D = E (x - Q(x))^2,
    `1 - cos = (D - (sqrt X - sqrt Y)^2) / (2 sqrt(X Y))`: the direct form would lose the 1e-5 that
    matters at 8 bits.
    """
    squared = mean_error(bins, grids)
    x, y = np.sqrt(mean_square(bins)), np.sqrt(np.maximum(mean_square_of_codes(bins, grids), 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (squared - (x - y) ** 2) / (2 * x * y)
    return np.where(y > 0, away, 1.0), squared


def _grid(spec: QSpec, r: Range) -> Grids:
    return Grids.of(spec, np.array([r.min]), np.array([r.max]))
