"""Bias correction: each output channel's mean, after the activation, as in the float network.

Corrected before the activation, means that a ReLU clips are counted with, and the logits shrink
(gain .87 on MobileNetV2); after it, layer by layer with everything before corrected already, they
do not.

Source: Nagel et al. 1906.04721, section 4.2 (empirical); the order is the white paper's 2106.08295.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.repair.layerwise import Values, Walk
from tfq_ext.repair.rebuild.moments import bias_of, clamps
from tfq_ext.repair.weights import Layer

ROUNDS = 2
TOLERANCE = 1.05  # of a mean's distance, before another run is made to take a bias back
LEAST_SLOPE = 0.1  # a channel that is clamped nearly always moves little with its bias


def correctable(layer: Layer) -> bool:
    """Whether the op has a bias of its own to correct."""
    if bias_of(layer) is None or layer.fact.bias is None:
        return False
    tensor = int(layer.op.inputs[layer.fact.bias])
    return len(layer.graph.consumers.get(tensor, ())) == 1


def match(layer: Layer, k: int, walk: Walk) -> np.ndarray:
    """Run op `k` in the quantized prefix with the bias that makes the means agree; float32[C].

    The float network has run it already. Of the biases tried, each channel keeps the one whose
    mean came closest. Without an activation the bias only shifts the output: one run does.
    """
    bias = bias_of(layer)
    assert bias is not None
    assert layer.fact.bias is not None
    tensor, output = int(layer.op.inputs[layer.fact.bias]), int(layer.op.outputs[0])
    lo, hi = clamps(layer.op)
    wanted, slope = _means(walk.real, output, lo, hi)
    tried = bias.astype(np.float64)
    best, nearest = tried.copy(), np.full(len(bias), np.inf)
    for _ in range(ROUNDS if np.isfinite((lo, hi)).any() else 0):
        off = _off(walk, k, output, wanted)
        better = np.abs(off) < nearest
        nearest[better], best[better] = np.abs(off)[better], tried[better]
        tried = tried + off / np.maximum(slope, LEAST_SLOPE)
        walk.change(k, tensor, tried)
    off = _off(walk, k, output, wanted)
    if not np.isfinite((lo, hi)).any():
        walk.change(k, tensor, bias + off)
        for values in walk.rough:
            values[output] = values[output] + off.astype(np.float32)
        return (bias + off).astype(np.float32)
    worse = np.abs(off) > nearest * TOLERANCE
    if np.any(worse):
        tried[worse] = best[worse]
        walk.change(k, tensor, tried)
        walk.step_rough(k)
    return tried.astype(np.float32)


def _off(walk: Walk, k: int, output: int, wanted: np.ndarray) -> np.ndarray:
    """Run op `k` in the quantized prefix; by how much each channel's mean is too small."""
    walk.step_rough(k)
    return wanted - _means(walk.rough, output, -np.inf, np.inf)[0]


def _means(live: list[Values], tensor: int, lo: float, hi: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each channel, and the share of its values that the activation lets through."""
    total: np.ndarray | float = 0.0
    inside: np.ndarray | float = 0.0
    count = 0
    for values in live:
        flat = values[tensor].reshape(-1, values[tensor].shape[-1])
        total = total + flat.sum(axis=0, dtype=np.float64)
        if np.isfinite((lo, hi)).any():
            inside = inside + ((flat > lo) & (flat < hi)).sum(axis=0)
        count += len(flat)
    return np.asarray(total) / count, np.asarray(inside) / count
