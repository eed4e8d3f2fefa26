"""Small Keras 3 models of every shape that a stranger may bring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers as L

Build = Callable[[], Any]


def _classifier(inputs: Any, features: Any, classes: int = 4) -> Any:
    return keras.Model(inputs, L.Dense(classes, name="scores")(features))


def recurrent(layer: str, *, unroll: bool = False, batch: int | None = 1) -> Any:
    """An LSTM or GRU over 6 steps of 5 features."""
    x = keras.Input((6, 5), batch_size=batch)
    return _classifier(x, getattr(L, layer)(7, unroll=unroll)(x), 3)


def transformer() -> Any:
    """One attention block and one GELU block with LayerNormalization."""
    x = keras.Input((8, 16))
    y = L.LayerNormalization()(x + L.MultiHeadAttention(2, 8)(x, x))
    z = L.LayerNormalization()(y + L.Dense(16)(L.Dense(32, activation="gelu")(y)))
    return _classifier(x, L.GlobalAveragePooling1D()(z))


def u_net() -> Any:
    x = keras.Input((16, 16, 3))
    high = L.Conv2D(8, 3, padding="same", activation="relu")(x)
    low = L.Conv2D(12, 3, padding="same", activation="relu")(L.MaxPool2D()(high))
    up = L.Conv2DTranspose(8, 2, strides=2, padding="same")(low)
    return keras.Model(x, L.Conv2D(2, 1)(L.Concatenate()([high, up])))


def siamese() -> Any:
    """Two inputs, two outputs, one dense layer used four times."""
    a, b = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    shared = L.Dense(6, activation="relu")
    total, both = shared(a) + shared(b), L.Concatenate()([shared(a), shared(b)])
    outputs = {
        "distance": L.Dense(2, name="distance")(total),
        "kind": L.Dense(3, activation="softmax", name="kind")(both),
    }
    return keras.Model([a, b], outputs)


def nested() -> Any:
    x = keras.Input((8, 8, 3))
    y = L.BatchNormalization()(L.Conv2D(4, 3, use_bias=False)(x))
    inner = keras.Model(x, L.ReLU(6.0)(y))
    return keras.Sequential([keras.Input((8, 8, 3)), inner, L.Flatten(), L.Dense(3)])


class Subclassed(keras.Model):
    """call() with a branch that the functional API cannot show."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.first, self.second = L.Dense(8, activation="relu"), L.Dense(8, activation="tanh")
        self.last = L.Dense(3)

    def call(self, x: Any) -> Any:
        y = self.first(x)
        return self.last(y * self.second(x) + keras.ops.mean(y, axis=-1, keepdims=True))


def subclassed() -> Any:
    model = Subclassed()
    model(keras.ops.zeros((1, 10)))
    return model


class TiedDecoder(keras.Model):
    """Scores over the vocabulary by the transposed embedding table."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.table, self.hidden = L.Embedding(11, 8), L.Dense(8, activation="relu")

    def call(self, ids: Any) -> Any:
        rows = self.hidden(self.table(ids))
        return keras.ops.matmul(rows, keras.ops.transpose(self.table.embeddings))


def tied() -> Any:
    model = TiedDecoder()
    model(keras.ops.zeros((1, 4), "int32"))
    return model


def token_ids() -> Any:
    x = keras.Input((5,), dtype="int64", name="ids")
    return _classifier(x, L.Flatten()(L.Embedding(10, 4)(x)))


def masked() -> Any:
    """A bool input chooses between two branches."""
    x, keep = keras.Input((6,), name="x"), keras.Input((6,), dtype="bool", name="keep")
    y = keras.ops.where(keep, L.Dense(6)(x), keras.ops.zeros_like(x))
    return _classifier([x, keep], y)


def sequence() -> Any:
    x = keras.Input((20, 4))
    y = L.Conv1D(8, 3, activation="selu")(x)
    return _classifier(x, L.GlobalMaxPooling1D()(L.SeparableConv1D(8, 3, activation="elu")(y)))


def activations() -> Any:
    """Every activation that Keras names, into one concat."""
    x = keras.Input((8,))
    names = "tanh sigmoid swish hard_swish hard_sigmoid softplus softsign mish leaky_relu elu selu"
    ends = [L.Dense(8, activation=a)(x) for a in (*names.split(), "gelu", "log_softmax", "relu6")]
    return _classifier(x, L.Concatenate()(ends))


def norms() -> Any:
    x = keras.Input((8, 8, 4))
    y = L.UnitNormalization()(L.GroupNormalization(2)(L.LayerNormalization()(x)))
    y = L.Normalization(mean=[0.1, 0.2, 0.3, 0.4], variance=[1.0, 2.0, 1.0, 2.0])(y)
    return keras.Model(x, L.Conv2D(3, 1)(L.Rescaling(2.0, offset=-0.5)(y)))


def layout() -> Any:
    """Resizing, cropping, padding, pooling, permuting, and the root of a sum of squares."""
    x = keras.Input((8, 8, 4))
    y = L.ZeroPadding2D(1)(L.Cropping2D(1)(L.UpSampling2D(interpolation="bilinear")(x)))
    y = L.DepthwiseConv2D(3, depth_multiplier=2)(L.AveragePooling2D(2)(y))
    y = L.Reshape((8, 36))(L.Permute((3, 1, 2))(y))
    y = keras.ops.sqrt(keras.ops.sum(keras.ops.square(y), axis=-1) + 1e-3)
    return _classifier(x, y)


def grouped() -> Any:
    x = keras.Input((8, 8, 4))
    y = L.PReLU(shared_axes=[1, 2])(L.Conv2D(8, 3, groups=2, dilation_rate=2)(x))
    return _classifier(x, L.GlobalAveragePooling2D()(y))


def video() -> Any:
    x = keras.Input((4, 8, 8, 3))
    y = L.TimeDistributed(L.Flatten())(L.TimeDistributed(L.Conv2D(2, 3))(x))
    return _classifier(x, L.LSTM(3, unroll=True)(y), 3)


# name -> (model, least SQNR in dB on the samples that calibrated it). With exact ranges each
# rounding costs about 40 dB at the tensor; the floors lie 3 to 6 dB under what was measured
# (random weights and other kernels move them), and far above what a wrong grid gives (below 5).
FULLY_INTEGER: dict[str, tuple[Build, float]] = {
    "transformer": (transformer, 28.0),
    "u_net": (u_net, 26.0),
    "siamese": (siamese, 22.0),
    "nested": (nested, 22.0),
    "subclassed": (subclassed, 26.0),
    "tied": (tied, 24.0),
    "token_ids": (token_ids, 26.0),
    "masked": (masked, 26.0),
    "sequence": (sequence, 20.0),
    "activations": (activations, 14.0),
    "norms": (norms, 26.0),
    "layout": (layout, 22.0),
    "grouped": (grouped, 22.0),
    "video": (video, 16.0),
    "lstm_unrolled": (lambda: recurrent("LSTM", unroll=True, batch=None), 20.0),
    "gru_unrolled": (lambda: recurrent("GRU", unroll=True, batch=None), 20.0),
}
