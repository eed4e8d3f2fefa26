"""Intervals: published values, coverage, and McNemar by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import paired_drop, wilson_interval


@pytest.mark.parametrize(("k", "n"), [(0, 10), (1, 10), (7, 10), (10, 10), (813, 1000), (2, 3)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_against_scipy(k, n, confidence):
    witness = binomtest(k, n).proportion_ci(confidence, method="wilson")
    ours = wilson_interval(k, n, confidence)
    assert ours == pytest.approx((witness.low, witness.high), abs=1e-12)


def test_wilson_without_trials_knows_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_contains_the_share_and_narrows():
    for n in (10, 100, 1000):
        lo, hi = wilson_interval(0.8 * n, n)
        assert lo < 0.8 < hi
    assert hi - lo < 0.06


@pytest.mark.parametrize(
    ("k", "n", "confidence"), [(-1, 5, 0.9), (6, 5, 0.9), (1, 5, 1), (1, 5, 0)]
)
def test_wilson_refuses(k, n, confidence):
    with pytest.raises(DataError):
        wilson_interval(k, n, confidence)


def _hits(both, lost, won, neither):
    reference = np.repeat([1.0, 1.0, 0.0, 0.0], [both, lost, won, neither])
    candidate = np.repeat([1.0, 0.0, 1.0, 0.0], [both, lost, won, neither])
    return reference, candidate


def test_drop_by_hand():
    result = paired_drop(*_hits(700, 30, 10, 260))
    assert result.drop == pytest.approx(0.02)
    # standard error of a paired difference: sqrt(lost + won - (lost - won)^2 / n) / n
    half = 1.96 * np.sqrt(40 - 20**2 / 1000) / 1000
    assert (result.lo, result.hi) == pytest.approx((0.02 - half, 0.02 + half), abs=0.0015)
    assert result.p_value == pytest.approx(binomtest(30, 40).pvalue)


def test_same_seed_same_interval_and_swapping_mirrors():
    reference, candidate = _hits(90, 8, 3, 20)
    forth, back = paired_drop(reference, candidate), paired_drop(candidate, reference)
    assert forth == paired_drop(reference, candidate)
    assert back.drop == -forth.drop
    assert (-back.hi, -back.lo) == pytest.approx((forth.lo, forth.hi), abs=0.01)


def test_no_difference_still_leaves_doubt():
    result = paired_drop(*_hits(80, 0, 0, 20))
    assert result.drop == 0
    assert result.p_value == 1
    assert -result.lo == result.hi == pytest.approx(3 / 100, rel=0.02)  # the rule of three


def test_coverage_is_near_nominal():
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(500):
        draw = rng.choice(4, size=400, p=[0.7, 0.06, 0.03, 0.21])
        reference, candidate = np.isin(draw, (0, 1)) * 1.0, np.isin(draw, (0, 2)) * 1.0
        result = paired_drop(reference, candidate, resamples=1000, seed=trial)
        inside += result.lo <= 0.03 <= result.hi
    assert 0.92 <= inside / 500 <= 0.985


def test_fractions_of_hits_are_allowed():
    result = paired_drop(np.array([1.0, 0.5, 1.0]), np.array([1.0, 0.25, 1 / 3]))
    assert result.drop == pytest.approx((0.25 + 2 / 3) / 3)
    assert result.lo <= result.drop <= result.hi


@pytest.mark.parametrize(("r", "c"), [(np.ones(3), np.ones(4)), (np.ones(0), np.ones(0))])
def test_rows_that_do_not_pair(r, c):
    with pytest.raises(DataError):
        paired_drop(r, c)
