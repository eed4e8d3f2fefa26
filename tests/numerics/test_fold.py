"""BatchNormalization as factor and offset, against the layer written out slowly."""

from __future__ import annotations

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics.fold import along, fold_bias, fold_kernel, norm_map

RNG = np.random.default_rng(0)
C = 5
MEAN, GAMMA, BETA = RNG.normal(size=(3, C))
VARIANCE = np.array([0.0, 1e-6, 0.5, 2.0, 30.0])


def _batch_norm(x, epsilon, gamma, beta):
    """One value after the other, as Keras documents it."""
    y = np.empty_like(x)
    for n, c in np.ndindex(*x.shape):
        scaled = (x[n, c] - MEAN[c]) / (VARIANCE[c] + epsilon) ** 0.5
        y[n, c] = scaled * (1 if gamma is None else gamma[c]) + (0 if beta is None else beta[c])
    return y


@pytest.mark.parametrize("epsilon", [1e-3, 1e-1])
@pytest.mark.parametrize("gamma", [None, GAMMA, -GAMMA, np.zeros(C)])
@pytest.mark.parametrize("beta", [None, BETA])
def test_factor_and_offset_are_the_layer(epsilon, gamma, beta):
    x = RNG.normal(size=(7, C)) * 10
    a, d = norm_map(MEAN, VARIANCE, epsilon, gamma, beta)
    np.testing.assert_allclose(
        a * x + d, _batch_norm(x, epsilon, gamma, beta), rtol=1e-9, atol=1e-9
    )


def test_epsilon_of_the_layer_matters():
    small, large = (norm_map(MEAN, VARIANCE, e)[0] for e in (1e-3, 1e-1))
    assert small[0] / large[0] == pytest.approx(10)  # variance 0: 1 / sqrt(epsilon) alone


@pytest.mark.parametrize("epsilon", [0.0, -1e-3])
def test_no_positive_variance_is_refused(epsilon):
    with pytest.raises(SpecError, match="positive"):
        norm_map(MEAN, VARIANCE, epsilon)


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((3, 3, 2, 6), (-1,), lambda k: k),  # conv: H W I O
        ((3, 3, 6, 2), (-2,), lambda k: k),  # transposed: H W O I
        ((3, 3, 3, 2), (-2, -1), lambda k: (k // 2, k % 2)),  # depthwise: channel c M + m
        ((4, 6), (1,), lambda k: k),
    ],
)
def test_each_channel_meets_its_own_factor(shape, axes, expected):
    kernel, a = np.ones(shape, np.float32), np.arange(1.0, 7.0)
    folded = fold_kernel(kernel, a, axes)
    assert folded.dtype == np.float32
    moved = np.moveaxis(folded, axes, range(len(axes)))
    for k in range(6):
        assert (moved[expected(k)] == a[k]).all()


def test_depthwise_fold_equals_scaling_the_result():
    """The convolution written as a loop: out[c M + m] = sum over taps of x[tap, c] w[tap, c, m]."""
    x, w = RNG.normal(size=(9, 3)), RNG.normal(size=(9, 3, 2)).astype(np.float32)
    a = RNG.normal(size=6)

    def conv(kernel):
        return np.array([x[:, c] @ kernel[:, c, m] for c in range(3) for m in range(2)])

    np.testing.assert_allclose(conv(fold_kernel(w, a, (1, 2))), a * conv(w), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("n", "axes"), [(5, (-1,)), (6, (-1, -2)), (3, (0, 1))])
def test_channels_that_do_not_fit_are_refused(n, axes):
    with pytest.raises(SpecError, match="cannot lie"):
        along(np.ones(n), (3, 3, 3, 2), axes)


def test_bias_goes_through_the_layer():
    a, d = norm_map(MEAN, VARIANCE, 1e-3, GAMMA, BETA)
    b = RNG.normal(size=C)
    expected = _batch_norm(b[None], 1e-3, GAMMA, BETA)[0]
    np.testing.assert_allclose(fold_bias(b, a, d), expected, rtol=1e-6)
    np.testing.assert_allclose(fold_bias(None, a, d), d, rtol=1e-6)
    assert fold_bias(None, a, d).dtype == np.float32
