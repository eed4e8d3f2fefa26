"""Fixed-point products against the C code written out, and against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tfq_ext.numerics.fixedpoint import (
    INT32_MAX,
    INT32_MIN,
    MULTIPLY,
    multiply_double,
    multiply_single,
    multiply_upward,
    multiply_wide,
    quantize_multiplier,
    quantize_multipliers,
    requantize_float,
    rounding_divide_by_pot,
    srdhm,
    wrap32,
)

EDGES = [INT32_MIN, INT32_MIN + 1, -(2**30), -3, -2, -1, 0, 1, 2, 3, 2**30, INT32_MAX]


def slow_srdhm(a: int, b: int) -> int:
    """gemmlowp's SaturatingRoundingDoublingHighMul, line by line."""
    if a == b == INT32_MIN:
        return INT32_MAX
    product = a * b
    nudged = product + (2**30 if product >= 0 else 1 - 2**30)
    return abs(nudged) // 2**31 * (1 if nudged >= 0 else -1)  # C division truncates


def slow_divide(x: int, n: int) -> int:
    """gemmlowp's RoundingDivideByPOT, line by line."""
    mask = 2**n - 1
    remainder = x & mask
    return (x >> n) + (1 if remainder > (mask >> 1) + (1 if x < 0 else 0) else 0)


def some_int32(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    wide = rng.integers(INT32_MIN, INT32_MAX, n // 2, endpoint=True)
    return np.concatenate([wide, rng.integers(-5000, 5000, n - n // 2)])


def test_srdhm_is_gemmlowps():
    pairs = [(a, b) for a in EDGES for b in EDGES]
    pairs += list(zip(some_int32(2000).tolist(), some_int32(2000, 1).tolist(), strict=True))
    a, b = np.array(pairs).T
    assert srdhm(a, b).tolist() == [slow_srdhm(*pair) for pair in pairs]


@pytest.mark.parametrize("n", [0, 1, 2, 7, 30, 31])
def test_rounding_divide_is_gemmlowps(n: int):
    x = np.concatenate([EDGES, some_int32(500), np.arange(-9, 10)]).astype(np.int64)
    assert rounding_divide_by_pot(x, n).tolist() == [slow_divide(v, n) for v in x.tolist()]


@pytest.mark.parametrize(
    ("halves", "upward", "away"), [(-3, -1, -2), (-1, 0, -1), (1, 1, 1), (3, 2, 2)]
)
def test_ties_of_both_roundings(halves: int, upward: int, away: int):
    assert int(srdhm(halves, 2**30)) == upward  # -0.5 -> 0, -1.5 -> -1, 0.5 -> 1
    assert int(rounding_divide_by_pot(halves, 1)) == away


def test_srdhm_of_16_bits_saturates_too():
    assert int(srdhm(-32768, -32768, 16)) == 32767
    assert int(srdhm(-1, 16384, 16)) == 0
    assert int(srdhm(-3, 16384, 16)) == -1


@pytest.mark.parametrize("real", [1e-9, 0.00391, 0.25, 0.5, 0.75, 0.9999999999, 1.0, 1.5, 300.0])
def test_multiplier_is_normal_and_near(real: float):
    m0, shift = quantize_multiplier(real)
    assert 2**30 <= m0 < 2**31
    assert abs(Fraction(m0) * Fraction(2) ** (shift - 31) / Fraction(real) - 1) <= Fraction(
        1, 2**31
    )


def test_multiplier_at_the_edges():
    assert quantize_multiplier(0.0) == (0, 0)
    assert quantize_multiplier(0.5) == (2**30, 0)
    assert quantize_multiplier(1.0) == (2**30, 1)
    assert quantize_multiplier(1 - 2.0**-40) == (2**30, 1)  # 2^31 after rounding: halved
    assert quantize_multiplier(2.0**-32) == (2**30, -31)
    assert quantize_multiplier(2.0**-33) == (0, 0)
    m0, shift = quantize_multipliers([0.5, 3.0])
    assert m0.tolist() == [2**30, 3 * 2**29]
    assert shift.tolist() == [0, 2]


def random_pairs(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    m0, shift = quantize_multipliers(np.exp(rng.uniform(np.log(1e-5), np.log(0.9), n)))
    return rng.integers(-(2**22), 2**22, n), m0, shift


def rounded(real: Fraction, ties: str) -> int:
    below = real.numerator // real.denominator
    rest = real - below
    if rest == Fraction(1, 2):
        return below + (ties == "up" or real > 0)
    return below + (rest > Fraction(1, 2))


def test_single_rounding_is_exact_rounding():
    x, m0, shift = random_pairs(500)
    got = multiply_single(x, m0, shift).tolist()
    reals = [
        Fraction(int(a) * int(m)) * Fraction(2) ** (int(s) - 31)
        for a, m, s in zip(x, m0, shift, strict=True)
    ]
    assert got == [rounded(r, "up") for r in reals]


def test_double_rounding_differs_by_one_in_some():
    x, m0, shift = random_pairs(200_000)
    gap = np.abs(multiply_double(x, m0, shift) - multiply_single(x, m0, shift))
    assert gap.max() == 1
    assert 0.001 < np.mean(gap > 0) < 0.1  # METHODS 0.7: about 4.5 % of random pairs


def test_double_is_both_steps_and_shifts_left_first():
    x, m0 = np.array([5, -7, 1000]), 1610612736  # 0.75
    for shift in (3, 0, -2):
        left, right = max(shift, 0), max(-shift, 0)
        wanted = [slow_divide(slow_srdhm(v << left, m0), right) for v in x.tolist()]
        assert multiply_double(x, m0, shift).tolist() == wanted


def test_upward_takes_ties_up_where_double_takes_them_away():
    assert int(multiply_double(-3, 2**30, 0)) == int(multiply_upward(-3, 2**30, 0)) == -1
    assert int(multiply_double(-6, 2**30, -1)) == -2  # -3 / 2
    assert int(multiply_upward(-6, 2**30, -1)) == -1


def test_wide_reduces_the_multiplier_to_16_bits():
    for x, m0, shift in (
        (2**40 + 12345, 1717986918, -20),
        (-(2**40), 2**31 - 1, -31),
        (7, 2**30, 5),
    ):
        reduced = (m0 + 2**15) >> 16 if m0 < 0x7FFF0000 else 0x7FFF
        wanted = (x * reduced + 2 ** (14 - shift)) >> (15 - shift)
        assert int(multiply_wide(x, m0, shift)) == wanted


def test_float_requantization_takes_ties_to_even_and_clips():
    x = np.array([1, 3, 5, -1, -3, 1000, -1000])
    assert requantize_float(x, 0.5, 3, -128, 127).tolist() == [3, 5, 5, 3, 1, 127, -128]
    assert int(requantize_float(2**24 + 1, 2.0**-18, 0, -128, 127)) == 64  # float32 has 24 bits


def test_wrapping_is_twos_complement():
    values = [2**31, -(2**31) - 1, 2**32 + 5, -1]
    assert wrap32(values).tolist() == [INT32_MIN, INT32_MAX, 5, -1]


@pytest.mark.parametrize("name", list(MULTIPLY))
def test_every_product_is_within_one_of_the_real(name: str):
    x, m0, shift = random_pairs(5000)
    real = x * m0.astype(np.float64) * np.exp2(shift - 31.0)
    assert np.abs(MULTIPLY[name](x, m0, shift) - real).max() <= 1.0 + 1e-6
