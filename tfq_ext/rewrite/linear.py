"""Keras' linear layers: where a kernel keeps its output and input channels, in one table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfq_ext._optional import need

keras = need("keras", why="Reading the kernels of a Keras model")


@dataclass(frozen=True)
class Linear:
    """One class of layers: y = kernel * x + bias.

    Args:
        kernel: attribute that holds the output channels.
        outputs: axes of that kernel with the output channels, in order; None: see `einsum`.
        inputs: axis of the first kernel with the input channels.
        first: attribute of the kernel that reads the input; another one only if separable.
        grouped: whether an output reads only some of the inputs.
    """

    kernel: str
    outputs: tuple[int, ...]
    inputs: int
    first: str
    grouped: bool = False


_CONV = Linear("kernel", (-1,), -2, "kernel")
_TRANSPOSE = Linear("kernel", (-2,), -1, "kernel")
_DEPTHWISE = Linear("kernel", (-2, -1), -2, "kernel", grouped=True)
_SEPARABLE = Linear("pointwise_kernel", (-1,), -2, "depthwise_kernel", grouped=True)

LINEAR: dict[str, Linear] = {
    "Conv1D": _CONV,
    "Conv2D": _CONV,
    "Conv3D": _CONV,
    "Conv1DTranspose": _TRANSPOSE,
    "Conv2DTranspose": _TRANSPOSE,
    "Conv3DTranspose": _TRANSPOSE,
    "DepthwiseConv1D": _DEPTHWISE,
    "DepthwiseConv2D": _DEPTHWISE,
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "Dense": _CONV,
}


def linear_of(layer: Any) -> Linear | None:
    """The row of a layer; None for other classes, and for a user's subclass of one of these."""
    name = type(layer).__name__
    known = name in LINEAR and type(layer) is getattr(keras.layers, name)
    if name == "EinsumDense" and type(layer) is keras.layers.EinsumDense:
        return _einsum(layer)
    return LINEAR[name] if known else None


def _einsum(layer: Any) -> Linear | None:
    """EinsumDense whose output's last axis is one axis of its kernel: "abc,cd->abd"."""
    left, _, result = str(layer.equation).replace(" ", "").partition("->")
    _, _, kernel = left.partition(",")
    if not result or result[-1] not in kernel or layer.bias_axes not in (None, result[-1]):
        return None
    axis = kernel.index(result[-1]) - len(kernel)
    return Linear("kernel", (axis,), 0, "kernel", grouped=True)


def channel_axis(layer: Any, rank: int) -> int:
    """Axis of a layer's output with the channels, 0 or more."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else rank - 1


def with_bias(config: dict[str, Any], layer: Any) -> dict[str, Any]:
    """The layer's config, asking for a bias."""
    if isinstance(layer, keras.layers.EinsumDense):
        return {**config, "bias_axes": str(layer.equation).strip()[-1]}
    return {**config, "use_bias": True}


def is_plain(layer: Any, *, activation: bool = False) -> str:
    """Why a linear layer's kernel cannot be rewritten; "" if it can.

    Args:
        layer: in the table.
        activation: whether it may have one of its own.
    """
    if getattr(layer, "quantization_mode", None) is not None:
        return "it is quantized already"
    if getattr(layer, "lora_enabled", False):
        return "it has LoRA weights; merge them first"
    if not activation and layer.activation is not keras.activations.linear:
        return "its own activation stands before the normalization"
    return ""
