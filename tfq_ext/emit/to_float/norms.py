"""What the BatchNormalization layers of a Keras model remember, before folding erases it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.fold import norm_map

PIXELS = (0.0, 255.0)
NORMALIZED = 16.0  # what preprocessing makes of 255 at most; a plain factor leaves more


@dataclass(frozen=True, eq=False)
class Norm:
    r"""One BatchNormalization: its outputs are taken for \( N(\beta, \gamma^2) \), per channel.

    Args:
        layer: its name.
        mean: beta, float64[C].
        deviation: |gamma|, float64[C].
        factor, offset: it computes factor x + offset in inference, float64[C] each.
        scale: size of the terms that `offset` is the sum of, float64[C]: what rounding is
            measured by.

    Source: Nagel et al. 1906.04721 section 4.2.1.
    """

    layer: str
    mean: np.ndarray
    deviation: np.ndarray
    factor: np.ndarray
    offset: np.ndarray
    scale: np.ndarray


@dataclass(frozen=True, eq=False)
class Remembered:
    """What a Keras model knows of its activations without any sample.

    Args:
        norms: its trained BatchNormalization layers.
        first: the first BatchNormalization of all; None where that was never trained.
        biases: of all layers that have one, float64[C] each: a norm behind such a layer folds
            its factor into it.
        pixels: whether the model scales pixels 0..255 itself, in its first layer.
    """

    norms: tuple[Norm, ...] = ()
    first: Norm | None = None
    biases: tuple[np.ndarray, ...] = field(default=(), repr=False)
    pixels: bool = False


def remembered(model: Any) -> Remembered:
    """Read a Keras 3 or tf_keras model, nested models included.

    A BatchNormalization that was never trained (means 0, variances 1) remembers nothing.
    """
    found: list[Norm | None] = []
    biases, pixels = [], None
    for layer in _leaves(model):
        kind = type(layer).__name__
        if kind != "InputLayer" and pixels is None:
            pixels = _scales_pixels(layer, kind)
        if kind == "BatchNormalization" and getattr(layer, "built", False):
            found.append(_norm(layer))
        bias = getattr(layer, "bias", None)
        if bias is not None and hasattr(bias, "shape") and len(bias.shape) == 1:
            biases.append(_values(bias))
    norms = tuple(norm for norm in found if norm is not None)
    return Remembered(norms, found[0] if found else None, tuple(biases), bool(pixels))


def _norm(layer: Any) -> Norm | None:
    mu, variance = _values(layer.moving_mean), _values(layer.moving_variance)
    if np.all(variance == 1) and not np.any(mu):
        return None
    gamma, beta = (getattr(layer, name, None) for name in ("gamma", "beta"))
    g = np.ones_like(mu) if gamma is None else _values(gamma)
    b = np.zeros_like(mu) if beta is None else _values(beta)
    try:
        factor, offset = norm_map(mu, variance, float(layer.epsilon), g, b)
    except SpecError:  # a damaged variance: conversion shows what it does to the outputs
        return None
    scale = np.abs(b) + np.abs(factor * mu)
    return Norm(str(layer.name), b, np.abs(g), factor, offset, scale)


def _values(variable: Any) -> np.ndarray:
    """A variable's values, float64; numpy asks Keras' own for an array in a way it warns of."""
    plain = variable.numpy() if hasattr(variable, "numpy") else variable
    return np.asarray(plain, np.float64)


def _scales_pixels(layer: Any, kind: str) -> bool:
    """Whether a first layer brings 0..255 near to 0..1 or -1..1."""
    try:
        if kind == "Rescaling":
            return 0.5 <= 255 * float(np.max(np.abs(layer.scale))) <= NORMALIZED
        if kind == "Normalization":
            mean, variance = _values(layer.mean), _values(layer.variance)
            return bool(np.all(mean > 1) and np.all(mean < 255) and np.all(variance > 100))
    except (TypeError, ValueError, AttributeError):
        return False
    return False


def _leaves(layer: Any) -> Iterator[Any]:
    """Layers in order; those inside wrappers and nested models too."""
    children = getattr(layer, "layers", None)
    inner = getattr(layer, "layer", None)
    if not children and inner is not None and hasattr(inner, "weights"):
        children = [inner]
    if not children:
        yield layer
        return
    for child in children:
        yield from _leaves(child)
