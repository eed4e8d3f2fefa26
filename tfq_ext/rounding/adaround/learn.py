r"""AdaRound: learn for each weight whether it goes up or down, on the layer's output.

\( \min_V \; E \| f(W x) - f(\tilde W \tilde x) \|^2 + \lambda \sum (1 - |2 h(V) - 1|^\beta),
\quad \tilde W = s \, \mathrm{clip}(\lfloor W / s \rfloor + h(V)), \quad
h(V) = \mathrm{clip}(1.2 \sigma(V) - 0.1, 0, 1) \)

Source: Nagel et al. 2004.10568. Departures, each measured (docstring of `AdaRound`): the loss is
divided by what one code of one input does, so that one lambda fits every layer; a higher rate and
fewer steps; greedy flips of single codes at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.adaround.problem import Problem
from tfq_ext.rounding.adaround.score import least_error
from tfq_ext.rounding.adaround.soft import soft_start, soften
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.rounding.nearest import nearest
from tfq_ext.spec import QParams

Progress = Callable[[int, int], None]
_CHUNK = 100  # steps between two calls of `progress`


@dataclass(frozen=True)
class AdaRound:
    """How to learn.

    Args:
        iterations: Adam steps, of 64 patches each; 0: only the start (and flips).
        rate: of Adam.
        penalty: lambda, of a loss in units of one code of one input.
        beta: from, to; falls in whole numbers after the warm-up.
        warm_up: share of the steps without penalty.
        pull: how far a given start draws h from the fraction (0) to its own code (1).
        walks: passes of flips at the end, at most.
        reach: codes that flips may go beyond the two next to the weight; 0: none, as in the paper.

    Measured on layers of MobileNetV2 at 4 bits, error on other images, biases matched after: rate
    .02 and lambda .01 leave half the weights unsettled at 1000 steps and err 1.4 times as much;
    3000 steps gain under 1 %, 300 lose 1 to 3 %; flips gain 0 to 40 %, reach 0 to 12 %; a start
    from GPTQ's codes neither gains nor loses, GPTQ as a rival gains 2 to 9 %.
    """

    iterations: int = 1000
    rate: float = 0.1
    penalty: float = 3.0
    beta: tuple[int, int] = (20, 2)
    warm_up: float = 0.2
    pull: float = 0.5
    walks: int = 4
    reach: int = 1

    def __post_init__(self) -> None:
        if min(self.iterations, self.walks, self.reach) < 0:
            raise SpecError(f"iterations, walks and reach must be >= 0: {self}.")
        if not (self.rate > 0 and self.penalty >= 0 and 0 <= self.warm_up <= 1):
            raise SpecError(f"rate > 0, penalty >= 0 and warm_up in 0..1 are needed: {self}.")
        if not self.beta[0] >= self.beta[1] >= 2:
            raise SpecError(f"beta must fall from .. to, at least 2: {self.beta}.")


@dataclass(frozen=True, eq=False)
class Learned:
    """What came out.

    Args:
        codes: int8[C, n].
        before, after: float64[C] mean square error after the activation, over the patches:
            nearest rounding's and the codes'.
        unsettled: share of the weights whose h was not within 1e-3 of 0 or 1.
    """

    codes: np.ndarray
    before: np.ndarray
    after: np.ndarray
    unsettled: float


def learn(
    weight: np.ndarray,
    params: QParams,
    data: LayerData | None,
    settings: AdaRound,
    *,
    seed: int = 0,
    start: np.ndarray | None = None,
    rivals: Sequence[np.ndarray] = (),
    progress: Progress | None = None,
) -> Learned:
    """Learned codes of one weight.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer, with patches.
        settings: how.
        seed: of the mini-batches, which all channels share.
        start: int8[C, n] another rounder's codes; None: nearest rounding's.
        rivals: int8[C, n] each, other rounders' codes: flips go over them as well, and each
            channel keeps the best.
        progress: called with (steps done, steps).

    Raises:
        SpecError: no patches, or NaN or inf among them.
    """
    problem = Problem.of(weight, params, data, seed)
    base = nearest(weight, params)
    first = base if start is None else start
    floor, v = _start(problem, problem.bare(first), settings.pull if start is not None else 0.0)
    v = _descend(problem, floor, v, settings, seed, progress)
    codes = problem.codes(np.where(v == 0, problem.bare(first), floor + (v > 0)))
    codes, after = flipped(problem, codes, floor, settings.walks, settings.reach)
    assert data is not None
    assert data.patches is not None
    tried = [(base, flipped(problem, base, floor, 0)[1]), (codes, after)]
    tried += [flipped(problem, c, floor, settings.walks, settings.reach) for c in rivals]
    if start is not None:
        tried.insert(1, (start, flipped(problem, start, floor, 0)[1]))
    best, after = least_error(weight, params, data, tried)
    count = len(data.patches.rough)
    return Learned(best, tried[0][1] / count, after / count, _unsettled(problem, floor, v))


def _unsettled(problem: Problem, floor: np.ndarray, v: np.ndarray) -> float:
    """Share of the weights with h neither 0 nor 1, to 1e-3; clipped ones are settled."""
    h = soften(v)
    free = (floor >= problem.ends[:, :1]) & (floor < problem.ends[:, 1:])
    return float(np.mean((np.minimum(h, 1 - h) > 1e-3) & free))


def _start(problem: Problem, codes: np.ndarray, pull: float) -> tuple[np.ndarray, np.ndarray]:
    """The lower of the two codes of each weight, float32[C, n], and V."""
    floor = np.minimum(np.maximum(np.floor(problem.steps), codes - 1), codes)
    wanted = problem.steps + pull * (codes - problem.steps)
    return floor.astype(np.float32), soft_start(wanted, floor)


def flipped(
    problem: Problem, codes: np.ndarray, floor: np.ndarray, walks: int, reach: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Codes after greedy flips between floor and floor + 1, and their loss: a sum, float64[C]."""
    from tfq_ext.numerics.flips import flip  # numba

    bare = problem.bare(codes)
    least = np.clip(floor - reach, *problem.ends.T[:, :, None]).astype(np.int32)
    most = np.clip(floor + 1 + reach, *problem.ends.T[:, :, None]).astype(np.int32)
    after = flip(
        bare,
        least,
        most,
        problem.scale,
        problem.bias,
        problem.bounds,
        problem.blocks,
        problem.target,
        walks,
    )
    return problem.codes(bare), after.astype(np.float64)


