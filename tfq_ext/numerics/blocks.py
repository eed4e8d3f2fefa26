"""Weights as equalization sees them: magnitudes between channels, and bounds of factors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError


@dataclass(frozen=True, eq=False)
class Block:
    """The greatest weight between each input and output channel of a linear layer.

    Args:
        size: float64[I/G, G, O/G], not negative: G groups; input channel g I/G + i, output channel
            g O/G + o. A dense layer or ordinary conv has G = 1, a depthwise conv I/G = 1.
    """

    size: np.ndarray

    def __post_init__(self) -> None:
        if self.size.ndim != 3 or not self.size.size or not (self.size >= 0).all():
            raise SpecError(
                f"A block is float[I/G, G, O/G] of magnitudes >= 0, got {list(self.size.shape)}, "
                f"{'NaN or negative values' if self.size.size else 'empty'}."
            )

    @classmethod
    def of(cls, weights: np.ndarray) -> Block:
        """From weights float[taps, I/G, G, O/G]."""
        return cls(np.abs(np.asarray(weights, np.float64)).max(axis=0))

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.size.shape[0] * self.size.shape[1]

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.size.shape[1] * self.size.shape[2]

    @property
    def is_diagonal(self) -> bool:
        """Whether each channel goes to itself alone: depthwise with multiplier 1."""
        return self.size.shape[0] == self.size.shape[2] == 1

    def output_ranges(self) -> np.ndarray:
        """max |W| of each output channel, float64[O]."""
        return np.asarray(self.size.max(axis=0).reshape(-1))

    def input_ranges(self) -> np.ndarray:
        """max |W| of each input channel, float64[I]."""
        return np.asarray(self.size.max(axis=2).T.reshape(-1))

    def scaled(self, before: np.ndarray | None, after: np.ndarray | None) -> Block:
        """With inputs multiplied by `before`, float64[I], and outputs divided by `after`, [O]."""
        return Block(scaled(self.size[None], before, after)[0])


def scaled(weights: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> np.ndarray:
    """Weights with their inputs multiplied and their outputs divided.

    Args:
        weights: float[taps, I/G, G, O/G].
        before: s of the inputs, float64[I]; None is 1.
        after: s of the outputs, float64[O]; None is 1.

    Returns:
        float64[taps, I/G, G, O/G].
    """
    _, i, g, o = weights.shape
    result = np.asarray(weights, np.float64)
    if before is not None:
        result = result * before.reshape(g, i).T[None, :, :, None]
    if after is not None:
        result = result / after.reshape(1, 1, g, o)
    return result


@dataclass(frozen=True, eq=False)
class Bounds:
    """Between what a link's scales must lie.

    Args:
        low, high: float64[C], 0 < low <= high; low <= 1 <= high, so that doing nothing is allowed.
    """

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        if not ((self.low > 0) & (self.low <= 1) & (self.high >= 1)).all():
            raise SpecError("Bounds of scales must satisfy 0 < low <= 1 <= high.")

    def clip(self, s: np.ndarray) -> np.ndarray:
        """The nearest allowed scales."""
        return np.clip(s, self.low, self.high)

    def clip_exponents(self, exponents: np.ndarray) -> np.ndarray:
        """The nearest allowed powers of two."""
        with np.errstate(divide="ignore"):
            low, high = np.ceil(np.log2(self.low)), np.floor(np.log2(self.high))
        return np.clip(exponents, low, high)


def cap_bounds(largest: np.ndarray, cap: float = 6.0) -> Bounds:
    """Scales under which min(x, cap) stays as inactive, or as active, as it was.

    x / s <= cap wherever x <= cap was seen: s >= largest / cap; a channel that was seen above the
    cap keeps s = 1.

    Args:
        largest: greatest value of each channel before the cap, float64[C].
        cap: 6.
    """
    over = largest > cap
    low = np.where(over, 1.0, np.maximum(largest / cap, np.finfo(np.float32).tiny))
    return Bounds(low, np.where(over, 1.0, np.inf))


def limit_bounds(channels: int, limit: float) -> Bounds:
    """Scales from 1 / limit to limit."""
    if not limit >= 1:
        raise SpecError(f"limit must be 1 or more, got {limit}.")
    return Bounds(np.full(channels, 1 / limit), np.full(channels, limit))
