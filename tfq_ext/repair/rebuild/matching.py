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
from tfq_ext.tflite.slice import Bench

ROUNDS = 3
LEAST_SLOPE = 0.1  # a channel that is clamped nearly always moves little with its bias


def correctable(layer: Layer) -> bool:
    """Whether the op has a bias of its own to correct."""
    if bias_of(layer) is None or layer.fact.bias is None:
        return False
    tensor = int(layer.op.inputs[layer.fact.bias])
    return len(layer.graph.consumers.get(tensor, ())) == 1


def match(layer: Layer, k: int, walk: Walk) -> np.ndarray:
    """Change op `k`'s bias in the rounded graph until the means agree; returns it, float32[C].

    Of the biases tried, each channel keeps the one whose mean came closest.
    """
    bias = bias_of(layer)
    assert bias is not None
    assert layer.fact.bias is not None
    tensor = int(layer.op.inputs[layer.fact.bias])
    lo, hi = clamps(layer.op)
    wanted, slope = _means(walk.bench(k, rounded=False), walk.real, lo, hi)
    best, nearest = bias.copy(), np.full(len(bias), np.inf)
    tried = bias.astype(np.float64)
    for round_ in range(ROUNDS + 1):
        mean, _ = _means(walk.bench(k, rounded=True), walk.rough, lo, hi)
        off = wanted - mean
        better = np.abs(off) < nearest
        nearest[better], best[better] = np.abs(off)[better], tried[better]
        if round_ < ROUNDS:
            tried = tried + off / np.maximum(slope, LEAST_SLOPE)
            walk.change(k, tensor, tried)
    walk.change(k, tensor, best)
    return best.astype(np.float32)


def _means(
    bench: Bench, feeds: list[Values], lo: float, hi: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each output channel, and the share of its values that the activation lets through."""
    sums = [_sums(bench, values, lo, hi) for values in feeds]
    count = sum(n for *_, n in sums)
    total = np.sum([row[0] for row in sums], axis=0)
    inside = np.sum([row[1] for row in sums], axis=0)
    return total / count, inside / count


def _sums(bench: Bench, values: Values, lo: float, hi: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Sum and count inside (lo, hi) of each channel, number of positions; for one sample."""
    bench.set({t: values[t] for t in bench.feeds})
    y = bench.run()
    flat = y.reshape(-1, y.shape[-1])
    inside = ((flat > lo) & (flat < hi)).sum(axis=0, dtype=np.float64)
    return flat.sum(axis=0, dtype=np.float64), inside, len(flat)
