r"""Mean and variance of a normal variable after a clamp, in closed form.

\( x = \min(\max(z, l), h), \; z \sim N(\mu, \sigma^2) \): what a ReLU, a ReLU6 or no activation at
all makes of a value that BatchNormalization normalized.

Source: Nagel et al. 1906.04721, appendix C gives the mean for ReLU and for a clipped ReLU; the
variance is the same integral of the square.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _below(a: np.ndarray) -> np.ndarray:
    """P(z < a) of a standard normal variable."""
    return np.asarray(_erfc(-a / math.sqrt(2.0)) / 2.0)


def _density(a: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.square(a) / 2.0) / math.sqrt(2.0 * math.pi))


def clipped_moments(
    mean: np.ndarray,
    deviation: np.ndarray,
    low: np.ndarray | float = -np.inf,
    high: np.ndarray | float = np.inf,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and variance of a normal variable that is clamped to [low, high].

    With \( a = (l - \mu) / \sigma, \; b = (h - \mu) / \sigma \) and y the clamped value in units of
    \( \sigma \) around \( \mu \):
    \( E[y] = a \Phi(a) + \phi(a) - \phi(b) + b (1 - \Phi(b)) \),
    \( E[y^2] = a^2 \Phi(a) + \Phi(b) - \Phi(a) + a \phi(a) - b \phi(b) + b^2 (1 - \Phi(b)) \).

    Args:
        mean, deviation: of the variable before the clamp, float[C]; a deviation of 0 is a constant,
            its sign does not count.
        low, high: ends of the clamp, one or float[C], in units of the variable; infinite: no end.

    Returns:
        (mean, variance), float64[C] each.
    """
    mu, low, high = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (mean, low, high)))
    sigma = np.broadcast_to(np.abs(np.asarray(deviation, np.float64)), mu.shape)
    unit = np.where(sigma > 0, sigma, 1.0)
    with np.errstate(over="ignore"):  # an end 1e300 deviations away is no end
        a, b = (low - mu) / unit, (high - mu) / unit
    ends = [np.where(np.isfinite(end), end, 0.0) for end in (a, b)]
    outside = [_below(a), _below(-b)]
    slopes = [np.where(np.isfinite(end), _density(end), 0.0) for end in (a, b)]
    first = ends[0] * outside[0] + slopes[0] - slopes[1] + ends[1] * outside[1]
    second = ends[0] ** 2 * outside[0] + ends[1] ** 2 * outside[1]
    second = second + 1.0 - outside[0] - outside[1] + ends[0] * slopes[0] - ends[1] * slopes[1]
    center = np.where(sigma > 0, mu + sigma * first, np.clip(mu, low, high))
    variance = sigma**2 * np.maximum(second - first**2, 0.0)
    return np.asarray(center), np.asarray(variance)


def normal_quantiles(count: int) -> np.ndarray:
    """Middles of `count` equally likely parts of a standard normal variable, float64[count]."""
    return np.array([NormalDist().inv_cdf((k + 0.5) / count) for k in range(count)])
