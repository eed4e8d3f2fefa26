"""A QAT model as the float model that its integer file is made from: every value on its grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.dilated import Dilated, is_dilated
from tfq_ext.qat.kinds import channel_axes
from tfq_ext.qat.layers import ChannelScale, Layer, Quantized, ReciprocalRoot
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.rewrite.copies import Copies
from tfq_ext.rewrite.graph import Node, read_flow, replay

keras = need("keras", why="Exporting a QAT model")


@dataclass(frozen=True)
class TrainedWeight:
    """The integers of one weight.

    Args:
        layer: name of the Keras layer.
        codes: int8[channels, rest], in the flatbuffer's order.
        scale: float32[channels], or [] for one.
        bits: width of the codes.
        sqnr_db: of the rounded weight against the float one that was trained, dB.
    """

    layer: str
    codes: np.ndarray
    scale: np.ndarray
    bits: int
    sqnr_db: float

    @property
    def real(self) -> np.ndarray:
        """float32[channels, rest] that the codes stand for."""
        scale = self.scale[:, None] if self.scale.ndim else self.scale
        return np.asarray(self.codes.astype(np.float32) * scale, np.float32)


@dataclass(frozen=True)
class TrainedRange:
    """The grid of one activation quantizer: raw ends, from which TFLite's arithmetic makes it."""

    name: str
    min: float
    max: float
    bits: int


@dataclass
class Deployed:
    """A deployable float model and what was trained.

    Args:
        model: weights on their grids, FAKE_QUANT where an activation is rounded.
        weights, ranges: the grids.
    """

    model: Any
    weights: list[TrainedWeight] = field(default_factory=list)
    ranges: list[TrainedRange] = field(default_factory=list)


