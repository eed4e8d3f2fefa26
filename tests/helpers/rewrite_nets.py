"""Small Keras models with everything in them that a rewriting must find, or must not touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as L

Build = Callable[[], Any]


def shaken(model: Any, seed: int = 0) -> Any:
    """The model with random weights: channels of unlike size, gammas of both signs."""
    rng = np.random.default_rng(seed)
    for w in model.weights:
        values = rng.normal(size=w.shape) * np.exp(rng.normal(size=w.shape[-1:]))
        values /= max(1.0, np.sqrt(np.prod(w.shape[:-1])))
        if w.path.endswith("moving_variance"):
            values = np.abs(values) + 0.05
        w.assign(values.astype(w.dtype))
    return model


def batch(model: Any, n: int = 6, seed: int = 1, scale: float = 2.0) -> Any:
    """Random inputs in the order of model.inputs: one array, or a list of them."""
    rng = np.random.default_rng(seed)
    arrays = [_random(rng, t, n, scale) for t in model.inputs]
    return arrays[0] if len(arrays) == 1 else arrays


def _random(rng: np.random.Generator, t: Any, n: int, scale: float) -> np.ndarray:
    shape = [n if t.shape[0] is None else t.shape[0], *(3 if d is None else d for d in t.shape[1:])]
    if "int" in str(t.dtype):
        return rng.integers(0, 4, shape).astype(t.dtype)
    if t.dtype == "bool":
        return rng.random(shape) > 0.5
    return (rng.normal(size=shape) * scale).astype(t.dtype)


def outputs(model: Any, inputs: Any) -> list[np.ndarray]:
    """All outputs in inference, flat."""
    found = keras.tree.flatten(model(inputs, training=False))
    return [np.asarray(keras.ops.convert_to_numpy(y)) for y in found]


def relative(reference: list[np.ndarray], candidate: list[np.ndarray]) -> float:
    """Greatest difference over the greatest reference value."""
    pairs = list(zip(reference, candidate, strict=True))
    return max(float(np.abs(r - c).max() / max(np.abs(r).max(), 1e-9)) for r, c in pairs)


def _conv_bn(x: Any, layer: Any, act: Any = None) -> Any:
    y = L.BatchNormalization()(layer(x))
    return y if act is None else act(y)


def mobilenet_like(act: Callable[[], Any] = lambda: L.ReLU(6.0)) -> Any:
    """Inverted residuals: expand, depthwise, project, add."""
    x = keras.Input((16, 16, 3))
    y = _conv_bn(x, L.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="stem"), act())
    for k in range(2):
        z = _conv_bn(y, L.Conv2D(16, 1, use_bias=False, name=f"expand{k}"), act())
        z = _conv_bn(z, L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"dw{k}"), act())
        y = y + _conv_bn(z, L.Conv2D(8, 1, use_bias=False, name=f"project{k}"))
    y = _conv_bn(y, L.Conv2D(24, 1, name="head"), act())
    return keras.Model(x, L.Dense(5, name="scores")(L.GlobalAveragePooling2D()(y)))


def resnet_like() -> Any:
    """Basic blocks; ReLU behind the add."""
    x = keras.Input((12, 12, 3))
    y = _conv_bn(x, L.Conv2D(6, 3, padding="same"), L.ReLU())
    for _ in range(2):
        z = _conv_bn(y, L.Conv2D(6, 3, padding="same"), L.ReLU())
        z = L.Dropout(0.2)(z)
        z = _conv_bn(z, L.Conv2D(6, 3, padding="same"))
        y = L.ReLU()(L.Add()([y, z]))
    y = L.Flatten()(L.MaxPool2D(3)(y))
    return keras.Model(x, L.Dense(4)(L.Dense(16, activation="relu")(y)))


def every_linear() -> Any:
    """Every layer that takes a BatchNormalization in, with every option of it."""
    x = keras.Input((9, 9, 4))
    y = L.BatchNormalization(center=False, epsilon=0.1)(L.Conv2D(6, 3, groups=2)(x))
    y = L.DepthwiseConv2D(3, depth_multiplier=2, padding="same", use_bias=False)(L.ReLU()(y))
    y = L.SeparableConv2D(5, 3, depth_multiplier=2)(L.BatchNormalization(scale=False)(y))
    y = L.LeakyReLU()(L.BatchNormalization(axis=3, epsilon=1e-5)(y))
    y = L.Conv2DTranspose(7, 3, strides=2, padding="same")(y)
    y = L.PReLU(shared_axes=[1, 2])(L.BatchNormalization(center=False, scale=False)(y))
    y = L.BatchNormalization()(L.EinsumDense("abcd,de->abce", (10, 10, 3))(y))
    flat = L.Flatten()(y)
    head = L.BatchNormalization()(L.Dense(3, use_bias=False)(flat))
    line = L.Reshape((10, 30))(flat)
    line = L.BatchNormalization()(L.Conv1D(4, 3)(line))
    line = L.BatchNormalization()(L.DepthwiseConv1D(3)(line))
    line = L.BatchNormalization()(L.SeparableConv1D(4, 2)(line))
    line = L.BatchNormalization()(L.Conv1DTranspose(4, 2)(line))
    cube = L.Reshape((5, 4, 5, 3))(flat)
    cube = L.BatchNormalization()(L.Conv3D(2, 2)(cube))
    cube = L.BatchNormalization()(L.Conv3DTranspose(2, 2)(cube))
    return keras.Model(x, {"flat": head, "line": line, "cube": cube})


def shared() -> Any:
    """A conv with its BatchNormalization used twice, and a ReLU6 used three times."""
    x = keras.Input((8, 8, 4))
    conv, norm, act = L.Conv2D(4, 3, padding="same"), L.BatchNormalization(), L.ReLU(6.0)
    y = act(norm(conv(act(norm(conv(x))))))
    return keras.Model(x, L.Dense(3)(L.GlobalMaxPooling2D()(act(y * 4.0))))


def nested() -> Any:
    """A model in a model in a sequential one; the middle one is called twice."""
    a = keras.Input((6, 6, 4))
    deep = keras.Sequential([a, L.Conv2D(4, 1), L.BatchNormalization(), L.ReLU(6.0)], name="deep")
    b = keras.Input((6, 6, 4))
    z = L.Conv2D(8, 3, padding="same", activation="relu6")(deep(b))
    z = L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(z))
    middle = keras.Model(b, z, name="middle")
    x = keras.Input((6, 6, 4))
    y = middle(middle(x))
    return keras.Sequential([keras.Model(x, y, name="outer"), L.Flatten(), L.Dense(3)])


@keras.saving.register_keras_serializable("rewrite_nets")
class Block(L.Layer):
    """A user's own layer made of layers; its ReLU6 is an attribute and an operation."""

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.conv, self.norm = L.Conv2D(filters, 3, name="conv"), L.BatchNormalization(name="norm")
        self.act = L.ReLU(6.0, name="act")
        self.last = L.Conv2D(filters, 1, name="last")

    def call(self, x: Any, training: bool | None = None) -> Any:
        y = self.act(self.norm(self.conv(x), training=training))
        return keras.ops.relu6(self.last(y) * 2.0)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("rewrite_nets")
