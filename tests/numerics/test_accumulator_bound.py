"""The bounds hold for the worst input, one more breaks them, and wrapping changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics import accumulator_bound as a

CASES = [(16, 8, False), (16, 8, True), (12, 4, False), (14, 6, True), (20, 9, True)]
every_case = pytest.mark.parametrize(("bits", "n", "signed"), CASES)


def limit(bits: int) -> int:
    return 2 ** (bits - 1) - 1


@every_case
def test_weights_within_the_bound_survive_their_worst_input(bits, n, signed):
    rng = np.random.default_rng(0)
    bound = int(a.l1_bound(bits, n, signed=signed))
    inputs = a.Inputs.of(n, signed=signed)
    codes = np.zeros((64, 200), np.int64)
    for c in range(200):  # spend the whole bound, one at a time
        for k in rng.integers(0, 64, bound):
            codes[k, c] += rng.choice([-1, 1]) if codes[k, c] == 0 else np.sign(codes[k, c])
    assert np.all(np.abs(codes).sum(axis=0) <= bound)
    for sign in (1, -1):
        total = (sign * codes * a.worst_input(sign * codes, inputs)).sum(axis=0)
        assert total.max() <= limit(bits)
    assert np.all(a.fits(codes, inputs, bits))
    assert np.all(np.abs(np.stack(a.extremes(codes, inputs))) <= limit(bits))


@every_case
def test_the_bound_is_tight(bits, n, signed):
    """At the bound all is well; a channel of one sign with one step more overflows.

    For unsigned inputs A2Q divides by 2^N where the largest is 2^N - 1: a share of 2^-N early.
    """
    inputs = a.Inputs.of(n, signed=signed)
    largest = max(inputs.hi, -inputs.lo)
    exact = limit(bits) // largest
    early = 0 if signed else exact / 2**n + 1
    assert exact - early <= int(a.l1_bound(bits, n, signed=signed)) <= exact
    sign = -1 if signed else 1
    assert a.fits(np.full((exact, 1), sign), inputs, bits).all()
    assert not a.fits(np.full((exact + 1, 1), sign), inputs, bits).any()


@pytest.mark.parametrize(("bits", "n"), [(12, 4), (16, 8)])
def test_centered_weights_may_be_twice_as_large(bits, n):
    bound = a.centered_bound(bits, n)
    half = int(bound / 2)
    codes = np.concatenate([np.full((half, 1), 1), np.full((half, 1), -1)])
    inputs = a.Inputs.of(n, signed=False)
    assert a.fits(codes, inputs, bits).all()
    assert not a.fits(np.concatenate([codes, [[1]]]), inputs, bits).any()
    assert 1.9 < bound / a.l1_bound(bits, n, signed=False) < 2.2


def test_extremes_are_those_of_all_inputs():
    """Brute force over every input of three 2-bit integers."""
    rng = np.random.default_rng(1)
    for inputs in (a.Inputs(0, 3), a.Inputs(-2, 1), a.Inputs(-3, 0)):
        codes = rng.integers(-7, 8, (3, 20))
        values = np.arange(inputs.lo, inputs.hi + 1)
        grid = np.stack(np.meshgrid(values, values, values), -1).reshape(-1, 3)
        sums = grid @ codes
        lo, hi = a.extremes(codes, inputs)
        np.testing.assert_array_equal(lo, sums.min(axis=0))
        np.testing.assert_array_equal(hi, sums.max(axis=0))


def test_needed_bits_are_enough_and_one_less_is_not():
    rng = np.random.default_rng(2)
    codes = rng.integers(-127, 128, (50, 300))
    inputs = a.Inputs.behind(zero_point=-17)
    bits = a.needed_bits(codes, inputs)
    lo, hi = a.extremes(codes, inputs)
    worst = np.maximum(-lo, hi)
    assert np.all(worst <= 2 ** (bits - 1) - 1)
    assert np.all(worst > 2 ** (bits - 2) - 1)
    assert a.needed_bits(np.zeros((4, 1), int), inputs).tolist() == [1]


def test_inputs_behind_a_zero_point_are_what_litert_multiplies():
    assert (a.Inputs.behind(-128).lo, a.Inputs.behind(-128).hi) == (0, 255)
    assert (a.Inputs.behind(0).lo, a.Inputs.behind(0).hi) == (-128, 127)
    assert (a.Inputs.behind(127).lo, a.Inputs.behind(127).hi) == (-255, 0)


def test_a_wrapping_accumulator_ends_right_where_the_final_sum_fits():
    """Every partial sum of weights within the bound fits too, so nothing wraps on the way."""
    rng = np.random.default_rng(3)
    codes = rng.integers(-3, 4, (30, 40))
    inputs = a.Inputs.of(4, signed=True)
    bits = int(a.needed_bits(codes, inputs).max())
    x = rng.integers(inputs.lo, inputs.hi + 1, (500, 30))
    held = np.zeros((500, 40), np.int64)
    for k in range(30):
        held = a.wrapped(held + x[:, k, None] * codes[k], bits)
    np.testing.assert_array_equal(held, x @ codes)
    small = np.zeros((500, 40), np.int64)
    for k in range(30):
        small = a.wrapped(small + x[:, k, None] * codes[k], 6)
    assert np.any(small != x @ codes)


@pytest.mark.parametrize("k", [1, 9, 64, 1152])
@pytest.mark.parametrize("m", [4, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_the_data_type_bound_covers_every_weight(k, m, signed):
    """2^(M-1) in magnitude everywhere: enough bits, and at most one bit more than needed."""
    worst = np.full((k, 1), -(2 ** (m - 1)))
    needed = int(a.needed_bits(worst, a.Inputs.of(8, signed=signed))[0])
    assert needed <= a.data_type_bits(k, 8, m, signed=signed) <= needed + 1


def test_projection_is_the_nearest_point_of_the_ball():
    rng = np.random.default_rng(4)
    rows, radius = rng.normal(size=(30, 12)), rng.uniform(0.5, 20, 30)
    got = a.project_l1(rows, radius)
    norms = np.abs(got).sum(axis=1)
    assert np.all(norms <= radius + 1e-9)
    small = np.abs(rows).sum(axis=1) <= radius
    assert small.any()
    assert not small.all()
    np.testing.assert_allclose(got[small], rows[small])
    for _ in range(300):  # no other point of the ball is nearer
        other = rng.normal(size=rows.shape)
        other *= (radius * rng.uniform(0, 1, 30) / np.abs(other).sum(axis=1))[:, None]
        assert np.all(
            np.square(got - rows).sum(axis=1) <= np.square(other - rows).sum(axis=1) + 1e-9
        )


def test_inputs_that_cannot_be_zero_are_refused():
    with pytest.raises(SpecError, match="able to be 0"):
        a.Inputs(1, 3)
