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
from tfq_ext.rounding.quadratic import BLOCK, Chooser, Quadratic, sweep
from tfq_ext.spec import QParams

DAMP = 0.01  # the paper's
# A layer by itself gains .6 dB with a ridge of .1 (MobileNetV2, 4 bits, unseen images). The whole
# network loses: 20.3 to 13.9 dB at int8, 10.1 to 8.9 at 4 bits, for such a target shrinks weights
# where the prefix is noisy. So w itself, unless told otherwise.
RIDGE = np.inf
SWEEPS = 3  # .01 dB; what a fourth moves is less
WIDTH = 16  # of the beam: .05 dB at 8, and 32 adds .005
WORK = 2.5e8  # G n^2 c x width: a fifth of a second


def gptq(
    weight: np.ndarray,
    params: QParams,
    data: LayerData,
    *,
    damp: float = DAMP,
    ridge: float = RIDGE,
    width: int | None = None,
    sweeps: int = SWEEPS,
) -> np.ndarray:
    """Codes by GPTQ, or nearest rounding's in the channels where those are better.

    The paper's own algorithm is width 1 without ridge (inf) and sweeps.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        damp: share of the mean diagonal of H that is added to it.
        ridge: of the target (`target`).
        width: of the beam (`numerics.beam`); None: up to 16, as the layer's size allows.
        sweeps: of coordinate descent afterwards (`descend`).

    Returns:
        int8[C, n].

    Raises:
        SpecError: NaN or inf among the moments, or H is none; a negative ridge.
    """
    if not ridge >= 0:
        raise SpecError(f"A ridge is 0 or more, inf for the weights themselves; got {ridge}.")
    problem = Quadratic.of(weight, params, data, damp=damp)
    wanted = target(problem, ridge)
    groups, n, channels = wanted.shape
    width = width or int(np.clip(WORK / (groups * n * n * channels), 1, WIDTH))
    found = successive(problem, wanted) if width == 1 else best_of(problem, wanted, width)
    codes = descend(problem, wanted, found, sweeps)
    return better_than_nearest(weight, params, data, problem.rows(codes, params))


def successive(
    problem: Quadratic, wanted: np.ndarray, block: int = BLOCK, *, among: Chooser | None = None
) -> np.ndarray:
    """GPTQ's pass: float64[G, n, c] codes for the real weights `wanted`, float64[G, n, c].

    Args:
        problem: of the layer.
        wanted: in steps.
        block: inputs between two matrix products.
        among: picks input t's codes for what they should be; None: the nearest of the grid.
    """
    below, _ = factor(problem)
    base = below @ wanted  # unit diagonal: wanted is in it
    return sweep(base, below, among or (lambda _, steps: problem.nearest(steps)), block)


def best_of(problem: Quadratic, wanted: np.ndarray, width: int) -> np.ndarray:
    """The same with the `width` best beginnings kept at each input instead of one."""
    from tfq_ext.numerics.beam import search  # numba

    below, price = factor(problem)
    codes = np.empty_like(wanted)
    search(below @ wanted, below, price, problem.lo, problem.hi, width, codes)
    return codes


def factor(problem: Quadratic) -> tuple[np.ndarray, np.ndarray]:
    """(float64[G, n, n] V^T / V_tt, lower triangular with unit diagonal; float64[G, n] V_tt^2).

    Raises:
        SpecError: H has eigenvalues below 0.
    """
    try:
        upper = np.linalg.cholesky(problem.gram[:, ::-1, ::-1])[:, ::-1, ::-1]
    except np.linalg.LinAlgError:
        raise SpecError(
            "H is no second moments of inputs: it has eigenvalues below 0. Give gptq the mean of "
            "x x^T, or more damping."
        ) from None
    diagonal = np.einsum("gnn->gn", upper)
    below = (upper / diagonal[:, None, :]).transpose(0, 2, 1)
    return np.ascontiguousarray(below), np.square(diagonal)


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
