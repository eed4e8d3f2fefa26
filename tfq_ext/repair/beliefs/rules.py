r"""How every op passes on what is believed of its inputs: op code -> rule.

A rule gives one belief an output, after the op's own activation, or raises Unknown. Different
tensors, channels and positions count as independent: \( \mathrm{Var}[W x] = W^2 \mathrm{Var}[x] \).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tfq_ext.repair.beliefs import moving
from tfq_ext.repair.beliefs.belief import ALPHA, Belief, from_moments
from tfq_ext.repair.beliefs.functions import FUNCTIONS, function_of, gate, mapped, row
from tfq_ext.repair.beliefs.scene import CLAMPS, Scene, Unknown, fused, spread
from tfq_ext.repair.equalize.layout import LAYOUTS
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.windows import tap_shares

_SHARE = np.zeros(1), np.ones(1)
Rule = Callable[[Scene, Any], list[Belief]]

# Deviations that a range covers behind a layer without statistics: its inputs are not independent,
# so logits lie further out than 6 computed deviations and saturate there. Chosen on MobileNetV2 and
# EfficientNet-Lite0 before padding counted in means; not measured again since.
ALPHA_UNSEEN = 16.0
ALPHA_PRODUCT = 2 * ALPHA  # a product's tails are longer than a factor's


def carried(graph: Graph, op: Any, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What constant input channels give at each output, mean over all positions; float64[O].

    Near a border that is padded with zeros fewer taps count.

    Args:
        graph, op: with weights.
        weights: as the file stores them, float[...]; they need not be the op's own.
        values: of the input channels, float64[C]; a dense layer that reads several axes as one
            sees them repeated.
    """
    code = graph.code(op)
    inputs = weights.shape[1] if code == "FULLY_CONNECTED" else len(values)
    taps = LAYOUTS[code].canonical(weights.astype(np.float64), inputs)
    shares = tap_shares(graph, op)
    w = taps.sum(axis=0) if shares is None else np.tensordot(shares, taps, axes=1)
    i, g, _ = w.shape
    rows = np.resize(values, i * g).reshape(g, i).T[:, :, None]
    return np.asarray((w * rows).sum(axis=0).reshape(-1))


def linear(scene: Scene, op: Any) -> list[Belief]:
    """Conv, depthwise, transposed and dense layers with constant weights."""
    graph, code = scene.graph, scene.graph.code(op)
    fact = WEIGHTS[code]
    weights = graph.constant(int(op.inputs[fact.weight]))
    if weights is None:
        raise Unknown("its weights are computed")
    mean, variance = scene.of(int(op.inputs[fact.data])).moments
    out = carried(graph, op, weights, mean)
    noise = carried(graph, op, np.square(weights.astype(np.float64)), variance)
    if fact.bias is not None and len(op.inputs) > fact.bias and op.inputs[fact.bias] >= 0:
        bias = graph.constant(int(op.inputs[fact.bias]))
        if bias is None:
            raise Unknown("its bias is computed")
        out = out + bias
    made = Belief.of(out, np.sqrt(noise)).clamped(*fused(op))
    return [replace(made, alpha=ALPHA_UNSEEN)]


def total(scene: Scene, op: Any) -> list[Belief]:
    """ADD, SUB, ADD_N: moments add."""
    signs = [1.0, -1.0] if scene.graph.code(op) == "SUB" else [1.0] * len(op.inputs)
    width = scene.width(int(op.outputs[0]))
    parts = [
        spread(scene.of(int(t)), width).changed(s) for t, s in zip(op.inputs, signs, strict=True)
    ]
    moments = [p.moments for p in parts]
    reach = [p.reach for p in parts]
    ends = [np.sum([r[k] for r in reach], axis=0) for k in (0, 1)]
    mean, variance = (np.sum([m[k] for m in moments], axis=0) for k in (0, 1))
    return [from_moments(mean, variance, ends[0], ends[1]).clamped(*fused(op))]


