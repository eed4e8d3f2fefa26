r"""Ternary weights as integers: :math:`q = \mathrm{round}(\alpha_g / s_c) \, t`, t in {-1, 0, 1}.

A group is N input channels at one kernel position of one output channel, so that N products
share a multiplication; hardware that has one for each, as LiteRT's kernels do, runs the same codes
as plain int8. :math:`s_c` is the channel's largest :math:`\alpha_g` over the grid's largest code.
Depthwise kernels, with one input channel each, take N neighbouring positions instead.

With data, each channel's magnitudes are stretched until its output varies as the float network's
does (as FGQ's new BatchNorm statistics do); its mean is the bias's business (`bias: match`).

Source: Li et al. 1605.04711 (TWN); Mellempudi et al. 1705.01462 (FGQ), section 3. Departures: the
exact threshold instead of a rule for Gaussian weights; :math:`\alpha` in 127ths of its channel's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.ternary import Layout, best_alpha, best_alphas, ternarize
from tfq_ext.rounding.grid import FLOOR
from tfq_ext.rounding.job import Job
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.spec import QParams

MOST = 2.0  # a channel is stretched by at most this: with few data it may hardly have moved


@dataclass(frozen=True, eq=False)
class Ternary:
    """A weight as magnitudes and signs.

    Args:
        magnitudes: float64[C, n], that of each weight's group on its side of 0.
        signs: float64[C, n], -1, 0 or 1.
    """

    magnitudes: np.ndarray
    signs: np.ndarray

    @property
    def reals(self) -> np.ndarray:
        """What they stand for; float64[C, n]."""
        return self.magnitudes * self.signs


def by_channel(job: Job) -> Ternary:
    """One magnitude a channel, or one in all where the grid has one scale."""
    together = job.params.spec.axis is None
    rows = job.weight.reshape(1, -1) if together else job.weight
    alpha = best_alpha(rows)
    signs = np.sign(ternarize(rows, alpha)).reshape(job.weight.shape)
    magnitudes = np.broadcast_to(alpha[:, None], job.weight.shape)
    return _stretched(job, Ternary(magnitudes, signs), together=together)


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
    parts = (
        np.where(flat < 0, below[:, None], above[:, None]),
        np.sign(ternarize(flat, above, below)),
    )
    shape = job.weight.shape
    magnitudes, signs = (layout.join(p.reshape(groups.shape)).reshape(shape) for p in parts)
    return _stretched(job, Ternary(magnitudes, signs), together=False)


def ternary_grid(job: Job, found: Ternary, steps: int) -> QParams:
    """The largest magnitude of a channel, or of all, at code `steps`."""
    spec = job.params.spec
    top = found.magnitudes.max(axis=1, initial=0.0)
    top = top if spec.axis is not None else top.max(initial=0.0)
    return QParams(spec, np.maximum(top / steps, FLOOR).astype(np.float32))


def ternary_codes(job: Job, found: Ternary) -> np.ndarray:
    """int8[C, n]: each magnitude at the nearest code, with the weight's sign."""
    return job.codes(np.rint(found.magnitudes / job.scale) * found.signs)


def _group_size(argument: float | None) -> int:
    size = 0.0 if argument is None else argument
    if size != int(size) or size < 0:
        raise SpecError(f"A group has a whole number of weights (0: a whole channel), got {size}.")
    return int(size)


def _stretched(job: Job, found: Ternary, *, together: bool) -> Ternary:
    """Magnitudes times the factor that gives each channel's output its float variance back."""
    if job.data is None:
        return found
    wanted, got = _spread(found.reals, job.data)
    if together:
        wanted, got = wanted.sum(keepdims=True), got.sum(keepdims=True)
    gain = np.sqrt(np.divide(wanted, got, out=np.ones_like(got), where=got > 0))
    gain = np.clip(gain, 1 / MOST, MOST)
    return Ternary(found.magnitudes * gain[:, None], found.signs)


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
