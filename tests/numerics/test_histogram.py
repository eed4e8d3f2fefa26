"""The bfloat16-binned histogram against np.histogram and a loop written the slow way."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tfq_ext.errors import StatsError
from tfq_ext.numerics.histogram import BINS, Histogram, nonfinite_bins

ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)


def bin_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


def after(value, steps=1):
    """The bfloat16 that many LSB further from zero."""
    return struct.unpack("<f", struct.pack("<I", (bin_of(value) + steps) << 16))[0]


@given(st.lists(ANY_FLOAT, max_size=60))
def test_counts_are_those_of_the_slow_loop(values):
    expected = [0] * BINS
    for v in values:
        if np.isfinite(v):
            expected[bin_of(v)] += 1
    assert Histogram.of(np.array(values, np.float32)).counts.tolist() == expected


def test_positive_bins_are_those_of_np_histogram():
    x = np.abs(np.random.default_rng(0).normal(size=20_000)).astype(np.float32)
    edges = (np.arange(0x7F81, dtype=np.uint32) << 16).view(np.float32).astype(np.float64)
    expected, _ = np.histogram(x, edges)
    np.testing.assert_array_equal(Histogram.of(x).counts[:0x7F80], expected)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("value", [1.0, 6.0, 255.0, 2.0**-126, 1.99218750])
def test_one_lsb_either_side_of_a_bin(value, sign):
    lower, upper = np.float32(value), np.float32(after(value))
    inside = [lower, np.nextafter(upper, np.float32(0))]
    outside = [np.nextafter(lower, np.float32(0)), upper]
    h = Histogram.of(sign * np.array(inside + outside, np.float32))
    assert h.counts[bin_of(sign * value)] == 2
    assert np.count_nonzero(h.counts) == 3
    centers, counts = h.values()
    middle = (float(lower) + float(upper)) / 2
    assert centers[1] == sign * middle
    assert counts.tolist() == [1, 2, 1]


def test_centers_lie_within_0_4_percent_of_every_normal_value():
    x = np.geomspace(2.0**-126, 3.4e38, 801).astype(np.float32)
    for v in x:
        (center,), _ = Histogram.of(v[None]).values()
        assert abs(center - v) <= v * 2.0**-8


def test_both_zeros_and_the_smallest_values_count_as_exactly_zero():
    tiny = np.float32(2.0**-134)
    centers, counts = Histogram.of(np.array([0.0, -0.0, 1e-45, -1e-45, tiny, -tiny])).values()
    assert centers.tolist() == [0.0]
    assert not np.signbit(centers[0])
    assert counts.tolist() == [6]


def test_inf_and_nan_are_left_out_and_the_largest_float_is_not():
    big = np.finfo(np.float32).max
    quiet, signalling = 0x7FC00000, 0x7F800001
    odd = np.array([quiet, signalling, quiet | 1 << 31, 0xFF800001], np.uint32).view(np.float32)
    h = Histogram.of(np.concatenate([odd, np.array([np.inf, -np.inf, big, -big], np.float32)]))
    centers, counts = h.values()
    assert h.total == 2
    assert counts.tolist() == [1, 1]
    assert np.isfinite(centers).all()
    np.testing.assert_allclose(centers, [-float(big), float(big)], rtol=2**-8)


def test_values_ascend_strictly_over_all_bins():
    counts = np.arange(1, BINS + 1)
    counts[nonfinite_bins()] = 0
    centers, n = Histogram(counts).values()
    assert len(centers) == BINS - 256 - 1  # the two zeros are one
    assert (np.diff(centers) > 0).all()
    assert n.sum() == counts.sum()
    assert n[centers == 0.0].tolist() == [1 + 32769]


def test_known_extremes_put_a_clamped_spike_in_its_place():
    x = np.clip(np.linspace(-8, 8, 999), -3, 6).astype(np.float32)
    centers, _ = Histogram.of(x).values(lo=-3.0, hi=6.0)
    assert (centers[0], centers[-1]) == (-3.0, 6.0)
    assert (np.diff(centers) > 0).all()


@given(arrays(np.float32, st.integers(0, 40), elements=ANY_FLOAT), st.integers(0, 40))
def test_addition_is_concatenation_and_sparse_is_lossless(x, cut):
    whole = Histogram.of(x)
    assert Histogram.of(x[:cut]) + Histogram.of(x[cut:]) == whole
    assert Histogram.from_sparse(*whole.sparse()) == whole
    assert whole + Histogram.empty() == whole


@pytest.mark.parametrize(
    "counts",
    [
        np.zeros(BINS),
        np.zeros(100, np.int64),
        np.full(BINS, -1, np.int64),
        np.bincount([0x7F80], minlength=BINS),
        np.bincount([0xFFC0], minlength=BINS),
    ],
)
def test_counts_that_cannot_be_are_refused(counts):
    with pytest.raises(StatsError):
        Histogram(counts)


def test_a_bin_named_twice_is_refused():
    with pytest.raises(StatsError, match="twice"):
        Histogram.from_sparse(np.array([3, 3], np.uint16), np.array([1, 1]))


def test_counts_are_read_only():
    with pytest.raises(ValueError, match="read-only"):
        Histogram.empty().counts[0] = 1
