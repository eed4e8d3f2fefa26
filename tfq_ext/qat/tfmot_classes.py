"""Subclasses of TFMOT's; importing this switches tf.keras to tf_keras (`tfmot` imports it late)."""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need

_WHY = "TFMOT schemes"
_CORE = "tensorflow_model_optimization.python.core.quantization.keras"
tf = need("tensorflow", why=_WHY)
quant_ops = need(f"{_CORE}.quant_ops", why=_WHY)
quantizers = need(f"{_CORE}.quantizers", why=_WHY)
scheme8 = need(f"{_CORE}.default_8bit.default_8bit_quantize_scheme", why=_WHY)
layout8 = need(f"{_CORE}.default_8bit.default_8bit_quantize_layout_transform", why=_WHY)
registry8 = need(f"{_CORE}.default_8bit.default_8bit_quantize_registry", why=_WHY)
layers = need("tf_keras", why=_WHY).layers

# layer class -> its kernel, and how many trailing axes number the output channels
KERNELS = {
    layers.Conv2D: ("kernel", 1),
    layers.DepthwiseConv2D: ("depthwise_kernel", 2),
    layers.Dense: ("kernel", 1),
}


class ChannelQuantizer(quantizers.Quantizer):  # type: ignore[name-defined]
    """max|w| of each output channel gives its symmetric, narrow grid.

    s_c = max |w_c| / (2^(b-1) - 1),   w^ = s_c round(w / s_c)

    Args:
        num_bits: width of the codes.
        channel_axes: how many of the kernel's last axes number the output channels.
    """

    def __init__(self, num_bits: int, channel_axes: int) -> None:
        self.num_bits, self.channel_axes = num_bits, channel_axes

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """The variables that TFMOT keeps the last range in: float32[channels]."""
        channels = 1
        for n in tensor_shape[-self.channel_axes :]:
            channels *= int(n)
        made = {}
        for end, start in (("min", -6.0), ("max", 6.0)):
            made[f"{end}_var"] = layer.add_weight(
                f"{name}_{end}",
                shape=(channels,),
                initializer=tf.constant_initializer(start),
                trainable=False,
            )
        return made

    def __call__(self, inputs: Any, training: Any, weights: Any, **kwargs: Any) -> Any:
        """Fake quantization of the kernel, its channels as the last axis.

        Other axes stay as they are: the converter moves a grid only over reshapes that keep them.
        """
        flat = inputs
        if self.channel_axes > 1:
            flat = tf.reshape(inputs, (*inputs.shape[: -self.channel_axes], -1))
        if training:
            high = tf.reduce_max(tf.abs(flat), axis=tuple(range(len(flat.shape) - 1)))
            low = -high
            weights["min_var"].assign(low)
            weights["max_var"].assign(high)
        else:
            low, high = weights["min_var"], weights["max_var"]
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, low, high, num_bits=self.num_bits, narrow_range=True
        )
        return tf.reshape(rounded, inputs.shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {"num_bits": self.num_bits, "channel_axes": self.channel_axes}


class ChannelConfig(registry8.Default8BitQuantizeConfig):  # type: ignore[name-defined]
    """TFMOT's config of a layer with a kernel, with our quantizer of the kernel."""

    def __init__(
        self,
        weight_attrs: list[str],
        activation_attrs: list[str],
        quantize_output: bool,
        num_bits: int = 8,
        channel_axes: int = 1,
    ) -> None:
        super().__init__(weight_attrs, activation_attrs, quantize_output)
        self.weight_quantizer = ChannelQuantizer(num_bits, channel_axes)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), **self.weight_quantizer.get_config()}


class ChannelRegistry(registry8.Default8BitQuantizeRegistry):  # type: ignore[name-defined]
    """TFMOT's registry with `KERNELS` replaced."""

    def __init__(self, num_bits: int = 8) -> None:
        super().__init__()
        for kind, (kernel, axes) in KERNELS.items():
            config = ChannelConfig([kernel], ["activation"], False, num_bits, axes)
            self._layer_quantize_map[kind] = config

    def _get_quantize_config(self, layer_type: Any) -> Any:
        """A config of its own for each layer: TFMOT switches parts of them off one by one."""
        config = super()._get_quantize_config(layer_type)
        return type(config).from_config(config.get_config())


class ChannelLayout(layout8.Default8BitQuantizeLayoutTransform):  # type: ignore[name-defined]
    """TFMOT's rewriting; kernels that it gives its own config (before a concat) get ours back."""

    def __init__(self, num_bits: int) -> None:
        self.num_bits = num_bits

    def apply(self, model: Any, layer_quantize_map: Any) -> Any:
        """The rewritten model and the map of layer name to its metadata."""
        model, entries = super().apply(model, layer_quantize_map)
        for layer in model.layers:
            entry = entries.get(layer.name)
            if entry is None or type(layer) not in KERNELS:
                continue
            old = entry.get("quantize_config")
            if type(old) not in _THEIRS:
                continue
            kernel, axes = KERNELS[type(layer)]
            entry["quantize_config"] = ChannelConfig(
                [kernel], old.activation_attrs, old.quantize_output, self.num_bits, axes
            )
            if not old.get_output_quantizers(layer):
                entry["quantize_config"].quantize_output = False
        return model, entries


class ChannelScheme(scheme8.Default8BitQuantizeScheme):  # type: ignore[name-defined]
    """TFMOT's scheme with a scale per output channel and kernels of 8 or 4 bits."""

    def __init__(self, num_bits: int = 8) -> None:
        super().__init__()
        self.num_bits = num_bits

    def get_layout_transformer(self) -> Any:
        """How TFMOT rewrites the model first."""
        return ChannelLayout(self.num_bits)

    def get_quantize_registry(self) -> Any:
        """Which layer is quantized how."""
        return ChannelRegistry(self.num_bits)


_THEIRS = (registry8.Default8BitQuantizeConfig, registry8.Default8BitConvQuantizeConfig)
CLASSES = {
    kind.__name__: kind
    for kind in (ChannelQuantizer, ChannelConfig, ChannelRegistry, ChannelLayout, ChannelScheme)
}
