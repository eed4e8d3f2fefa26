"""Codes out of an alphabet that a rounder prescribes, fitted to the layer's output.

What GPTQ and coordinate descent do on the whole grid they do here with a choice of the rounder's
own: three values in a group, the shared values of a tensor, what a budget still allows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfq_ext.rounding.descent import descend
from tfq_ext.rounding.gptq import DAMP, successive, target
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.layer_data import squared_error
from tfq_ext.rounding.quadratic import Chooser, Quadratic

SWEEPS = 4
RIDGE = 0.1  # of `target`, on unseen images of the demo network: 1.1 to 1.5 dB above inf
MARGIN = 1e-9  # relative: what summing in another order may change must not choose
# (the layer's problem, codes float64[G, n, c] that are improved, None: chosen anew) -> a chooser
Alphabet = Callable[[Quadratic, np.ndarray | None], Chooser]


def fitted(job: Job, start: np.ndarray, alphabet: Alphabet) -> np.ndarray:
    """The best of `start`, of a descent from it, and of GPTQ with a descent behind it, by channel.

    Args:
        job: the weight, with data; without any the start is the answer.
        start: float64[C, n] in steps, zero point taken off; out of the alphabet.
        alphabet: what may stand where.

    Returns:
        float64[C, n] in steps; no channel's `squared_error` is above the start's.
    """
    if job.data is None:
        return start
    problem = Quadratic.of(job.weight, job.params, job.data, damp=DAMP)
    wanted = target(problem, RIDGE)
    fresh = successive(problem, wanted, among=alphabet(problem, None))
    best, least = start, squared_error(job.weight, start * job.scale, job.data)
    for codes in (arranged(problem, start), fresh):
        codes = descend(problem, wanted, codes, SWEEPS, among=alphabet(problem, codes))
        rows = unarranged(problem, codes)
        error = squared_error(job.weight, rows * job.scale, job.data)
        won = error < least * (1 - MARGIN)
        best, least = np.where(won[:, None], rows, best), np.where(won, error, least)
    return best


def arranged(problem: Quadratic, rows: np.ndarray) -> np.ndarray:
    """float64[G, n, c] in the problem's order, of rows [C, n]."""
    groups, n = problem.order.shape
    columns = rows.astype(np.float64).reshape(groups, -1, n).transpose(0, 2, 1)
    return np.take_along_axis(columns, problem.order[:, :, None], axis=1)


def unarranged(problem: Quadratic, codes: np.ndarray) -> np.ndarray:
    """The inverse of `arranged`."""
    rows = np.empty_like(codes)
    np.put_along_axis(rows, problem.order[:, :, None], codes, axis=1)
    return rows.transpose(0, 2, 1).reshape(-1, codes.shape[1])
