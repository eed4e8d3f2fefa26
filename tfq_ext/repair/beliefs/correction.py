r"""Analytic bias correction: what rounding a layer's weights adds on average is taken off its bias.

\( b \gets b - (\hat W - W) E[x] \), summed over taps, with E[x] of each channel from
BatchNormalization statistics.

Source: Nagel et al. 1906.04721 section 4.2.1; that a tap counts for as many positions as it reads
no padding at is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfq_ext.repair.beliefs.propagation import Beliefs
from tfq_ext.repair.beliefs.rules import carried
from tfq_ext.repair.equalize.layout import LAYOUTS
from tfq_ext.repair.weights import Layer, WeightChoice


def corrected_biases(
    weights: Mapping[str, WeightChoice], beliefs: Beliefs
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Biases of all layers whose inputs are known.

    Args:
        weights: constant -> codes.
        beliefs: of every layer's input, before rounding.

    Returns:
        (bias constant -> corrected values, float32[C]; output of a layer left alone -> why).
    """
    biases: dict[str, np.ndarray] = {}
    left: dict[str, str] = {}
    for choice in weights.values():
        layer = choice.layer
        reason = _obstacle(layer, beliefs)
        if reason:
            left[layer.output] = reason
            continue
        graph, op, fact = layer.graph, layer.op, layer.fact
        assert fact.bias is not None
        constant = int(op.inputs[fact.bias])
        bias = np.asarray(graph.constant(constant), np.float64)
        biases[graph.name(constant)] = (bias - shift(choice, beliefs)).astype(np.float32)
    return biases, left


def shift(choice: WeightChoice, beliefs: Beliefs) -> np.ndarray:
    """What the rounded weights add to each output channel on average, float64[O]."""
    layer = choice.layer
    weight = layer.graph.constant(int(layer.op.inputs[layer.fact.weight]))
    assert weight is not None
    change = choice.codes.params.decode(choice.codes.codes).astype(np.float64) - weight
    mean, _ = beliefs.tensors[_input(layer)].moments
    return carried(layer.graph, layer.op, change, mean)


def _input(layer: Layer) -> str:
    return layer.graph.name(int(layer.op.inputs[layer.fact.data]))


def _obstacle(layer: Layer, beliefs: Beliefs) -> str:
    """Why a layer's bias stays; "" if it can be corrected."""
    graph, op, position = layer.graph, layer.op, layer.fact.bias
    if layer.code not in LAYOUTS:
        return f"{layer.code} has no rule"
    if position is None or len(op.inputs) <= position or op.inputs[position] < 0:
        return "the layer has none"
    bias = int(op.inputs[position])
    if graph.constant(bias) is None or len(graph.consumers.get(bias, ())) != 1:
        return "it is shared or computed"
    if _input(layer) not in beliefs.tensors:
        return beliefs.unknown.get(_input(layer), "nothing is known of its input")
    return ""
