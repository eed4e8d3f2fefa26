r"""Codes whose sums no input can bring out of a P-bit accumulator, whatever its zero point is.

Products are of codes and :math:`x = q_x - z`, which int8 inputs put in an interval of 255 that
holds 0. The sum of a row's positive codes, and that of its negative ones, may then each be
:math:`B = \lfloor (2^{P-1} - 1) / 255 \rfloor`: A2Q+'s bound, without its demand that they agree.
Each side gets the best integers within B. A coarser grid leaves room for more of them: each
channel that does not fit as it is takes the step whose codes come closest.

Source: Colbert et al. 2308.13504 (A2Q); 2401.10432 (A2Q+); 2409.17092 (AXE, after training).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.fitted import Alphabet, fitted
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.quadratic import Chooser, Quadratic
from tfq_ext.spec import QParams

INPUTS = 255  # width of the interval of int8 inputs
COARSER = 2.0 ** (np.arange(0, 21) / 3)  # steps that are tried, of the recipe's
ROUGHLY, EXACTLY = 20, 64  # halvings of `spend`, while they are compared and at last
PATIENCE = 4  # steps in a row that bring no channel closer end the search
BITS = (9, 32)  # 9: one code of +-1


def a2q(job: Job) -> np.ndarray:
    """int8[C, n] codes that fit `job.argument` bits.

    Raises:
        SpecError: the argument is no whole number of 9..32.
    """
    budget = _budget(job)
    return job.codes(fitted(job, _within(job, budget, EXACTLY), _affordable(budget)))


def a2q_grid(job: Job) -> QParams:
    """The recipe's scales, coarser where that brings a channel's codes within the budget closer.

    What nearest rounding on the recipe's grid makes of a channel that fits is left alone.
    """
    budget, together = _budget(job), job.params.spec.axis is None
    least = np.full(1 if together else len(job.weight), np.inf)
    best = np.ones(len(least), np.float32)
    open_ = ~_fits(job, budget)
    idle = 0 if np.any(open_) else PATIENCE
    for factor in COARSER:
        if idle == PATIENCE:
            break
        tried = replace(job, params=_coarser(job.params, np.float32(factor)))
        codes = _within(tried, budget, ROUGHLY)
        error = (job.power * (codes * tried.scale - job.weight) ** 2).sum(axis=1)
        error = error.sum(keepdims=True) if together else error
        better = (error < least * (1 - 1e-9)) & open_
        least, best = np.where(better, error, least), np.where(better, np.float32(factor), best)
        idle = 0 if np.any(better) else idle + 1
    return _coarser(job.params, best[0] if together else best)


def _coarser(params: QParams, factor: np.ndarray | np.float32) -> QParams:
    return QParams(params.spec, np.asarray(params.scale * factor, np.float32), params.zero_point)


def _fits(job: Job, budget: int) -> np.ndarray:
    """Whether nearest rounding keeps within the budget; bool[C], or bool[1] for one scale."""
    whole = job.whole(job.params.encode(job.weight))
    up, down = (np.maximum(sign * whole, 0).sum(axis=1) for sign in (1, -1))
    fits = np.maximum(up, down) <= budget
    return fits if job.params.spec.axis is not None else fits.all(keepdims=True)


def accumulator_bits(job: Job, codes: np.ndarray) -> int:
    """What the widest channel needs for int8 inputs, whatever their zero point."""
    whole = job.whole(codes)
    sides = (np.maximum(sign * whole, 0).sum(axis=1).max(initial=0) for sign in (1, -1))
    return (INPUTS * int(max(sides))).bit_length() + 1


def _budget(job: Job) -> int:
    bits = 16.0 if job.argument is None else job.argument
    if bits != int(bits) or not BITS[0] <= bits <= BITS[1]:
        raise SpecError(f"a2q takes accumulators of {BITS[0]} to {BITS[1]} bits, got {bits}.")
    return (2 ** (int(bits) - 1) - 1) // INPUTS


def _affordable(budget: int) -> Alphabet:
    """The nearest code that what the others leave of the budget still buys."""

    def alphabet(problem: Quadratic, codes: np.ndarray | None) -> Chooser:
        now = np.zeros_like(problem.weight) if codes is None else codes.copy()
        up, down = (np.maximum(sign * now, 0).sum(axis=1) for sign in (1, -1))

        def choose(t: int, steps: np.ndarray) -> np.ndarray:
            old = now[:, t]
            most = budget - (up - np.maximum(old, 0))
            least = (down - np.maximum(-old, 0)) - budget
            new = np.clip(problem.nearest(steps), least, most)
            up[:], down[:] = (
                budget - most + np.maximum(new, 0),
                least + budget + np.maximum(-new, 0),
            )
            now[:, t] = new
            return new

        return choose

    return alphabet


def _within(job: Job, budget: int, halvings: int) -> np.ndarray:
    """int64[C, n] whole steps: both sides of 0 apart."""
    from tfq_ext.numerics.budget import spend  # numba

    spec, steps, power = job.params.spec, job.steps, job.power
    most, least = spec.qmax - int(job.zero.max()), int(job.zero.min()) - spec.qmin
    up = spend(np.maximum(steps, 0), power, budget, most, halvings=halvings)
    return up - spend(np.maximum(-steps, 0), power, budget, least, halvings=halvings)
