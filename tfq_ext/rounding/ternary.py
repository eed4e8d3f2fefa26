r"""Ternary weights as integers: :math:`q = \mathrm{round}(\alpha_g / s_c) \, t`, t in {-1, 0, 1}.

A group is N input channels at one kernel position of one output channel, so that N products
share a multiplication; hardware that has one for each, as LiteRT's kernels do, runs the same codes
as plain int8. :math:`s_c` is the channel's largest :math:`\alpha_g` over the grid's largest code.
Depthwise kernels, with one input channel each, take N neighbouring positions instead.

With data the signs are fitted to the layer's output (`fitted`), and each channel's magnitudes are
stretched until its output varies as the float network's does, as FGQ's new BatchNorm statistics
do; its mean is the bias's business (`bias: match`). On the demo network, 64 images, biases matched:
9.0 -> 15.3 dB by channel, 14.6 -> 18.8 dB in groups of 4.

Source: Li et al. 1605.04711 (TWN); Mellempudi et al. 1705.01462 (FGQ), section 3. Departures: the
exact threshold instead of a rule for Gaussian weights; :math:`\alpha` in 127ths of its channel's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.ternary import Layout, best_alpha, best_alphas, ternarize
from tfq_ext.rounding.fitted import Alphabet, arranged, fitted
from tfq_ext.rounding.grid import FLOOR
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.rounding.quadratic import Chooser, Quadratic
from tfq_ext.spec import QParams

TURNS = 2  # of signs and gains; four gain no more
TIE = 1e-9  # relative: sums in another order must not move a tie
MOST = 2.0  # a channel is stretched by at most this: with few data it may hardly have moved


@dataclass(frozen=True, eq=False)
class Ternary:
    """A weight as magnitudes and signs.

    Args:
        above, below: float64[C, n], what a positive and a negative code of the weight's group
            stand for.
        signs: float64[C, n], -1, 0 or 1.
    """

    above: np.ndarray
    below: np.ndarray
    signs: np.ndarray

    @property
    def reals(self) -> np.ndarray:
        """What they stand for; float64[C, n]."""
        return np.where(self.signs > 0, self.above, self.below) * self.signs

    def times(self, gain: np.ndarray) -> Ternary:
        """Every channel's magnitudes times its gain, float64[C or 1]."""
        return Ternary(self.above * gain[:, None], self.below * gain[:, None], self.signs)


def by_channel(job: Job) -> Ternary:
    """One magnitude a channel, or one in all where the grid has one scale."""
    rows = job.weight if job.params.spec.axis is not None else job.weight.reshape(1, -1)
    alpha = best_alpha(rows)
    signs = np.sign(ternarize(rows, alpha)).reshape(job.weight.shape)
    magnitudes = np.broadcast_to(alpha[:, None], job.weight.shape)
    return _on_data(job, Ternary(magnitudes, magnitudes, signs))


def by_group(job: Job, *, two_sided: bool = False) -> Ternary:
    """One magnitude for every group of N weights, N the job's argument; 0: all of a channel.

    Args:
        job: the weight; the last group of a kernel position may have fewer than N.
        two_sided: negative weights have a magnitude, and so a threshold, of their own.

    Raises:
        SpecError: N is no whole number, or negative.
    """
    channels, n = job.weight.shape
    taps = 1 if n == job.taps else job.taps  # depthwise: groups along the positions
    layout = Layout((channels, taps, n // taps), (0,), 2, _group_size(job.argument))
    groups = layout.split(job.weight.reshape(layout.shape))  # [C, groups, N]
    flat = groups.reshape(-1, groups.shape[-1])
    below, above = best_alphas(flat) if two_sided else (best_alpha(flat),) * 2
    up, down = (np.broadcast_to(side[:, None], flat.shape) for side in (above, below))
    up, down = (np.broadcast_to(side[:, None], flat.shape) for side in (above, below))
    parts = (up, down, np.sign(ternarize(flat, above, below)))
    up, down, signs = (layout.join(part.reshape(groups.shape)).reshape(-1, n) for part in parts)
    return _on_data(job, Ternary(up, down, signs))


def ternary_grid(job: Job, found: Ternary, steps: int) -> QParams:
    """The largest magnitude of a channel, or of all, at code `steps`."""
    spec = job.params.spec
    top = np.maximum(found.above, found.below).max(axis=1, initial=0.0)
    top = top if spec.axis is not None else top.max(initial=0.0)
    return QParams(spec, np.maximum(top / steps, FLOOR).astype(np.float32))


def ternary_codes(job: Job, found: Ternary) -> np.ndarray:
    """int8[C, n]: each magnitude at the nearest code, with its sign."""
    return job.codes(np.rint(found.reals / job.scale))


def _either(found: Ternary) -> Alphabet:
    """-below, 0 or above, whichever is nearest."""

    def alphabet(problem: Quadratic, _: np.ndarray | None) -> Chooser:
        above, below = arranged(problem, found.above), arranged(problem, found.below)

        def choose(t: int, steps: np.ndarray) -> np.ndarray:
            up = np.where(2 * steps > above[:, t] * (1 + TIE), above[:, t], 0.0)
            return up - np.where(-2 * steps > below[:, t] * (1 + TIE), below[:, t], 0.0)

        return choose

    return alphabet


def _on_data(job: Job, found: Ternary) -> Ternary:
    """Signs by the layer's output, and magnitudes times what gives its variance back, in turns."""
    if job.data is None:
        return found
    total = np.ones(1)
    for _ in range(TURNS):
        now = found.times(total / job.scale[:, 0])
        reals = fitted(job, now.reals, _either(now)) * job.scale
        found = Ternary(found.above, found.below, np.sign(reals))
        wanted, got = _spread(reals, job.data)
        if job.params.spec.axis is None:
            wanted, got = wanted.sum(keepdims=True), got.sum(keepdims=True)
        ratio = np.divide(wanted, got, out=np.ones_like(got), where=got > 0)
        total = np.clip(total * np.sqrt(ratio), 1 / MOST, MOST)
    return found.times(total)


def _group_size(argument: float | None) -> int:
    size = 0.0 if argument is None else argument
    if size != int(size) or size < 0:
        raise SpecError(f"A group has a whole number of weights (0: a whole channel), got {size}.")
    return int(size)


def _spread(reals: np.ndarray, data: LayerData) -> tuple[np.ndarray, np.ndarray]:
    """Variance of w x and of w^ x~ by channel, float64[C] each; mean squares without patches."""
    groups, n = len(data.gram), reals.shape[1]
    rows = reals.reshape(groups, -1, n)
    got = (rows @ data.gram * rows).sum(-1).reshape(-1)
    if data.patches is None:
        return data.power, got
    mean = (rows @ data.patches.rough.mean(axis=0, dtype=np.float64)[:, :, None]).reshape(-1)
    target = data.patches.target.mean(axis=0, dtype=np.float64)
    return np.maximum(data.power - target**2, 0), np.maximum(got - mean**2, 0)