def product(scene: Scene, op: Any) -> list[Belief]:
    """MUL of two computed tensors: x f(x) as one function, else independent."""
    own = gate(scene, op)
    if own is not None:
        return [mapped(scene.of(own[0]), own[1]).clamped(*fused(op))]
    width = scene.width(int(op.outputs[0]))
    a, b = (spread(scene.of(int(t)), width) for t in op.inputs)
    (ma, va), (mb, vb) = a.moments, b.moments
    corners = np.array([x * y for x in a.reach for y in b.reach])
    variance = va * vb + va * mb**2 + vb * ma**2
    ends = corners.min(axis=0), corners.max(axis=0)
    return [from_moments(ma * mb, variance, *ends, alpha=ALPHA_PRODUCT).clamped(*fused(op))]


def extreme(scene: Scene, op: Any) -> list[Belief]:
    """MAXIMUM, MINIMUM, SELECT: either of two computed tensors."""
    width = scene.width(int(op.outputs[0]))
    return [moving.mixture([spread(scene.of(int(t)), width) for t in op.inputs[-2:]])]


def bounded(scene: Scene, op: Any) -> list[Belief]:
    """SOFTMAX: shares that sum to 1."""
    width = scene.width(int(op.outputs[0]))
    one = from_moments(np.array([1 / width]), np.array([1 / width**2]), *_SHARE, alpha=np.inf)
    return [spread(one, width)]


# x and a constant c as factor x + offset: (code, whether x comes first) -> of c.
_AFFINE: dict[tuple[str, bool], Callable[[np.ndarray], tuple[Any, Any]]] = {
    ("ADD", True): lambda c: (1.0, c),
    ("ADD", False): lambda c: (1.0, c),
    ("SUB", True): lambda c: (1.0, -c),
    ("SUB", False): lambda c: (-1.0, c),
    ("MUL", True): lambda c: (c, 0.0),
    ("MUL", False): lambda c: (c, 0.0),
    ("DIV", True): lambda c: (1.0 / c, 0.0),
}


def unary(scene: Scene, op: Any) -> list[Belief]:
    """A function of one tensor: in closed form where it clamps, scales or adds, else by points."""
    found = function_of(scene, op)
    code = scene.graph.code(op)
    if found is None:
        raise Unknown(f"{code} has no rule for these operands")
    x = scene.of(found[0])
    if code in CLAMPS:
        return [x.clamped(*CLAMPS[code])]
    width = scene.width(int(op.outputs[0]))
    first = int(op.inputs[0]) == found[0]
    if (code, first) in _AFFINE:
        factor, offset = _AFFINE[code, first](row(scene, int(op.inputs[1 if first else 0])))
        return [spread(x, width).changed(factor, offset).clamped(*fused(op))]
    return [mapped(spread(x, width), found[1])]


def pair(two: Rule) -> Rule:
    """`two` for two computed operands, a function of one where the other is constant."""

    def rule(scene: Scene, op: Any) -> list[Belief]:
        return two(scene, op) if len(scene.live(op)) > 1 else unary(scene, op)

    return rule


RULES: dict[str, Rule] = {
    **dict.fromkeys(WEIGHTS, linear),
    **dict.fromkeys((*FUNCTIONS, "LEAKY_RELU", "PRELU", "DIV", "POW"), unary),
    "SQUARED_DIFFERENCE": unary,
    **dict.fromkeys(("ADD", "SUB"), pair(total)),
    "ADD_N": total,
    "MUL": pair(product),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), pair(extreme)),
    **dict.fromkeys(("SELECT", "SELECT_V2"), extreme),
    "SOFTMAX": bounded,
    **dict.fromkeys(("AVERAGE_POOL_2D",), moving.pooled),
    **dict.fromkeys(("MEAN", "REDUCE_MAX", "REDUCE_MIN"), moving.reduction),
    **dict.fromkeys(("MAX_POOL_2D", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), moving.same),
    **dict.fromkeys(("MIRROR_PAD", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), moving.same),
    **dict.fromkeys(("PAD", "PADV2"), moving.padded),
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), moving.reshaped),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), moving.reshaped),
    **dict.fromkeys(("TILE", "BROADCAST_TO"), moving.reshaped),
    "TRANSPOSE": moving.transposed,
    **dict.fromkeys(("CONCATENATION", "PACK"), moving.concatenated),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), moving.divided),
    "SLICE": moving.sliced,
    "STRIDED_SLICE": moving.strided,
    "GATHER": moving.gathered,
}
