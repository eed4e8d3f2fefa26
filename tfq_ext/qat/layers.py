"""A Keras layer whose weights go through quantizers, and what a QAT model is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.offsets import whole_offset
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.qat.substitute import call_with

keras = need("keras", why="Quantization-aware training")
Layer: Any = keras.layers.Layer
register = keras.saving.register_keras_serializable(package="tfq_ext")


def serialize(obj: Any) -> Any:
    """A layer as a config entry."""
    return keras.saving.serialize_keras_object(obj)


def deserialize(config: Any, custom_objects: Any = None) -> Any:
    """The inverse; what is a layer already stays."""
    if isinstance(config, keras.layers.Layer):
        return config
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


@register
class ChannelScale(Layer):
    r"""One factor a channel: \( y_c = w_c x_c + b_c \).

    A lone BatchNormalization, Rescaling or Normalization is one. LiteRT computes it as a 1x1
    depthwise convolution: a channel's only weight lies on its own grid exactly (code 127), and the
    offset has 32 bits. As MUL and ADD it would be rounded twice more.

    Args:
        use_bias: add an offset a channel.
    """

    def __init__(self, *, use_bias: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.use_bias = use_bias

    def build(self, input_shape: Any) -> None:
        """float32[C] factors of 1 and offsets of 0."""
        channels = (input_shape[-1],)
        self.kernel = self.add_weight(shape=channels, initializer="ones", name="kernel")
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(shape=channels, initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        """Scale the last axis."""
        y = keras.ops.multiply(x, self.kernel)
        return y if self.bias is None else keras.ops.add(y, self.bias)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        return {**super().get_config(), "use_bias": self.use_bias}


@register
class ReciprocalRoot(Layer):
    r"""\( 1 / \sqrt{\max(x, floor)} \): RSQRT of a variance plus epsilon.

    A grid may round so small a sum to 0; the kernel then gives its highest code.

    Args:
        floor: epsilon, below which no float value lies.
    """

    def __init__(self, floor: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.floor = float(floor)

    def call(self, x: Any) -> Any:
        """Element by element."""
        return keras.ops.rsqrt(keras.ops.maximum(x, self.floor))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        return {**super().get_config(), "floor": self.floor}


@register
class Quantized(Layer):
    """A layer that computes with fake-quantized weights; its float weights are what is trained.

    Args:
        layer: any Keras layer with one input.
        quantizers: variable's attribute name -> its quantizer.
    """

    def __init__(self, layer: Any, quantizers: Mapping[str, Any], **kwargs: Any) -> None:
        kwargs.setdefault("name", layer.name if isinstance(layer, keras.layers.Layer) else None)
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.layer = deserialize(layer)
        self.quantizers = {name: deserialize(q) for name, q in quantizers.items()}
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Build the layer, then each quantizer on its weight's shape."""
        if not self.layer.built:
            self.layer.build(input_shape)
        for name, quantizer in self.quantizers.items():
            if not quantizer.built:
                quantizer.build(getattr(self.layer, name).shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The layer's result with quantized weights."""
        values = {
            name: quantizer(
                keras.ops.convert_to_tensor(getattr(self.layer, name)), training=training
            )
            for name, quantizer in self.quantizers.items()
        }
        if "kernel" in values and getattr(self.layer, "bias", None) is not None:
            values["bias"] = self._offset(training)
        return call_with(self.layer, values, x)

    def _offset(self, training: bool | None) -> Any:
        bias, kernel = map(keras.ops.convert_to_tensor, (self.layer.bias, self.layer.kernel))
        return whole_offset(bias, self, self.quantizers["kernel"], kernel, training)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The layer's (Embedding makes one)."""
        return self.layer.compute_mask(inputs, previous_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's."""
        return self.layer.compute_output_shape(input_shape)

    def weight(self, name: str) -> np.ndarray:
        """The float weight that a quantizer rounds, float32."""
        return np.asarray(keras.ops.convert_to_numpy(getattr(self.layer, name)), np.float32)

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        quantizers = {name: serialize(q) for name, q in self.quantizers.items()}
        return {**super().get_config(), "layer": serialize(self.layer), "quantizers": quantizers}


def qat_layers(model: Any) -> Iterator[Any]:
    """Every layer that quantizes: quantizers of activations, Quantized, FoldedBatchNorm.

    Quantizers inside the latter two are not listed; they stand in `.quantizers`.
    """
    for layer in model.layers:
        if isinstance(layer, Quantizer) or hasattr(layer, "quantizers"):
            yield layer
        elif hasattr(layer, "layers"):
            yield from qat_layers(layer)


def quantizers_of(model: Any) -> Iterator[tuple[str, Any]]:
    """(name, quantizer) of every quantizer; a weight's is called "layer/variable"."""
    for layer in qat_layers(model):
        if isinstance(layer, Quantizer):
            yield layer.name, layer
        else:
            for name, quantizer in layer.quantizers.items():
                yield f"{layer.name}/{name}", quantizer
