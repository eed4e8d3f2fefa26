"""Layers that are several integer ops become those ops, so that each result gets a grid.

What comes out computes the same as before, with plain layers and `keras.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.kinds import FUSED, KINDS, activation_name
from tfq_ext.qat.layers import ChannelScale, ReciprocalRoot
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.flat import follow
from tfq_ext.rewrite.graph import Node, read_flow, replay, splice

keras = need("keras", why="Quantization-aware training")
ops = keras.ops

Parts = Callable[..., Any]  # called with the layer's arguments, gives its outputs


def decompose(model: Any) -> Any:
    """The model with every layer of DECOMPOSED taken apart, and slow activations split off.

    Args:
        model: functional, without nested models (`rewrite.flat`).
    """
    copies, made = Copies(), dict[int, Parts]()

    def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = node.operation
        make = _parts_of(layer)
        if make is None:
            return copies(node, args, kwargs)
        if id(layer) not in made:
            made[id(layer)] = make(layer, copies)
        return made[id(layer)](*args, **kwargs)

    return replay(read_flow(model), call)


def _parts_of(layer: Any) -> Callable[[Any, Copies], Parts] | None:
    name = type(layer).__name__
    if name in DECOMPOSED and not _unusual(layer):
        return DECOMPOSED[name]
    if name in KINDS and KINDS[name].weights and activation_name(layer) not in (*FUSED, "linear"):
        return _split_activation
    if name == "Activation" and activation_name(layer) in _SLOW:
        return _lone_activation
    return None


def _unusual(layer: Any) -> bool:
    """A variant that the table does not know: it stays one layer."""
    if type(layer).__name__ == "LayerNormalization":
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[-1:]
        return getattr(layer, "rms_scaling", False) or axis not in (-1, [-1])
    return bool(getattr(layer, "invert", False))


class _Part:
    """A layer that is given its weights once the first call has built it."""

    def __init__(self, layer: Any, weights: Sequence[Any] | None) -> None:
        self.layer, self.weights = layer, weights

    def __call__(self, x: Any) -> Any:
        y = self.layer(x)
        if self.weights is not None:
            self.layer.set_weights([np.asarray(ops.convert_to_numpy(w)) for w in self.weights])
            self.weights = None
        return y


def _part(
    copies: Copies, kind: Any, weights: Sequence[Any] | None, name: str, **config: Any
) -> Any:
    return _Part(kind.from_config({**config, "name": copies.free_name(name)}), weights)


def _split_activation(layer: Any, copies: Copies) -> Parts:
    """conv(activation=f) -> f(conv)."""
    config = {**layer.get_config(), "activation": "linear", "activity_regularizer": None}
    name = config.pop("name")
    body = _part(copies, type(layer), layer.weights, name, **config)
    after = _activation(layer.activation, copies, name, layer.activity_regularizer)
    return lambda x: after(body(x))


def _lone_activation(layer: Any, copies: Copies) -> Parts:
    return _activation(layer.activation, copies, layer.name)


def _activation(function: Any, copies: Copies, name: str, penalty: Any = None) -> Parts:
    """Calls for an activation: as LiteRT computes it where that is known, else one layer."""
    known = str(getattr(function, "__name__", "?"))
    if known in _SLOW:
        slow = _SLOW[known](copies, name)
        if penalty is None:
            return slow
        judge = keras.layers.Activation(
            "linear", activity_regularizer=penalty, name=copies.free_name(f"{name}_penalty")
        )
        return lambda x: judge(slow(x))
    layer = keras.layers.Activation(
        function,
        activity_regularizer=penalty,
        name=copies.free_name(f"{name}_{known.strip('?<>')}"),
    )
    return lambda x: layer(x)


def _silu(copies: Copies, name: str) -> Parts:
    """x * sigmoid(x): LOGISTIC and MUL."""
    gate = keras.layers.Activation("sigmoid", name=copies.free_name(f"{name}_sigmoid"))
    return lambda x: ops.multiply(x, gate(x))


_SLOW: dict[str, Callable[[Copies, str], Parts]] = {"silu": _silu, "swish": _silu}


def _separable(depthwise: Any, pointwise: Any) -> Callable[[Any, Copies], Parts]:
    def parts(layer: Any, copies: Copies) -> Parts:
        """Depthwise, then pointwise."""
        config, weights = layer.get_config(), list(layer.weights)
        shared = _some(config, "data_format", "dtype", "trainable")
        slow = activation_name(layer) not in (*FUSED, "linear")
        first = shared | {
            "use_bias": False,
            **_some(config, "depth_multiplier"),
            **_some(config, "kernel_size", "strides", "padding", "dilation_rate"),
            **_penalties(config, "depthwise", "depthwise"),
        }
        second = shared | {
            "kernel_size": 1,
            "activation": "linear" if slow else config["activation"],
            **_some(config, "filters", "use_bias"),
            **_penalties(config, "pointwise", "kernel"),
            **_penalties(config, "bias", "bias"),
        }
        deep = _part(copies, depthwise, weights[:1], f"{layer.name}_depthwise", **first)
        wide = _part(copies, pointwise, weights[1:], f"{layer.name}_pointwise", **second)
        after = _activation(layer.activation, copies, layer.name) if slow else lambda x: x
        return lambda x: after(wide(deep(x)))

    return parts


def _some(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: config[name] for name in names}


def _penalties(config: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Regularizer and constraint of one weight, under the part's name for it."""
    ends = ("regularizer", "constraint")
    return {f"{new}_{end}": config[f"{old}_{end}"] for end in ends if f"{old}_{end}" in config}


