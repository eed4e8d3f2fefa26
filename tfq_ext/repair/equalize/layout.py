"""Weights of each op as equalization counts them: float[taps, I/G, G, O/G], and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfq_ext._table import Table


@dataclass(frozen=True)
class Layout:
    """How an op stores its weights.

    Args:
        split: (weights, input channels) -> (view float[..., I/G, G, O/G] by a reshape, and the
            order of axes that makes it float[taps..., I/G, G, O/G]).
    """

    split: Callable[[np.ndarray, int], tuple[tuple[int, ...], tuple[int, ...]]]

    def canonical(self, weights: np.ndarray, inputs: int) -> np.ndarray:
        """float[taps, I/G, G, O/G] of stored weights; `inputs` is the op's channels in."""
        shape, order = self.split(weights, inputs)
        spread = weights.reshape(shape).transpose(order)
        return spread.reshape(-1, *spread.shape[-3:])

    def restored(self, canonical: np.ndarray, weights: np.ndarray, inputs: int) -> np.ndarray:
        """float32 in the shape and order of `weights`; the inverse of `canonical`."""
        shape, order = self.split(weights, inputs)
        spread = canonical.reshape([shape[k] for k in order]).transpose(np.argsort(order))
        return np.ascontiguousarray(spread.reshape(weights.shape), np.float32)


def _conv(w: np.ndarray, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[O, H, W, I/G], output channels group by group."""
    o, *taps, i = w.shape
    g = inputs // i
    n = len(taps)
    return (g, o // g, *taps, i), (*range(2, 2 + n), 2 + n, 0, 1)


def _depthwise(w: np.ndarray, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[1, H, W, I M], output channel i M + m."""
    return (*w.shape[:3], 1, inputs, w.shape[3] // inputs), (0, 1, 2, 3, 4, 5)


def _transpose_conv(w: np.ndarray, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[O, H, W, I]."""
    return (1, *w.shape), (2, 3, 4, 0, 1)


def _conv_3d(w: np.ndarray, inputs: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """[D, H, W, I, O]."""
    return (*w.shape[:4], 1, w.shape[4]), (0, 1, 2, 3, 4, 5)


LAYOUTS: Table[Layout] = Table(
    "op whose weights are equalized",
    {
        "CONV_2D": Layout(_conv),
        "DEPTHWISE_CONV_2D": Layout(_depthwise),
        "FULLY_CONNECTED": Layout(_conv),
        "TRANSPOSE_CONV": Layout(_transpose_conv),
        "CONV_3D": Layout(_conv_3d),
    },
)
