r"""Ternary weights, solved exactly: which weights become 0, and what the others become.

Minimising :math:`\|w - \alpha T\|^2` over :math:`\alpha > 0` and :math:`T \in \{-1, 0, 1\}^n`
leaves :math:`T = \mathrm{sign}(w)\,1[|w| > \alpha / 2]`, the nearest of three values, and for the k
largest magnitudes :math:`\alpha = S_k / k` with an error of :math:`\|w\|^2 - S_k^2 / k`. So one
sort finds the best k; no distribution is assumed.

Source: Li et al. 1605.04711 (TWN), equations 2 to 5, whose 0.7 mean|w| is the solution for
Gaussian weights; Mellempudi et al. 1705.01462 (FGQ), section 3, for groups. METHODS.md 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.spec import TINY

STEPS = 127  # codes of a group's magnitude in units of its channel's scale


def best_alpha(rows: np.ndarray) -> np.ndarray:
    r"""The magnitude of least squared error: :math:`S_k / k` where :math:`S_k^2 / k` is largest.

    Args:
        rows: float32[G, n]; signs do not matter.

    Returns:
        float64[G]; 0 for a row of zeros.
    """
    if rows.shape[1] == 0:
        return np.zeros(len(rows))
    magnitude = -np.sort(-np.abs(rows.astype(np.float64)), axis=1)
    sums = np.cumsum(magnitude, axis=1)
    counts = np.arange(1, rows.shape[1] + 1)
    k = np.argmax(sums**2 / counts, axis=1)
    return sums[np.arange(len(rows)), k] / (k + 1)


def best_alphas(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One magnitude for negative and one for positive weights; each float64[G]."""
    return best_alpha(np.minimum(rows, 0)), best_alpha(np.maximum(rows, 0))


def rule_alpha(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""TWN's threshold :math:`0.7\,\overline{|w|}` and the magnitude above it; float64[G] each."""
    magnitude = np.abs(rows.astype(np.float64))
    threshold = 0.7 * magnitude.mean(axis=1)
    kept = magnitude > threshold[:, None]
    alpha = np.where(kept, magnitude, 0).sum(axis=1) / np.maximum(kept.sum(axis=1), 1)
    return threshold, alpha


def ternarize(rows: np.ndarray, alpha: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
    """The nearest of -below, 0 and alpha; float64[G, n].

    Args:
        rows: float32[G, n].
        alpha: float64[G], value of the positive weights.
        below: float64[G], magnitude of the negative ones; alpha where None.
    """
    up = alpha[:, None]
    down = up if below is None else below[:, None]
    return np.where(2 * rows > up, up, 0.0) - np.where(-2 * rows > down, down, 0.0)


@dataclass(frozen=True)
class Layout:
    """How the weights of a kernel fall into channels and groups.

    Args:
        shape: of the kernel.
        axes: the channel axes; () for one scale.
        along: the axis of the input channels: a group takes `size` of them at a fixed tap, so that
            their products share one multiplication. None: a group is all of a channel.
        size: N, weights in a group; the last of a row may have fewer. 0: all of a channel.
    """

    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()
    along: int | None = None
    size: int = 0

    def __post_init__(self) -> None:
        rank = len(self.shape)
        object.__setattr__(self, "axes", tuple(axis % rank for axis in self.axes))
        if self.along is not None:
            object.__setattr__(self, "along", self.along % rank)
        if self.size < 0:
            raise SpecError(f"A group has at least 1 weight (0: a whole channel), got {self.size}.")
        if self.along in self.axes:
            raise SpecError(f"Groups run along axis {self.along}, which is a channel axis.")

    @property
    def grouped(self) -> bool:
        """Whether a channel has more than one group."""
        return self.along is not None and self.size > 0

    def _order(self) -> tuple[int, ...]:
        rest = [k for k in range(len(self.shape)) if k not in (*self.axes, self.along)]
        return (*self.axes, *rest, *([] if self.along is None else [self.along]))

    def _lengths(self) -> tuple[int, int, int, int]:
        """Channels; weights in each; input channels in a run; padding behind each run."""
        channels = math.prod(self.shape[axis] for axis in self.axes)
        per_channel = math.prod(self.shape) // channels
        if self.along is None or self.size == 0:
            return channels, per_channel, per_channel, 0
        run = self.shape[self.along]
        return channels, per_channel, run, -run % self.size

    def split(self, w: Any, xp: Any = np) -> Any:
        """Weights as [channels, groups, N], with zeros where a group runs over the edge.

        Args:
            w: float32[shape].
            xp: numpy or keras.ops.
        """
        channels, per_channel, run, padding = self._lengths()
        rows = xp.transpose(w, self._order())
        if not self.grouped:
            return xp.reshape(rows, (channels, 1, per_channel))
        rows = xp.reshape(rows, (channels, per_channel // run, run))
        rows = xp.pad(rows, ((0, 0), (0, 0), (0, padding)))
        return xp.reshape(rows, (channels, -1, self.size))

    def join(self, rows: Any, xp: Any = np) -> Any:
        """The inverse of `split`; float32[shape] of [channels, groups, N]."""
        channels, per_channel, run, padding = self._lengths()
        if self.grouped:
            rows = xp.reshape(rows, (channels, per_channel // run, run + padding))[:, :, :run]
        order = self._order()
        rows = xp.reshape(rows, tuple(self.shape[axis] for axis in order))
        return xp.transpose(rows, tuple(int(k) for k in np.argsort(order)))


@dataclass(frozen=True)
class Ternary:
    """Ternary weights as integers: codes * scale.

    Args:
        codes: int8[shape]; -1, 0, 1 where a channel has one magnitude, else a magnitude's share of
            the channel's largest in 127ths.
        scale: float32[channel dims].
    """

    codes: np.ndarray
    scale: np.ndarray


def ternary(w: np.ndarray, layout: Layout, *, two_sided: bool = False) -> Ternary:
    """Ternary codes of least squared error for each group.

    Args:
        w: float32[layout.shape].
        layout: channels and groups.
        two_sided: negative weights have a magnitude, and so a threshold, of their own.

    Raises:
        SpecError: NaN or inf among the weights.
    """
    if not np.all(np.isfinite(w)):
        raise SpecError(f"The weight has {int(np.sum(~np.isfinite(w)))} NaN or inf values.")
    rows = layout.split(np.asarray(w, np.float32))
    flat = rows.reshape(-1, rows.shape[-1])
    sides = best_alphas(flat) if two_sided else (best_alpha(flat),)
    alpha = np.stack(sides, axis=-1).reshape(*rows.shape[:2], -1)  # [channels, groups, sides]
    top = np.maximum(alpha.max(axis=(1, 2)), TINY)
    steps = STEPS if two_sided or layout.grouped else 1
    scale = (top / steps).astype(np.float32)
    counts = np.rint(alpha / scale[:, None, None].astype(np.float64))
    values = counts.reshape(-1, counts.shape[-1])
    unit = np.repeat(scale.astype(np.float64), rows.shape[1])[:, None]
    codes = ternarize(flat / unit, values[:, -1], values[:, 0])
    channel_dims = tuple(layout.shape[axis] for axis in layout.axes)
    return Ternary(
        layout.join(codes.reshape(rows.shape)).astype(np.int8), scale.reshape(channel_dims)
    )