def _plan(blocks: int, settings: AdaRound, seed: int) -> np.ndarray:
    """int64[T, 3]: of each step the block, beta (0 in the warm-up) and its number from 1."""
    steps = settings.iterations
    rng = np.random.default_rng([seed, 1])
    turns = [rng.permutation(blocks) for _ in range(-(-steps // blocks))]
    number = np.arange(1, steps + 1)
    quiet = int(settings.warm_up * steps)
    share = (number - 1 - quiet) / max(steps - quiet - 1, 1)
    beta = np.rint(settings.beta[0] + (settings.beta[1] - settings.beta[0]) * share)
    order = np.concatenate(turns)[:steps] if turns else np.zeros(0)
    return np.stack([order, np.where(number > quiet, beta, 0), number], 1).astype(np.int64)


def _descend(
    problem: Problem,
    floor: np.ndarray,
    v: np.ndarray,
    settings: AdaRound,
    seed: int,
    progress: Progress | None,
) -> np.ndarray:
    """V after all steps, float32[C, n]."""
    from tfq_ext.numerics.soft_rounding import descend  # numba

    plan = _plan(problem.blocks.shape[1], settings, seed)
    state = np.zeros((len(v), 3, v.shape[1]), np.float32)
    state[:, 0] = v
    p = problem
    model = (state, floor, p.scale, p.bias, p.bounds, p.ends, p.gain)
    for done in range(0, len(plan), _CHUNK):
        part = plan[done : done + _CHUNK]
        descend(
            model, p.blocks, p.target, part, np.float32(settings.penalty), np.float32(settings.rate)
        )
        if progress is not None:
            progress(done + len(part), len(plan))
    return state[:, 0].copy()
