"""Moments of a clamped normal variable against sampling, integration and their limits."""

import numpy as np
import pytest

from tfq_ext.numerics.clipped import clipped_moments, normal_quantiles

MEANS = np.array([-3.0, -0.5, 0.0, 0.2, 2.0, 5.5, 9.0])
DEVIATIONS = np.array([1.0, 0.3, 2.0, 1.0, 3.0, 1.0, 0.5])


@pytest.mark.parametrize(
    "ends", [(-np.inf, np.inf), (0.0, np.inf), (0.0, 6.0), (-1.0, 1.0), (-np.inf, 2.0)]
)
def test_against_a_sample(ends):
    z = np.random.default_rng(0).normal(size=(400_000, 1))
    x = np.clip(MEANS + DEVIATIONS * z, *ends)
    mean, variance = clipped_moments(MEANS, DEVIATIONS, *ends)
    error = DEVIATIONS / np.sqrt(len(z))  # the standard error of a mean, at most
    assert np.all(np.abs(mean - x.mean(axis=0)) < 5 * error)
    np.testing.assert_allclose(variance, x.var(axis=0), rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("ends", [(0.0, 6.0), (0.0, np.inf), (-2.0, 0.5)])
def test_against_the_integral(ends):
    z = np.linspace(-12, 12, 240_001)[:, None]
    weight = np.exp(-np.square(z) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    x = np.clip(MEANS + DEVIATIONS * z, *ends)
    mean, variance = clipped_moments(MEANS, DEVIATIONS, *ends)
    wanted = (x * weight).sum(axis=0)
    np.testing.assert_allclose(mean, wanted, atol=1e-7)
    np.testing.assert_allclose(variance, (np.square(x - wanted) * weight).sum(axis=0), atol=1e-6)


def test_the_published_form_for_relu():
    """Nagel et al. 1906.04721: gamma phi(-beta / gamma) + beta (1 - Phi(-beta / gamma))."""
    from statistics import NormalDist

    beta, gamma = 0.7, 1.3
    n = NormalDist()
    wanted = gamma * n.pdf(-beta / gamma) + beta * (1 - n.cdf(-beta / gamma))
    assert clipped_moments(np.array([beta]), np.array([gamma]), 0.0)[0][0] == pytest.approx(wanted)


def test_without_a_clamp_nothing_changes_and_signs_of_gamma_do_not_count():
    mean, variance = clipped_moments(MEANS, -DEVIATIONS)
    np.testing.assert_allclose(mean, MEANS)
    np.testing.assert_allclose(variance, DEVIATIONS**2)


def test_a_constant_and_values_far_outside():
    mean, variance = clipped_moments(np.array([3.0, -4.0, 7.0]), np.zeros(3), 0.0, 6.0)
    np.testing.assert_array_equal(mean, [3.0, 0.0, 6.0])
    np.testing.assert_array_equal(variance, 0)
    mean, variance = clipped_moments(np.array([-1e6, 1e6]), np.ones(2), 0.0, 6.0)
    np.testing.assert_allclose(mean, [0, 6], atol=1e-9)
    np.testing.assert_allclose(variance, 0, atol=1e-3)


def test_quantiles_are_symmetric_and_ascend():
    z = normal_quantiles(101)
    assert np.all(np.diff(z) > 0)
    np.testing.assert_allclose(z, -z[::-1], atol=1e-12)
    assert z[50] == 0
    assert np.var(normal_quantiles(4096)) == pytest.approx(1, abs=0.01)