class _Rounded(Layer):
    """FAKE_QUANT, which the converter turns into QUANTIZE and DEQUANTIZE: marks where a grid is."""

    def __init__(self, lo: float, hi: float, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.ends = (lo, hi)
        self.supports_masking = True

    def call(self, x: Any) -> Any:
        tf = need("tensorflow", why="Exporting a QAT model")
        return tf.quantization.fake_quant_with_min_max_args(x, *self.ends, num_bits=8)

    def compute_output_spec(self, x: Any) -> Any:
        """The input's; Keras calls some products sparse that never are."""
        return keras.KerasTensor(x.shape, dtype="float32")


def deploy(qat: Any) -> Deployed:
    """Replace every layer that quantizes by a plain one with the integers' values.

    Raises:
        ModelError: weights that lie on no grid; quantizers that are switched off.
    """
    result = Deployed(None)
    copies = Copies(dtype="float32")

    def call(node: Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = node.operation
        if isinstance(layer, Quantizer):
            return _activation(layer, copies, result)(args[0])
        make = _PLAIN.get(type(layer))
        if make is None:
            return copies(node, args, kwargs)
        if copies.made(layer) is None:
            copies.hold(layer, make(layer, copies, result))
        plain: Any = copies.made(layer)
        return plain(*args, **kwargs)

    flow = read_flow(qat)
    flow = replace(flow, inputs=list(flow.heads))  # the converter takes no dict of inputs
    result.model = replay(flow, call, name=qat.name)
    return result


def _activation(quantizer: Any, copies: Copies, result: Deployed) -> Any:
    made = copies.made(quantizer)
    if made is None:
        if not quantizer.enabled:
            raise ModelError(
                f"Quantizer {quantizer.name!r} is still switched off: train past the delay, or set "
                "its `enabled` to True."
            )
        if quantizer.bits not in (8, 16):
            raise ModelError(
                f"Quantizer {quantizer.name!r} has {quantizer.bits} bits; LiteRT has kernels for "
                "activations of 8 and 16 bits."
            )
        lo, hi = quantizer.range()
        if lo == hi:
            raise ModelError(
                f"Quantizer {quantizer.name!r} has no range yet: give quantize_aware data, "
                "or train."
            )
        result.ranges.append(TrainedRange(quantizer.name, lo, hi, quantizer.bits))
        made = copies.hold(quantizer, _Rounded(lo, hi, name=copies.free_name(quantizer.name)))
    return made


class _Settled:
    """A plain layer that is given its weights once its first call has built it."""

    def __init__(self, layer: Any, weights: list[np.ndarray], rank_free: bool = False) -> None:
        self.layer, self.weights, self.rank_free = layer, weights, rank_free
        self.done = False

    def __call__(self, x: Any, **kwargs: Any) -> Any:
        y = self._called(x)
        if not self.done:
            self.layer.set_weights(self.weights)
            self.done = True
        return y

    def _called(self, x: Any) -> Any:
        if self.rank_free:
            return _as_image(self.layer, x)
        inside = x.shape[1:-1]
        if type(self.layer).__name__ != "Dense" or not inside or None in inside:
            return self.layer(x)
        # As rows: else the converter adds the bias apart, where nothing was trained (TF 2.21).
        rows = self.layer(keras.ops.reshape(x, (-1, x.shape[-1])))
        return keras.ops.reshape(rows, (-1, *inside, rows.shape[-1]))


def _as_image(layer: Any, x: Any) -> Any:
    """A depthwise convolution of a tensor of any rank: as an image of one row, or one pixel."""
    ops, missing = keras.ops, 4 - len(x.shape)
    if missing < 0:
        shape = (-1, int(x.shape[1]), int(np.prod(x.shape[2:-1])), int(x.shape[-1]))
        return ops.reshape(layer(ops.reshape(x, shape)), (-1, *x.shape[1:]))
    for _ in range(missing):
        x = ops.expand_dims(x, 1)
    y = layer(x)
    return ops.squeeze(y, tuple(range(1, 1 + missing))) if missing else y


def _quantized(layer: Any, copies: Copies, result: Deployed) -> Any:
    values = {}
    for name, quantizer in layer.quantizers.items():
        weight = layer.weight(name)
        codes, scale = _codes(quantizer, weight)
        result.weights.append(_trained(layer, layer.layer, name, quantizer, codes, scale, weight))
        values[name] = _real(quantizer, codes, scale, weight)
    inner = layer.layer
    replaced = {id(getattr(inner, name)): value for name, value in values.items()}
    weights = [replaced.get(id(w), _numpy(w)) for w in inner.weights]
    if isinstance(inner, ChannelScale):
        return _channel_scale(layer.name, weights[0], _offset(weights), copies)
    name = copies.free_name(layer.name)
    if is_dilated(inner):
        return _dilated(inner, weights[0], weights[1] if len(weights) > 1 else None, name)
    config = {**inner.get_config(), "name": name, "dtype": "float32"}
    return _Settled(type(inner).from_config(config), weights)


def _offset(weights: list[np.ndarray]) -> np.ndarray:
    return weights[1] if len(weights) > 1 else np.zeros_like(weights[0])


def _folded(layer: Any, copies: Copies, result: Deployed) -> Any:
    weight, offset = layer.weight(), layer.bias()
    codes, scale = _codes(layer.quantizer, weight)
    result.weights.append(
        _trained(layer, layer.layer, "kernel", layer.quantizer, codes, scale, weight)
    )
    kernel = _real(layer.quantizer, codes, scale, weight)
    inner = layer.layer
    if isinstance(inner, ChannelScale):
        return _channel_scale(layer.name, kernel, offset, copies)
    name = copies.free_name(layer.name)
    if is_dilated(inner):
        return _dilated(inner, kernel, offset, name)
    config = {**inner.get_config(), "name": name, "dtype": "float32"}
    biased = {"bias_axes": config["equation"][-1]} if "equation" in config else {"use_bias": True}
    config |= biased
    return _Settled(type(inner).from_config(config), [kernel, offset])


def _dilated(inner: Any, kernel: np.ndarray, bias: np.ndarray | None, name: str) -> Any:
    layer = Dilated(inner, name=name)
    return _Settled(layer, [kernel, np.zeros(layer.channels, np.float32) if bias is None else bias])


def _channel_scale(name: str, factor: np.ndarray, offset: np.ndarray, copies: Copies) -> Any:
    conv = keras.layers.DepthwiseConv2D(1, name=copies.free_name(name), dtype="float32")
    return _Settled(conv, [factor.reshape(1, 1, -1, 1), offset], rank_free=True)


def _codes(quantizer: Any, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return quantizer.codes(weight), np.asarray(quantizer.grid(weight)[0], np.float32)


def _real(quantizer: Any, codes: Any, scale: np.ndarray, weight: np.ndarray) -> np.ndarray:
    spread = keras.ops.convert_to_numpy(quantizer.spread(scale, weight.ndim))
    return np.asarray(codes.astype(np.float32) * spread, np.float32)


def _trained(
    layer: Any,
    inner: Any,
    name: str,
    quantizer: Any,
    codes: np.ndarray,
    scale: np.ndarray,
    weight: np.ndarray,
) -> TrainedWeight:
    from tfq_ext.numerics.metrics import sqnr_db

    axes = tuple(a % weight.ndim for a in channel_axes(inner, name))
    rest = [a for a in range(weight.ndim) if a not in axes]
    channels = int(np.prod([weight.shape[a] for a in axes], dtype=int))
    rows = np.transpose(codes, (*axes, *rest)).reshape(channels, -1)
    real = _real(quantizer, codes, scale, weight)
    level = float(sqnr_db(weight, real))
    return TrainedWeight(
        layer.name, rows, scale.reshape(-1) if scale.ndim else scale, quantizer.bits, level
    )


def _numpy(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _root(layer: Any, copies: Copies, result: Deployed) -> Any:
    return keras.ops.rsqrt


_PLAIN: dict[type, Callable[[Any, Copies, Deployed], Any]] = {
    Quantized: _quantized,
    FoldedBatchNorm: _folded,
    ReciprocalRoot: _root,
}
