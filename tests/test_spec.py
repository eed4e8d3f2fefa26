"""Grids at their edges, against arithmetic written the slow way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfq_ext.errors import SpecError
from tfq_ext.spec import (
    INT4_WEIGHT,
    INT8_ACTIVATION,
    INT8_WEIGHT,
    INT16_ACTIVATION,
    QParams,
    QSpec,
    Range,
    round_half_away,
)

EDGE = QParams(INT8_ACTIVATION, scale=0.5, zero_point=-28)  # covers [-50.0, 77.5]


@pytest.mark.parametrize(
    ("real", "code"),
    [
        (-51.0, -128),
        (-50.0, -128),
        (-49.76, -128),
        (-49.74, -127),
        (-0.25, -29),
        (0.0, -28),
        (0.24, -28),
        (0.25, -27),
        (0.26, -27),
        (77.24, 126),
        (77.26, 127),
        (78.0, 127),
    ],
)
def test_encode_at_the_edges(real, code):
    assert EDGE.encode(np.float32(real)) == code


def test_the_range_of_a_grid_is_what_its_end_codes_stand_for():
    assert EDGE.range == Range(-50.0, 77.5)
    assert EDGE.decode(np.array([-128, -28, 127])).tolist() == [-50.0, 0.0, 77.5]


@pytest.mark.parametrize(
    ("x", "nearest"),
    [(0.5, 1), (-0.5, -1), (1.5, 2), (2.5, 3), (-2.5, -3), (0.49999997, 0), (-0.49999997, 0)],
)
def test_ties_go_away_from_zero(x, nearest):
    assert round_half_away(np.float32(x)) == nearest


@pytest.mark.parametrize(
    ("spec", "lowest", "highest"),
    [
        (INT8_ACTIVATION, -128, 127),
        (INT8_WEIGHT, -127, 127),
        (INT4_WEIGHT, -7, 7),
        (INT16_ACTIVATION, -32768, 32767),
        (QSpec(2, narrow=True), -1, 1),
    ],
)
def test_codes_of_a_spec(spec, lowest, highest):
    assert (spec.qmin, spec.qmax) == (lowest, highest)


ends = st.floats(2**-14, 1e6, width=32)


@given(lo=ends, hi=ends, spec=st.sampled_from([INT8_ACTIVATION, INT16_ACTIVATION]))
def test_laws_of_a_grid(lo, hi, spec):
    grid = QParams.from_range(spec, Range(-lo, hi))
    codes = np.arange(spec.qmin, spec.qmax + 1, 7)
    assert np.array_equal(grid.encode(grid.decode(codes)), codes)
    assert grid.decode(np.int32(int(grid.zero_point))) == 0.0
    inside = np.linspace(max(-lo, grid.range.min), min(hi, grid.range.max), 101, dtype=np.float32)
    error = np.abs(grid.fake_quant(inside) - inside)
    assert error.max() <= float(grid.scale) * (0.5 + 2**-7)  # half an LSB, and float32's share
    assert np.all(np.diff(grid.encode(inside)) >= 0)


@given(lo=ends, hi=ends)
def test_the_nudged_range_misses_the_asked_one_by_less_than_one_lsb(lo, hi):
    grid = QParams.from_range(INT8_ACTIVATION, Range(-lo, hi))
    lsb = float(grid.scale)
    assert abs(grid.range.min + lo) <= 0.501 * lsb
    assert abs(grid.range.max - hi) <= 0.502 * lsb


def test_from_range_by_hand():
    grid = QParams.from_range(INT8_ACTIVATION, Range(-1.0, 1.0))
    assert grid.scale == np.float32(2 / 255)
    assert grid.zero_point == -128 - math.floor(-1.0 / float(np.float32(2 / 255)) + 0.5)


def test_symmetric_takes_the_larger_end():
    grid = QParams.from_range(INT16_ACTIVATION, Range(-1.0, 4.0))
    assert (grid.scale, grid.zero_point) == (np.float32(4 / 32767), 0)


def test_ranges_are_widened_to_contain_zero():
    assert Range.of(2.1, 3.5) == Range(0.0, 3.5)  # the whitepaper's example
    assert Range.of(-3.0, -1.0) == Range(-3.0, 0.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QSpec(1), "2..16"),
        (lambda: QSpec(8, symmetric=False, narrow=True), "narrow"),
        (lambda: Range(1.0, 2.0), "contain 0"),
        (lambda: Range(float("nan"), 2.0), "finite"),
        (lambda: QParams(INT8_WEIGHT, 0.0), "> 0"),
        (lambda: QParams(INT8_WEIGHT, float("inf")), "finite"),
        (lambda: QParams(INT8_WEIGHT, 1.0, 3), "zero point 0"),
        (lambda: QParams(INT8_ACTIVATION, 1.0, 128), "no code"),
        (lambda: QParams(INT8_WEIGHT, [1.0, 2.0]), "axis=None"),
        (lambda: QParams(INT8_WEIGHT.on(0), 1.0), "axis=0"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(SpecError, match=message):
        make()


def test_per_channel_scales_lie_along_the_axis():
    grid = QParams(INT8_WEIGHT.on(1), [1.0, 0.5])
    assert grid.encode(np.array([[1.0, 1.0], [-3.0, -3.0]])).tolist() == [[1, 2], [-3, -6]]
