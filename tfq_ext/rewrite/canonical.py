"""Kernels of Keras layers as float[taps, I/G, G, O/G], and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.rewrite.linear import LINEAR, Linear, linear_of

keras = need("keras", why="Reading the kernels of a Keras model")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a layer.

    Args:
        layer: that holds it.
        attribute: "kernel", "depthwise_kernel", "pointwise_kernel".
        row: where its channels lie.
        last: whether the layer's bias and activation follow it.
    """

    layer: Any
    attribute: str
    row: Linear
    last: bool

    def canonical(self, weights: np.ndarray, channels: int | None = None) -> np.ndarray:
        """The weights as float[taps, I/G, G, O/G].

        Args:
            weights: in the layer's layout.
            channels: of the input, where a dense layer reads a flattened image: the pixels become
                taps.
        """
        if self.row is LINEAR["DepthwiseConv2D"]:
            return weights.reshape(-1, 1, *weights.shape[-2:])
        if self.row is LINEAR["Conv2DTranspose"]:
            weights = np.swapaxes(weights, -1, -2)
        i, o = weights.shape[-2:]
        groups = getattr(self.layer, "groups", 1) or 1
        if channels is not None and weights.ndim == 2:
            return weights.reshape(-1, channels, 1, o)
        return weights.reshape(-1, i, groups, o // groups)

    def restored(self, canonical: np.ndarray, like: np.ndarray) -> np.ndarray:
        """The inverse of `canonical`, in the shape and dtype of `like`."""
        if self.row is LINEAR["Conv2DTranspose"]:
            swapped = canonical.reshape(np.swapaxes(like, -1, -2).shape)
            return np.swapaxes(swapped, -1, -2).astype(like.dtype)
        return canonical.reshape(like.shape).astype(like.dtype)


def kernels_of(layer: Any) -> list[Kernel]:
    """The kernels of a linear layer in order of use; none for other classes and EinsumDense."""
    row = linear_of(layer)
    if row is None or isinstance(layer, keras.layers.EinsumDense):
        return []
    if row.first == row.kernel:
        return [Kernel(layer, row.kernel, row, True)]
    depthwise, pointwise = LINEAR["DepthwiseConv2D"], LINEAR["Conv2D"]
    return [
        Kernel(layer, row.first, depthwise, False),
        Kernel(layer, row.kernel, pointwise, True),
    ]
