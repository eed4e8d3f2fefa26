r"""A layer with weights and its BatchNormalization as the one integer op that they become.

With batch statistics \( \mu_B, \sigma_B \), moving ones \( \mu, \sigma \), weight \( W \), scale
\( \gamma \), offset \( \beta \), quantizer \( Q \) and correction \( c = \sigma_B / \sigma \):

* training: \( y = \frac{1}{c} \, Q(\gamma W / \sigma) * x + \beta - \gamma \mu_B / \sigma_B \)
* frozen, and inference: \( y = Q(\gamma W / \sigma) * x + \beta - \gamma \mu / \sigma \)

The weight that is quantized depends on the moving statistics only, so its codes do not jitter with
the batch; without quantizers the first line is ordinary training-mode BatchNormalization and the
second ordinary inference.

Source: Krishnamoorthi 1806.08342, section 3.2.2, equations 20 to 31. Departures: \( \sigma \)
includes epsilon on both sides; a bias of the convolution is taken into \( \mu \) beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import SpecError
from tfq_ext.qat.kinds import channel_axes
from tfq_ext.qat.layers import Layer, deserialize, register, serialize
from tfq_ext.qat.offsets import whole_offset
from tfq_ext.qat.substitute import call_with

keras = need("keras", why="Quantization-aware training")
MODES = ("corrected", "naive")


@register
class FoldedBatchNorm(Layer):
    r"""Conv, depthwise, transposed or dense layer with the BatchNormalization behind it.

    Args:
        layer: without bias and activation; `ChannelScale` where the BatchNormalization stands
            alone.
        norm: the BatchNormalization; holds gamma, beta and the moving statistics.
        quantizer: of the folded weight.
        mode: "corrected", or "naive" to quantize \( \gamma W / \sigma_B \), for comparison.
        frozen: use the moving statistics in training too, and leave them as they are.
    """

    def __init__(
        self,
        layer: Any,
        norm: Any,
        quantizer: Any,
        *,
        mode: str = "corrected",
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        if mode not in MODES:
            raise SpecError(f"mode must be one of {', '.join(MODES)}; got {mode!r}.")
        kwargs.setdefault("name", layer.name if isinstance(layer, keras.layers.Layer) else None)
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.layer, self.norm = deserialize(layer), deserialize(norm)
        self.quantizers = {"kernel": deserialize(quantizer)}
        self.mode, self.frozen = mode, frozen

    @property
    def quantizer(self) -> Any:
        """Of the folded weight."""
        return self.quantizers["kernel"]

    def build(self, input_shape: Any) -> None:
        """Build the parts that are not built yet."""
        if not self.layer.built:
            self.layer.build(input_shape)
        if not self.norm.built:
            self.norm.build(self.layer.compute_output_shape(input_shape))
        if not self.quantizer.built:
            self.quantizer.build(self.layer.kernel.shape)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """The normalized result, before any activation."""
        if not training or self.frozen or not self.norm.trainable:
            return self._infer(x, training)
        z = self.layer(x)
        mean, variance = self._statistics(z)
        deviation = self._deviation(variance)
        if not self.quantizer.enabled:
            gain = self._gamma() / deviation
            result = self._affine(z, gain, self._beta() - mean * gain)
        elif self.mode == "naive":
            kernel = self._quantized(self._gamma() / deviation, training)
            offset = self._beta() - self._gamma() * mean / deviation
            result = self._affine(self._linear(x, kernel), None, offset)
        else:
            moving = self._deviation(self.norm.moving_variance.value)
            kernel = self._quantized(self._gamma() / moving, training)
            offset = self._beta() - self._gamma() * mean / deviation
            result = self._affine(self._linear(x, kernel), moving / deviation, offset)
        self._move(mean, variance)
        return result

    def _infer(self, x: Any, training: bool | None) -> Any:
        gain = self._gamma() / self._deviation(self.norm.moving_variance.value)
        offset = self._beta() - self.norm.moving_mean.value * gain
        kernel = self._folded(gain)
        offset = whole_offset(offset, self, self.quantizer, kernel, training)
        kernel = self.quantizer(kernel, training=training)
        return self._affine(self._linear(x, kernel), None, offset)

    def _quantized(self, gain: Any, training: bool | None) -> Any:
        return self.quantizer(self._folded(gain), training=training)

    def _folded(self, gain: Any) -> Any:
        kernel = keras.ops.convert_to_tensor(self.layer.kernel)
        return kernel * keras.ops.reshape(gain, self._along())

    def _along(self) -> tuple[int, ...]:
        """The shape in which one value a channel meets the kernel."""
        axes = channel_axes(self.layer, "kernel")
        shape = self.layer.kernel.shape
        return tuple(int(n) if k in axes else 1 for k, n in enumerate(shape))

    def _linear(self, x: Any, kernel: Any) -> Any:
        return call_with(self.layer, {"kernel": kernel}, x)

    def _affine(self, y: Any, gain: Any, offset: Any) -> Any:
        if gain is not None:
            y = y * keras.ops.cast(gain, y.dtype)
        return y + keras.ops.cast(offset, y.dtype)

    def _statistics(self, z: Any) -> tuple[Any, Any]:
        axes = list(range(len(z.shape) - 1))
        return tuple(keras.ops.moments(keras.ops.cast(z, "float32"), axes))

    def _deviation(self, variance: Any) -> Any:
        return keras.ops.sqrt(variance + self.norm.epsilon)

    def _gamma(self) -> Any:
        gamma = self.norm.gamma
        return 1.0 if gamma is None else keras.ops.convert_to_tensor(gamma)

    def _beta(self) -> Any:
        beta = self.norm.beta
        return 0.0 if beta is None else keras.ops.convert_to_tensor(beta)

    def _move(self, mean: Any, variance: Any) -> None:
        keep = self.norm.momentum
        for moving, seen in (
            (self.norm.moving_mean, mean),
            (self.norm.moving_variance, variance),
        ):
            moving.assign(moving * keep + keras.ops.stop_gradient(seen) * (1.0 - keep))

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The layer's."""
        return self.layer.compute_output_shape(input_shape)

    def weight(self, name: str = "kernel") -> np.ndarray:
        """The folded float weight on moving statistics, as it is quantized in inference."""
        gain = self._gamma() / self._deviation(self.norm.moving_variance.value)
        kernel = keras.ops.convert_to_tensor(self.layer.kernel)
        folded = kernel * keras.ops.reshape(gain, self._along())
        return np.asarray(keras.ops.convert_to_numpy(folded), np.float32)

    def bias(self) -> np.ndarray:
        """The offset of inference: beta - gamma mu / sigma, float32[C]."""
        gain = self._gamma() / self._deviation(self.norm.moving_variance.value)
        offset = self._beta() - self.norm.moving_mean.value * gain
        return np.asarray(keras.ops.convert_to_numpy(offset), np.float32)

    def get_config(self) -> dict[str, Any]:
        """All arguments."""
        return {
            **super().get_config(),
            "layer": serialize(self.layer),
            "norm": serialize(self.norm),
            "quantizer": serialize(self.quantizer),
            "mode": self.mode,
            "frozen": self.frozen,
        }
