"""Fake quantization in place of numpy's five passes: one loop, no temporary.

Serial on purpose: starting numba's threads costs more than a typical tensor.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.numerics.jit import njit


@njit(nogil=True)
def fake_quant_into(
    x: np.ndarray, scale: np.float32, zero: np.float32, qmin: float, qmax: float, out: np.ndarray
) -> None:
    """out = s * (clip(round(x / s) + z) - z), flat float32 arrays of one length.

    Ties go to even here and away from zero in TFLite; a candidate's error does not notice.
    """
    inverse = np.float32(1.0) / scale
    lo, hi = np.float32(qmin) - zero, np.float32(qmax) - zero
    for i in range(x.size):
        q = np.rint(x[i] * inverse)
        out[i] = scale * min(max(q, lo), hi)


@njit(nogil=True)
def squared_error(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(sum (x - y)^2, sum y^2) in float64; flat float32 arrays of one length."""
    error = 0.0
    power = 0.0
    for i in range(x.size):
        d = np.float64(x[i]) - np.float64(y[i])
        error += d * d
        power += np.float64(y[i]) * np.float64(y[i])
    return error, power