def _scaled(scale: Any, offset: Any) -> Callable[[Any, Copies], Parts]:
    """A layer that is one factor and one offset a channel, by functions that read them from it."""

    def parts(layer: Any, copies: Copies) -> Parts:
        held: dict[str, Any] = {"name": copies.free_name(layer.name), "trainable": False}
        part = _Part(ChannelScale(**held, dtype=layer.dtype_policy), None)

        def call(x: Any) -> Any:
            channels = int(x.shape[-1])
            if not part.layer.built:
                values = (scale(layer), offset(layer))
                part.weights = [np.broadcast_to(np.ravel(v), (channels,)) for v in values]
            same = str(x.dtype) == layer.compute_dtype
            return part(x if same else ops.cast(x, layer.compute_dtype))

        return call

    return parts


def _array(x: Any) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x), np.float32)


def _deviation(layer: Any) -> np.ndarray:
    return np.maximum(np.sqrt(_array(layer.variance)), np.float32(keras.config.epsilon()))


def _layer_norm(layer: Any, copies: Copies) -> Parts:
    r"""\( (x - \bar{x}) / \sqrt{\overline{(x - \bar{x})^2} + \epsilon} \), then a channel scale."""
    affine = None
    channels = layer.gamma if layer.gamma is not None else layer.beta
    if channels is not None:
        gamma = np.ones(channels.shape, np.float32) if layer.gamma is None else _array(layer.gamma)
        beta = np.zeros(channels.shape, np.float32) if layer.beta is None else _array(layer.beta)
        trainable = {"trainable": layer.trainable}
        affine = _part(copies, ChannelScale, [gamma, beta], layer.name, **trainable)
    root = ReciprocalRoot(layer.epsilon, name=copies.free_name(f"{layer.name}_root"))

    def call(x: Any) -> Any:
        centered = ops.subtract(x, ops.mean(x, axis=-1, keepdims=True))
        spread = ops.mean(ops.multiply(centered, centered), axis=-1, keepdims=True)
        y = ops.multiply(centered, root(ops.add(spread, layer.epsilon)))
        return y if affine is None else affine(y)

    return call


def _over_time(layer: Any, copies: Copies) -> Parts:
    """The inner layer on all steps as one batch: (N, T, ...) -> (N T, ...) -> (N, T, ...)."""
    make = _parts_of(layer.layer)
    inner = make(layer.layer, copies) if make is not None else None

    def call(x: Any, **kwargs: Any) -> Any:
        if x.shape[1] is None:
            return copies.of(layer, (x,), kwargs)
        steps = int(x.shape[1])
        flat = ops.reshape(x, (-1, *x.shape[2:]))
        y = inner(flat) if inner else copies.of(layer.layer, (flat,), {}, layer.name)
        return ops.reshape(y, (-1, steps, *y.shape[1:]))

    return call


def _attention(layer: Any, copies: Copies) -> Parts:
    """Its projections, products and softmax one by one."""

    def call(*args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.pop("return_attention_scores", False)
        opened = follow(
            layer, lambda *a, **k: layer.call(*a, return_attention_scores=True, **k), args, kwargs
        )
        given = ops_inputs(args, kwargs)
        outputs = splice(read_flow(opened), given, inside)
        return outputs if wanted else outputs[0]

    def inside(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        make = _parts_of(node.operation)
        if make is not None:
            return make(node.operation, copies)(*args, **kwargs)
        return copies.of(node.operation, args, kwargs, layer.name)

    return call


def ops_inputs(args: Any, kwargs: Any) -> list[Any]:
    """The symbolic tensors among a call's arguments, in order."""
    flat = keras.tree.flatten((args, kwargs))
    return [x for x in flat if isinstance(x, keras.KerasTensor)]


DECOMPOSED: dict[str, Callable[[Any, Copies], Parts]] = {
    "SeparableConv1D": _separable(keras.layers.DepthwiseConv1D, keras.layers.Conv1D),
    "SeparableConv2D": _separable(keras.layers.DepthwiseConv2D, keras.layers.Conv2D),
    "Rescaling": _scaled(lambda layer: layer.scale, lambda layer: layer.offset),
    "Normalization": _scaled(
        lambda layer: 1.0 / _deviation(layer), lambda layer: -_array(layer.mean) / _deviation(layer)
    ),
    "LayerNormalization": _layer_norm,
    "MultiHeadAttention": _attention,
    "TimeDistributed": _over_time,
}
