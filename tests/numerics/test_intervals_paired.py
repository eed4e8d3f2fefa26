"""Intervals for few changes, for repeated looks, and resamples: closed forms and coverage."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import (
    FEW_CHANGES,
    cautious_drop,
    chernoff_interval,
    detectable_drop,
    paired_drop,
    paired_interval,
    percentile_interval,
    resampled_sums,
)


def _hits(n, lost, won):
    reference, candidate = np.ones(n), np.ones(n)
    candidate[:lost] = 0
    reference[lost : lost + won] = 0
    return reference, candidate


def test_few_changes_widen_and_many_do_not():
    few, plain = (f(*_hits(1000, 3, 0)) for f in (paired_interval, paired_drop))
    assert plain.lo == 0.0 > few.lo  # p = 0.25: zero must lie inside
    assert (few.drop, few.p_value) == (plain.drop, plain.p_value)
    many = _hits(1000, FEW_CHANGES, 0)
    assert paired_interval(*many) == paired_drop(*many)


def test_bonett_price_by_hand():
    p, q, n = 4 / 1002, 1 / 1002, 1002
    half = 1.959964 * np.sqrt((p + q - (p - q) ** 2) / n)
    assert paired_interval(*_hits(1000, 3, 0)).lo == pytest.approx(p - q - half, rel=1e-5)


def test_ends_are_plain_floats():
    found = paired_interval(*_hits(1000, 3, 0))  # numpy's print as np.float64(...) in reports
    assert [type(end) for end in (found.drop, found.lo, found.hi)] == [float] * 3


def test_one_sample_decides_nothing():
    found = paired_interval(np.array([1.0]), np.array([0.0]))
    assert found.drop == 1.0
    assert found.lo < 0.0
    assert found.hi == 1.0


def test_coverage_with_few_changes():
    rng, inside = np.random.default_rng(1), 0
    for seed in range(300):
        lost, won = rng.binomial(300, [0.02, 0.01])
        found = paired_interval(*_hits(300, lost, won), seed=seed)
        inside += found.lo <= 0.01 <= found.hi
    assert inside / 300 >= 0.93


@pytest.mark.parametrize(("k", "n"), [(0, 50), (5, 50), (50, 50), (7.5, 20)])
def test_chernoff_holds_the_exact_interval(k, n):
    lo, hi = chernoff_interval(k, n, 0.05)
    assert lo <= k / n <= hi
    if k == int(k):
        exact = binomtest(int(k), n).proportion_ci(0.95, method="exact")
        assert lo <= exact.low + 1e-12
        assert hi >= exact.high - 1e-12


def test_chernoff_closed_form_without_hits():
    assert chernoff_interval(0, 50, 0.05) == (0.0, pytest.approx(1 - (0.05 / 2) ** (1 / 50)))


def test_chernoff_never_errs_more_than_promised():
    for p in (0.01, 0.3, 0.9):
        missed = sum(
            binom.pmf(k, 80, p)
            for k in range(81)
            if not chernoff_interval(k, 80, 0.1)[0] <= p <= chernoff_interval(k, 80, 0.1)[1]
        )
        assert missed <= 0.1


def test_cautious_is_wider_than_paired():
    hits = _hits(1000, 60, 20)
    cautious, paired = cautious_drop(*hits, 0.05), paired_interval(*hits)
    assert cautious.lo < paired.lo < paired.drop == cautious.drop < paired.hi < cautious.hi


def test_detectable_drop():
    assert detectable_drop(1000, 0.05) == pytest.approx(
        (1.959964 + 0.841621) * (0.05 / 1000) ** 0.5
    )
    assert detectable_drop(100) == pytest.approx(1 - 0.05**0.01)
    assert detectable_drop(1) == pytest.approx(0.95)
    assert detectable_drop(4000, 0.05) == pytest.approx(detectable_drop(1000, 0.05) / 2)


def test_resampled_sums():
    values = np.random.default_rng(0).normal(size=(200, 2))
    sums = resampled_sums(values, seed=3)
    assert sums.shape == (2000, 2)
    assert np.array_equal(sums, resampled_sums(values, seed=3))
    # standard error of a sum of n draws: sqrt(n) times the spread
    assert sums.std(axis=0) == pytest.approx(values.std(axis=0) * 200**0.5, rel=0.06)
    assert resampled_sums(np.ones((5, 1))).tolist() == [[5.0]] * 2000
    assert len(resampled_sums(np.ones((200_000, 1)))) == 500


def test_percentiles():
    assert percentile_interval(np.arange(1001.0)) == (25.0, 975.0)
    assert percentile_interval(np.array([np.nan, 1.0, 1.0])) == (1.0, 1.0)
    assert percentile_interval(np.array([np.nan])) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    "call",
    [
        lambda: chernoff_interval(6, 5, 0.05),
        lambda: chernoff_interval(0, 0, 0.05),
        lambda: chernoff_interval(1, 5, 0.0),
        lambda: cautious_drop(np.ones(2), np.ones(3), 0.05),
        lambda: detectable_drop(0),
        lambda: detectable_drop(10, 1.5),
    ],
)
def test_refusals(call):
    with pytest.raises(DataError):
        call()
