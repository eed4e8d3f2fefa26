r"""GPFQ: each code takes up the error that the inputs so far have left, in Gram form.

The vector form keeps u = X w_{1..t} - X~ q_{1..t} over m samples and takes
\( q_t = Q(\langle \tilde x_t, u \rangle / \|\tilde x_t\|^2) \). With second moments only:
\( q_t = Q((\sum_{j \le t} K_{jt} w_j - \sum_{j<t} H_{tj} q_j) / H_{tt}) \), the same numbers.

Source: Zhang, Zhou & Saab 2201.11113; Gram form as Brevitas has it. Departures: the alphabet is the
grid itself (the official one has 2^b + 1 levels); the step is each channel's; the inputs of most
power come first; damping as GPTQ's, so that an input which is nearly always 0 keeps its weight; the
hard threshold keeps the uniform grid that kernels know, where the paper's starts at the threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from zlib import crc32

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.better import better_than_nearest, undominated
from tfq_ext.rounding.descent import descend
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.rounding.quadratic import BLOCK, Chooser, Quadratic, sweep
from tfq_ext.spec import QParams

DAMP = 0.01
SWEEPS = 4  # of descent after thresholds; more change the error by less than 1e-3 of it
Shrink = Callable[[np.ndarray, float], np.ndarray]


def soft(steps: np.ndarray, threshold: float) -> np.ndarray:
    """sign(x) max(|x| - threshold, 0): the minimiser with threshold * |q| added (L1)."""
    return np.copysign(np.maximum(np.abs(steps) - threshold, 0.0), steps)


def hard(steps: np.ndarray, threshold: float) -> np.ndarray:
    """x, or 0 where |x| <= threshold."""
    return np.where(np.abs(steps) <= threshold, 0.0, steps)


def gpfq(weight: np.ndarray, params: QParams, data: LayerData, *, damp: float = DAMP) -> np.ndarray:
    """Codes by GPFQ, or nearest rounding's in the channels where those are better.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        damp: share of the mean diagonal of H that is added to it.

    Returns:
        int8[C, n].

    Raises:
        SpecError: NaN or inf among the moments.
    """
    problem = Quadratic.of(weight, params, data, damp=damp)
    codes = greedy(problem, lambda _, steps: problem.nearest(steps))
    return better_than_nearest(weight, params, data, problem.rows(codes, params))


def stochastic_gpfq(
    weight: np.ndarray, params: QParams, data: LayerData, seed: int, *, damp: float = DAMP
) -> np.ndarray:
    """As `gpfq`, rounding up with the fraction as probability: unbiased, save for what is kept.

    A channel's draws depend on the seed and on its own weights, not on its place.
    """
    problem = Quadratic.of(weight, params, data, damp=damp)
    codes = greedy(problem, by_chance(problem, draws(weight, seed)))
    return better_than_nearest(weight, params, data, problem.rows(codes, params))


def sparse_gpfq(
    weight: np.ndarray,
    params: QParams,
    data: LayerData,
    threshold: float,
    *,
    shrink: Shrink,
    damp: float = DAMP,
) -> np.ndarray:
    """GPFQ that prefers 0: `shrink` (`soft` or `hard`) before each rounding.

    What is left then descends to its best values with the zeros held: fewer of the paper's errors
    for the same zeros.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        threshold: in steps of the grid; 0: `gpfq`.
        shrink: (steps, threshold) -> steps.
        damp: share of the mean diagonal of H that is added to it.

    Returns:
        int8[C, n]. No channel is beaten in both zeros and output error by nearest rounding behind
        the same threshold.

    Raises:
        SpecError: a negative or NaN threshold; NaN or inf among the moments.
    """
    if not threshold >= 0:
        raise SpecError(f"A threshold is 0 or more steps, got {threshold}.")
    if threshold == 0:
        return gpfq(weight, params, data, damp=damp)
    problem = Quadratic.of(weight, params, data, damp=damp)
    codes = greedy(problem, lambda _, steps: problem.nearest(shrink(steps, threshold)))
    codes = descend(problem, problem.weight, codes, SWEEPS, fixed=codes == 0)
    plain = problem.nearest(shrink(problem.weight.swapaxes(0, 1), threshold)).swapaxes(0, 1)
    found, fallback = problem.rows(codes, params), problem.rows(plain, params)
    return undominated(weight, params, data, found, fallback)


def greedy(problem: Quadratic, choose: Chooser, block: int = BLOCK) -> np.ndarray:
    """GPFQ's pass: float64[G, n, c]; `choose` makes input t's codes of what it should be."""
    diagonal = np.einsum("gnn->gn", problem.gram)[:, :, None]
    base = np.triu(problem.cross).transpose(0, 2, 1) @ problem.weight / diagonal
    return sweep(base, problem.gram / diagonal, choose, block)


def by_chance(problem: Quadratic, uniform: np.ndarray) -> Chooser:
    """Stochastic rounding: floor(x + u), clipped.

    Args:
        problem: of the layer.
        uniform: float64[C, n] in [0, 1).
    """
    groups, n, _ = problem.weight.shape
    spread = uniform.reshape(groups, -1, n).transpose(0, 2, 1)
    return lambda t, steps: np.clip(np.floor(steps + spread[:, t]), problem.lo, problem.hi)


def draws(weight: np.ndarray, seed: int) -> np.ndarray:
    """float64[C, n] in [0, 1): the same for the same row of weights and the same seed."""
    rows = np.ascontiguousarray(weight, np.float32)
    return np.stack(
        [np.random.default_rng([seed, crc32(row.tobytes())]).random(len(row)) for row in rows]
    )
