"""Exact sums and moments against math.fsum, fractions and integers."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfq_ext.errors import StatsError
from tfq_ext.numerics import exact
from tfq_ext.numerics.exact import SQUARES, SUMS, Adder, ExactSum, Grid, carried
from tfq_ext.numerics.moments import Moments, merge_moments
from tfq_ext.numerics.scan import LANES, STRIDE, scan

FINITE32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
BIG = float(np.finfo(np.float32).max)


def total(terms, grid=SUMS):
    adder = Adder(1, grid)
    for term in terms:
        adder.add(np.array([term], np.float64))
    return adder.freeze()


@given(st.lists(FINITE32, max_size=50))
def test_a_sum_is_fsum_whatever_cancels(terms):
    assert total(terms).total().tolist() == [math.fsum(terms)]


@given(st.lists(FINITE32, max_size=50))
def test_squares_are_those_of_fractions(terms):
    s = total([t * t for t in terms], SQUARES)
    assert s.integers() == [sum(Fraction(t) ** 2 for t in terms) * 2**298]


@given(st.lists(FINITE32, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_grouping_change_no_limb(terms, random, cut):
    shuffled = random.sample(terms, len(terms))
    assert total(shuffled) == total(terms)
    assert total(terms[:cut]) + total(terms[cut:]) == total(terms)


@pytest.mark.parametrize(
    "terms",
    [
        [2.0**-149],
        [-(2.0**-149)],
        [BIG, -BIG],
        [BIG, 2.0**-149, -BIG],
        [1e300**0, -0.0],
        [2.0**190],
        [-(2.0**190), 1.0],
        [float(2**53 - 1)] * 5,
        [-1.0, 2.0**-149],
    ],
)
def test_edges(terms):
    assert total(terms).total().tolist() == [math.fsum(terms)]


@pytest.mark.parametrize("grid", [SUMS, SQUARES])
def test_the_grid_holds_its_own_ends(grid):
    largest = math.nextafter(2.0**grid.high, 0)
    ends = total([largest, -(2.0**grid.low)], grid)
    assert Fraction(ends.integers()[0]) == (Fraction(largest) - Fraction(2) ** grid.low) / (
        Fraction(2) ** grid.low
    )


@pytest.mark.parametrize("term", [np.inf, -np.inf, np.nan, 2.0**-150, 1 + 2.0**-52, 1e300])
def test_what_the_grid_does_not_hold_is_refused(term):
    adder = Adder(1, Grid(-51, 20) if term == 1 + 2.0**-52 else SUMS)
    with pytest.raises(StatsError, match="exactly"):
        adder.add(np.array([term]))


def test_carries_are_propagated_in_time(monkeypatch):
    monkeypatch.setattr(exact, "_CALLS_BEFORE_CARRY", 3)
    terms = [BIG, -1.5, 2.0**-149, -BIG, 3.0, -7.25, 1e-30]
    assert total(terms).total().tolist() == [math.fsum(terms)]


def test_channels_do_not_mix():
    values = np.array([[1.5, -(2.0**100), 0.0], [2.0**-140, 2.0**100, -3.0]])
    s = ExactSum.of(values[0], SUMS) + ExactSum.of(values[1], SUMS)
    assert s.total().tolist() == [math.fsum(column) for column in values.T]


def test_limbs_must_be_canonical():
    limbs = np.zeros((SUMS.limbs, 1), np.int64)
    limbs[0] = -1
    with pytest.raises(StatsError, match="canonical"):
        ExactSum(SUMS, limbs)
    assert ExactSum(SUMS, carried(limbs)).integers() == [-1]


def test_sums_of_other_channels_or_grids_do_not_add():
    with pytest.raises(StatsError):
        ExactSum.zeros(2, SUMS) + ExactSum.zeros(3, SUMS)
    with pytest.raises(StatsError):
        ExactSum.zeros(2, SUMS) + ExactSum.zeros(2, SQUARES)


def moments(x):
    """One term per row of x float64[N, C]."""
    sums, squares = Adder(x.shape[1], SUMS), Adder(x.shape[1], SQUARES)
    for row in x:
        sums.add(row)
        squares.add(row * row)
    return Moments(np.full(x.shape[1], len(x)), sums.freeze(), squares.freeze())


@settings(max_examples=50)
@given(st.lists(FINITE32, min_size=1, max_size=20))
def test_mean_and_variance_are_rounded_once(terms):
    m = moments(np.array(terms, np.float64)[:, None])
    values = [Fraction(t) for t in terms]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    assert m.mean.tolist() == [float(mean)]
    assert m.variance.tolist() == [float(variance)]


def test_variance_survives_a_mean_a_million_times_larger():
    x = 1e6 + np.array([[-0.25], [0.25]])
    assert moments(x).variance.tolist() == [0.0625]


def test_a_channel_without_values_has_no_mean():
    m = Moments(np.zeros(1, np.int64), ExactSum.zeros(1, SUMS), ExactSum.zeros(1, SQUARES))
    assert np.isnan(m.mean).all()
    assert np.isnan(m.variance).all()


def test_channels_that_vary_absorb_and_nothing_seen_is_neutral():
    two, three = moments(np.ones((1, 2))), moments(np.ones((1, 3)))
    assert merge_moments(two, three) is None
    assert merge_moments(None, two) is None
    assert merge_moments(two, None) is None
    assert merge_moments(Moments.empty(), two) == two
    assert merge_moments(two, Moments.empty()) == two


SHAPES = [(1, 1), (63, 1), (64, 1), (1000, 1), (7, 3), (4097, 2), (5, 63), (9, 64), (9, 65)]
SHAPES += [(1, 1280), (3, 1280), (49, 1280), (6, 5000), (1, 16384), (300, 24), (1111, 7)]
SHAPES += [(2501, 24), (60_003, 1)]  # enough for all lanes of counters


@pytest.mark.parametrize(("rows", "channels"), SHAPES)
def test_the_pass_counts_every_element_once_at_every_shape(rows, channels):
    """Small integers: their float sums are exact, so a lost or doubled element shows."""
    x = np.random.default_rng(rows).integers(-99, 100, (rows, channels))
    counts = np.zeros((LANES, STRIDE), np.uint32)
    sums, squares = np.full(channels, 7.0), np.full(channels, 7.0)
    lo, hi, bad = scan(x.astype(np.float32).reshape(-1), counts, sums, squares)
    assert (lo, hi, bad) == (x.min(), x.max(), 0)
    assert sums.tolist() == x.sum(axis=0).tolist()
    assert squares.tolist() == (x * x).sum(axis=0).tolist()
    expected = np.bincount(x.astype(np.float32).reshape(-1).view(np.uint32) >> 16, minlength=65536)
    np.testing.assert_array_equal(counts.sum(axis=0)[:65536], expected)


@pytest.mark.parametrize(("rows", "channels"), [(10_000, 3), (257, 96), (12_544, 1)])
def test_the_pass_sums_to_float64_accuracy(rows, channels):
    x = np.random.default_rng(1).normal(3, 1, (rows, channels)).astype(np.float32)
    sums, squares = np.zeros(channels), np.zeros(channels)
    scan(x.reshape(-1), np.zeros((LANES, STRIDE), np.uint32), sums, squares)
    for c in range(channels):
        column = x[:, c].tolist()
        # a float64 sum of n terms is off by at most n 2^-53 of the sum of magnitudes
        size = math.fsum(map(abs, column))
        assert abs(sums[c] - math.fsum(column)) <= rows * 2.0**-53 * size
        assert squares[c] == pytest.approx(math.fsum(v * v for v in column), rel=rows * 2.0**-53)
