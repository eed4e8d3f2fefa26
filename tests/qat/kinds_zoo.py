"""One small layer of every kind that has weights, and models of the shapes that people bring."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers as L

from tfq_ext.qat.layers import ChannelScale

# name -> (layer without bias and activation, shape of one input)
LINEAR = {
    "Conv1D": (lambda: L.Conv1D(4, 3, use_bias=False), (9, 3)),
    "Conv2D": (lambda: L.Conv2D(4, 3, strides=2, use_bias=False), (9, 9, 3)),
    "Conv2D dilated": (lambda: L.Conv2D(4, 3, dilation_rate=2, use_bias=False), (9, 9, 3)),
    "Conv2D grouped": (lambda: L.Conv2D(4, 3, groups=2, use_bias=False), (7, 7, 2)),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(3, depth_multiplier=2, use_bias=False), (9, 3)),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3, use_bias=False), (7, 7, 3)),
    "DepthwiseConv2D x2": (
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False),
        (7, 7, 3),
    ),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(4, 3, strides=2, use_bias=False), (6, 3)),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(4, 3, strides=2, use_bias=False), (5, 5, 3)),
    "Dense": (lambda: L.Dense(4, use_bias=False), (6,)),
    "EinsumDense": (lambda: L.EinsumDense("abc,cd->abd", (None, 4)), (5, 6)),
    "ChannelScale": (lambda: ChannelScale(use_bias=False, trainable=False), (5, 5, 4)),
}


def values(shape: tuple[int, ...], seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.3, scale, shape).astype(np.float32)


def randomised(norm: keras.layers.BatchNormalization, seed: int = 3) -> None:
    """A BatchNormalization that has been trained: no value is a default, one gamma negative."""
    rng = np.random.default_rng(seed)
    for weight, (lo, hi) in {
        "gamma": (0.2, 2.0),
        "beta": (-1.0, 1.0),
        "moving_mean": (-0.5, 0.5),
        "moving_variance": (0.1, 3.0),
    }.items():
        variable = getattr(norm, weight)
        if variable is not None:
            drawn = rng.uniform(lo, hi, variable.shape).astype(np.float32)
            if weight == "gamma":
                drawn[0] *= -1
            variable.assign(drawn)


def mobile(*, cap: float | None = None, size: int = 16, momentum: float = 0.9) -> keras.Model:
    """Convolution, depthwise block with a residual, lone BatchNormalization, pooling, dense."""
    x = y = trunk = keras.Input((size, size, 3), name="image")
    for k, (filters, kernel, stride) in enumerate([(8, 3, 2), (24, 1, 1)]):
        y = L.Conv2D(filters, kernel, stride, "same", use_bias=bool(k), name=f"conv{k}")(y)
        y = L.ReLU(cap)(L.BatchNormalization(momentum=momentum, name=f"norm{k}")(y))
        trunk = trunk if k else y
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(y)
    y = L.ReLU(cap)(L.BatchNormalization(momentum=momentum)(y))
    y = L.Conv2D(8, 1, use_bias=False, name="project")(y)
    y = L.Add(name="sum")([L.BatchNormalization(momentum=momentum)(y), trunk])
    y = L.ReLU()(L.BatchNormalization(momentum=momentum, name="lone")(y))
    y = L.Dropout(0.2)(L.GlobalAveragePooling2D(name="pool")(y))
    return trained_norms(keras.Model(x, L.Dense(5, name="scores")(y)))


def short(size: int = 8) -> keras.Model:
    """The kinds of `mobile` in three layers: where each case builds and exports a model."""
    x = y = keras.Input((size, size, 3), name="image")
    y = L.Conv2D(8, 3, 2, "same", use_bias=False, name="conv0")(y)
    y = L.ReLU()(L.BatchNormalization(name="norm0")(y))
    y = L.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    y = L.GlobalAveragePooling2D(name="pool")(L.ReLU()(y))
    return trained_norms(keras.Model(x, L.Dense(5, name="scores")(y)))


def trained_norms(model: keras.Model) -> keras.Model:
    for k, layer in enumerate(model._flatten_layers()):
        if isinstance(layer, L.BatchNormalization):
            randomised(layer, k)
    return model


def samples(model: keras.Model, count: int = 16, seed: int = 0) -> list[np.ndarray]:
    """One array an input."""
    rng = np.random.default_rng(seed)
    found = []
    for tensor in keras.tree.flatten(model.inputs):
        shape = (count, *tensor.shape[1:])
        wide = "float" in str(tensor.dtype)
        found.append(
            rng.normal(size=shape).astype(np.float32)
            if wide
            else rng.integers(0, 2, shape).astype(str(tensor.dtype))
        )
    return found