class Classifier(keras.Model):
    """A subclassed model with two blocks of the same inner names."""

    def __init__(self, classes: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.first, self.second = Block(4, name="first"), Block(6, name="second")
        self.pool, self.scores = L.GlobalAveragePooling2D(), L.Dense(classes, name="scores")

    def call(self, x: Any) -> Any:
        return self.scores(self.pool(self.second(self.first(x))))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "classes": self.classes}


def subclassed() -> Any:
    """The subclassed model, called once."""
    model = Classifier()
    model(np.zeros((1, 8, 8, 2), np.float32))
    return model


def in_a_layer() -> Any:
    """A functional model with a user's layer in it."""
    x = keras.Input((8, 8, 2))
    return keras.Model(x, L.Flatten()(Block(3, name="block")(x)))


def hard() -> Any:
    """Hard-sigmoid and hard-swish written out in six ways, and three ReLU6 that are none."""
    x = keras.Input((7,))
    y = L.Dense(7, activation="relu6", name="plain")(x)
    y = y * keras.ops.relu6(y + 3.0) / 6.0
    y = y * L.ReLU(6.0, name="mobilenet_v3")(y + 3.0) * (1.0 / 6.0)
    y = y * (keras.ops.clip(3.0 + y, 0, 6) * 0.166667)
    y = L.Multiply()([y, L.Rescaling(1 / 6)(L.Activation("relu6", name="rescaled")(y))])
    y = keras.ops.minimum(keras.ops.relu(y - -3.0), 6.0) / 6.0
    y = L.Activation("hard_swish", name="own")(L.Activation("hard_sigmoid")(y))
    y = L.Dense(7, activation="relu6", name="sixth")(y) / 6.0
    return keras.Model(x, L.ReLU(6.0, name="last")(L.ReLU(6.0, name="added")(y + 2.0) * 0.5))


NETS: dict[str, Build] = {
    "mobilenet_like": mobilenet_like,
    "resnet_like": resnet_like,
    "every_linear": every_linear,
    "shared": shared,
    "nested": nested,
    "subclassed": subclassed,
    "in_a_layer": in_a_layer,
    "hard": hard,
}
