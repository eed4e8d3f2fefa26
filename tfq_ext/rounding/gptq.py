r"""GPTQ: each rounding error is paid back by the inputs still to come, as far as they can.

Source: Frantar et al. 2210.17323 (algorithm); Hubara et al. 2006.10518 and Frantar & Alistarh
2208.11580 (the problem). The paper rounds with the upper Cholesky factor U of H^-1; here
\( V = U^{-1} \), read off H itself without an inverse: \( H = V V^T \), V upper triangular, and
\( (w - q) H (w - q)^T = \sum_t r_t^2, \; r_t = \sum_{j \le t} (w_j - q_j) V_{jt} \), so that
\( q_t = Q(w_t + \sum_{j<t} (w_j - q_j) V_{jt} / V_{tt}) \) leaves the least \( r_t \).
"""

from __future__ import annotations

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.better import better_than_nearest
from tfq_ext.rounding.descent import descend
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.rounding.quadratic import BLOCK, Quadratic, sweep
from tfq_ext.spec import QParams

DAMP = 0.01  # the paper's
SWEEPS = 3


def gptq(
    weight: np.ndarray,
    params: QParams,
    data: LayerData,
    *,
    damp: float = DAMP,
    ridge: float = np.inf,
    sweeps: int = SWEEPS,
) -> np.ndarray:
    """Codes by GPTQ, or nearest rounding's in the channels where those are better.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        damp: share of the mean diagonal of H that is added to it.
        ridge: of the target (`target`).
        sweeps: of coordinate descent afterwards (`descend`).

    Returns:
        int8[C, n].

    Raises:
        SpecError: NaN or inf among the moments, or H is none.
    """
    problem = Quadratic.of(weight, params, data, damp=damp)
    wanted = target(problem, ridge)
    codes = descend(problem, wanted, successive(problem, wanted), sweeps)
    return better_than_nearest(weight, params, data, problem.rows(codes, params))


def successive(problem: Quadratic, wanted: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """GPTQ's pass: float64[G, n, c] codes for the real weights `wanted`, float64[G, n, c]."""
    try:
        factor = np.linalg.cholesky(problem.gram[:, ::-1, ::-1])[:, ::-1, ::-1]  # V
    except np.linalg.LinAlgError:
        raise SpecError(
            "H is no second moments of inputs: it has eigenvalues below 0. Give gptq the mean of "
            "x x^T, or more damping."
        ) from None
    below = (factor / np.einsum("gnn->gn", factor)[:, None, :]).transpose(0, 2, 1)
    below = np.ascontiguousarray(below)
    base = below @ wanted  # unit diagonal: wanted is in it
    return sweep(base, below, lambda _, steps: problem.nearest(steps), block)


def target(problem: Quadratic, ridge: float) -> np.ndarray:
    r"""Real weights that on the quantized prefix's inputs do what w does on the float network's.

    \( w^* = w + w (K - H) (H + \rho \bar h I)^{-1} \), \( \bar h \) the mean of H's diagonal.

    Args:
        problem: of the layer.
        ridge: \( \rho \); inf: w itself. Small ones overfit a calibration set.

    Returns:
        float64[G, n, c] in steps.
    """
    if np.isinf(ridge):
        return problem.weight
    n = problem.gram.shape[1]
    mean = np.einsum("gnn->g", problem.gram)[:, None, None] / n
    pull = (problem.cross - problem.gram).transpose(0, 2, 1) @ problem.weight
    return problem.weight + np.linalg.solve(problem.gram + ridge * mean * np.eye(n), pull)
