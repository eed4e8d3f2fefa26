"""Coordinate descent on codes: a polish after any rounder that minimises the output error."""

from __future__ import annotations

import numpy as np

from tfq_ext.rounding.quadratic import Chooser, Quadratic, sweep


def descend(
    problem: Quadratic,
    wanted: np.ndarray,
    codes: np.ndarray,
    sweeps: int,
    *,
    fixed: np.ndarray | None = None,
    among: Chooser | None = None,
) -> np.ndarray:
    r"""Each code in turn to its best value given all the others; never worse.

    \( q_t = Q(((w H)_t - \sum_{j \ne t} H_{tj} q_j) / H_{tt}) \), with the new codes for j < t and
    the old ones behind.

    Args:
        problem: of the layer.
        wanted: float64[G, n, c] the real weights w, in steps.
        codes: float64[G, n, c] to start from.
        sweeps: at most; it ends when nothing moves.
        fixed: bool[G, n, c] codes that stay.
        among: picks input t's codes for what they should be; None: the nearest of the grid.

    Returns:
        float64[G, n, c].
    """
    diagonal = np.einsum("gnn->gn", problem.gram)[:, :, None]
    coupling = problem.gram / diagonal
    pulled, behind = coupling @ wanted, np.triu(coupling, 1)
    for _ in range(sweeps):
        old = codes

        def choose(t: int, steps: np.ndarray, old: np.ndarray = old) -> np.ndarray:
            new = problem.nearest(steps) if among is None else among(t, steps)
            return new if fixed is None else np.where(fixed[:, t], old[:, t], new)

        codes = sweep(pulled - behind @ old, coupling, choose)
        if np.array_equal(codes, old):
            break
    return codes
