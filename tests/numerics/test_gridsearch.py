"""Expected errors of a histogram against the real errors of the raw values."""

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics.bins import Bins, Grids
from tfq_ext.numerics.gridsearch import (
    expected_error,
    mean_error,
    mean_square,
    mean_square_of_codes,
    search,
    shrunk,
)
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, QSpec, Range

SPECS = [INT8_ACTIVATION, INT16_ACTIVATION, QSpec(8, narrow=True), QSpec(4, symmetric=False)]
RNG = np.random.default_rng(11)
NORMAL = RNG.normal(size=300_000)
DATA = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "relu6": np.clip(3 * NORMAL, 0, 6),
    "laplace": RNG.laplace(size=300_000),
    "swish": 3 * NORMAL / (1 + np.exp(-3 * NORMAL)),
}
DATA = {name: x.astype(np.float32) for name, x in DATA.items()}


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("p", [1.0, 2.0, 2.4])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.11])
def test_expected_error_is_the_real_one_within_one_percent(name, spec, p, share):
    x = DATA[name]
    lo, hi = float(x.min()), float(x.max())
    grid = QParams.from_range(spec, Range.of(lo, hi).scaled(share))
    # float64 throughout: at 16 bits float32 rounding is no longer small against the error
    s, z = float(grid.scale), int(grid.zero_point)
    back = s * (np.clip(np.rint(x / np.float64(s)) + z, spec.qmin, spec.qmax) - z)
    real = np.mean(np.abs(x.astype(np.float64) - back) ** p)
    values, counts = Histogram.of(x).values()
    assert expected_error(values, counts, grid, p, lo=lo, hi=hi) == pytest.approx(real, rel=0.01)


def test_points_cost_their_exact_distance():
    grid = QParams(QSpec(4), 1.0)
    bins = Bins(*np.float64([[0.5, 3.25, 9.0], [0.5, 3.25, 9.0], [1, 1, 2]]))
    assert mean_error(bins, Grids.one(grid))[0] == pytest.approx((0.25 + 0.0625 + 2 * 4) / 4)


@pytest.mark.parametrize("ends", [(0.1, 0.3), (0.3, 1.9), (2.0, 2.01), (6.9, 40.0), (-90.0, -3.0)])
@pytest.mark.parametrize("p", [1.0, 2.0, 3.3])
def test_one_interval_against_a_fine_sum(ends, p):
    grid = QParams(INT8_ACTIVATION, 0.7, 100)  # covers -159.6 .. 18.9
    x = np.linspace(*ends, 2_000_001)
    x = (x[1:] + x[:-1]) / 2
    s = float(grid.scale)
    slow = np.abs(x - s * (np.clip(np.rint(x / s) + 100, -128, 127) - 100))
    bins = Bins(*(np.array([v]) for v in (*ends, 1.0)))
    assert mean_error(bins, Grids.one(grid), p)[0] == pytest.approx(np.mean(slow**p), rel=1e-5)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_grids_are_those_of_from_range(spec):
    lo = np.concatenate([-RNG.exponential(size=300), [0, 0, -5, -1e-30, -1.6e38]])
    hi = np.concatenate([RNG.exponential(size=300), [0, 7, 0, 1e-30, 1.6e38]])
    grids = Grids.of(spec, lo, hi)
    for i in range(len(lo)):
        one = Grids.one(QParams.from_range(spec, Range(lo[i], hi[i])))
        assert (grids.scale[i], grids.a[i], grids.b[i]) == (one.scale[0], one.a[0], one.b[0])


def test_grids_refuse_an_axis():
    with pytest.raises(SpecError, match="axis=3"):
        Grids.of(QSpec(8, axis=3), np.zeros(1), np.ones(1))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", DATA)
def test_mean_squares(spec, name):
    x = DATA[name]
    bins = Bins.of(*Histogram.of(x).values(), lo=float(x.min()), hi=float(x.max()))
    grid = QParams.from_range(spec, Range.of(x.min(), x.max()).scaled(0.5))
    codes = np.mean(grid.fake_quant(x).astype(np.float64) ** 2)
    assert mean_square(bins) == pytest.approx(np.mean(x.astype(np.float64) ** 2), rel=1e-3)
    assert mean_square_of_codes(bins, Grids.one(grid))[0] == pytest.approx(codes, rel=2e-3)


def test_bins_hold_their_values_and_nothing_between():
    x = np.float32([-7.3, -1e-20, 0.0, 1e-41, 0.1, 6.0])
    bins = Bins.of(*Histogram.of(x).values(), lo=-7.3, hi=6.0)
    for value in np.sort(x[x != np.float32(1e-41)]):
        assert ((bins.lo <= value + 1e-6) & (value <= bins.hi + 1e-6)).any()
    zero = bins.lo == 0
    assert bins.hi[zero] == 0  # denormals count as zero
    assert bins.counts[zero] == 2
    assert bins.lo[-1] == bins.hi[-1] == 6.0  # a spike at the maximum is cut to a point


def test_search_keeps_the_observed_range_on_ties():
    full = Range(-1.5, 2.25)
    for spec in SPECS:
        assert search(full, spec, lambda grids: np.zeros(len(grids.scale))) == full


def test_search_finds_a_corner_on_both_ends():
    full, spec = Range(-8.0, 8.0), INT8_ACTIVATION

    def score(grids):
        return np.abs(grids.scale * grids.b - 1.3) + np.abs(grids.scale * grids.a + 5.1)

    found = search(full, spec, score)
    assert found.max == pytest.approx(1.3, rel=0.05)
    assert found.min == pytest.approx(-5.1, rel=0.05)


def test_shrunk_symmetric_cuts_the_bound_and_never_widens():
    factors = np.array([[1.0, 1.0], [1.0, 0.5], [1.0, 0.05]])
    lo, hi = shrunk(Range(-1.0, 10.0), QSpec(8), factors)
    assert lo.tolist() == [-1.0, -1.0, -0.5]
    assert hi.tolist() == [10.0, 5.0, 0.5]
