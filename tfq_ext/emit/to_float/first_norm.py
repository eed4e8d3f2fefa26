"""What the first BatchNormalization of a Keras model remembers of its training inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class FirstNorm:
    """Mean and deviation that the layer's output had in training, per channel.

    Args:
        layer: its name.
        mean: float64[C], beta.
        deviation: float64[C], |gamma|.
    """

    layer: str
    mean: np.ndarray
    deviation: np.ndarray


def first_norm(model: Any) -> FirstNorm | None:
    """The first BatchNormalization in layer order, nested models included; None without one.

    After folding nothing of it is left in the flatbuffer, hence it is read here.
    """
    for layer in _leaves(model):
        if type(layer).__name__ == "BatchNormalization" and layer.built:
            variance = np.asarray(layer.moving_variance, np.float64)
            if np.all(variance == 1) and not np.any(np.asarray(layer.moving_mean)):
                return None  # never trained: it remembers nothing
            gamma = getattr(layer, "gamma", None)
            beta = getattr(layer, "beta", None)
            return FirstNorm(
                str(layer.name),
                np.zeros_like(variance) if beta is None else np.asarray(beta, np.float64),
                np.ones_like(variance) if gamma is None else np.abs(np.asarray(gamma, np.float64)),
            )
    return None


def _leaves(layer: Any) -> Iterator[Any]:
    children = getattr(layer, "layers", None)
    if not children:
        yield layer
        return
    for child in children:
        yield from _leaves(child)
