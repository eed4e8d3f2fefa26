"""Dilated convolutions as one op: Keras' own become SPACE_TO_BATCH_ND, CONV_2D, BATCH_TO_SPACE_ND.

No rounding was trained between those, and the converter (TF 2.21) fuses no bias or ReLU there.
"""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.layers import Layer

keras = need("keras", why="Exporting a QAT model")
_OPS = {  # Keras class -> TensorFlow's op, dimensions
    "Conv1D": ("Conv2D", 1),
    "Conv2D": ("Conv2D", 2),
    "DepthwiseConv1D": ("DepthwiseConv2dNative", 1),
    "DepthwiseConv2D": ("DepthwiseConv2dNative", 2),
}


def is_dilated(layer: Any) -> bool:
    """Whether `Dilated` should stand for a layer."""
    rate = getattr(layer, "dilation_rate", 1)
    rates = rate if isinstance(rate, tuple | list) else (rate,)
    return type(layer).__name__ in _OPS and any(r != 1 for r in rates)


class Dilated(Layer):
    """A dilated convolution by TensorFlow's raw op, for conversion only.

    Args:
        layer: a built Keras convolution.
    """

    def __init__(self, layer: Any, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.op, self.rank = _OPS[type(layer).__name__]
        self.source = {"shape": tuple(layer.kernel.shape), "padding": layer.padding}
        self.strides, self.rates = self._steps(layer.strides), self._steps(layer.dilation_rate)
        self.activation = layer.activation
        self.channels = int(layer.compute_output_shape((1, *(64,) * self.rank, self._inputs()))[-1])

    def _steps(self, value: Any) -> list[int]:
        found = list(value) if isinstance(value, tuple | list) else [value] * self.rank
        return [1, *([1] if self.rank == 1 else []), *found, 1]

    def _inputs(self) -> int:
        *_, inputs, _ = self.source["shape"]
        return int(inputs)

    def build(self, input_shape: Any) -> None:
        """Kernel as Keras stores it, and a bias."""
        self.kernel = self.add_weight(shape=self.source["shape"], name="kernel")
        self.bias = self.add_weight(shape=(self.channels,), name="bias")

    def call(self, x: Any) -> Any:
        """The convolution, its bias and its activation."""
        tf = need("tensorflow", why="Exporting a QAT model")
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if self.rank == 1:
            x, kernel = keras.ops.expand_dims(x, 1), keras.ops.expand_dims(kernel, 0)
        padding = self.source["padding"]
        if padding == "causal":
            before = self.rates[2] * (self.source["shape"][0] - 1)
            x, padding = keras.ops.pad(x, [(0, 0), (0, 0), (before, 0), (0, 0)]), "valid"
        y = getattr(tf.raw_ops, self.op)(
            input=x,
            filter=kernel,
            strides=self.strides,
            padding=str(padding).upper(),
            dilations=self.rates,
        )
        y = tf.nn.bias_add(y, keras.ops.convert_to_tensor(self.bias))
        y = y if self.activation is None else self.activation(y)
        return keras.ops.squeeze(y, 1) if self.rank == 1 else y
