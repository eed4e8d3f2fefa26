"""Rules of ops that move, repeat, join or drop values and compute none."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext.repair.beliefs.belief import Belief, from_moments, together
from tfq_ext.repair.beliefs.scene import Scene, Unknown, spread


def same(scene: Scene, op: Any) -> list[Belief]:
    """Values of the input, channel by channel; maxima over positions count as any position."""
    return [scene.of(int(op.inputs[0]))]


def pooled(scene: Scene, op: Any) -> list[Belief]:
    """Means over positions: the same mean; neighbours are alike, so the deviation stays."""
    return [averaged(scene.of(int(op.inputs[0])))]


def averaged(x: Belief) -> Belief:
    """A mean of values that may all be alike: their moments, no farther than they reach."""
    mean, variance = x.moments
    return from_moments(mean, variance, *x.reach)


def reduction(scene: Scene, op: Any) -> list[Belief]:
    """MEAN, REDUCE_MAX, REDUCE_MIN; over the channels too, where those are among the axes."""
    source, out = int(op.inputs[0]), int(op.outputs[0])
    axes = scene.graph.constant(int(op.inputs[1]))
    if axes is None:
        raise Unknown("its axes are computed")
    x, rank = scene.of(source), max(scene.rank(source), 1)
    if any(int(a) % rank == rank - 1 for a in axes.reshape(-1)):
        return [x.mixed(scene.width(out))]
    return [averaged(x) if scene.graph.code(op) == "MEAN" else x]


def padded(scene: Scene, op: Any) -> list[Belief]:
    """Zeros around, which every range holds; inside all stays. Channels of zeros are added."""
    x, widths = scene.of(int(op.inputs[0])), scene.graph.constant(int(op.inputs[1]))
    if widths is None:
        raise Unknown("its padding is computed")
    zeros = [Belief.of(np.zeros(int(n)), 0.0) for n in widths.reshape(-1, 2)[-1] if n]
    if not zeros:
        return [x]
    before = int(widths.reshape(-1, 2)[-1][0])
    parts = [zeros[0], x, *zeros[1:]] if before else [x, *zeros]
    return [together(parts)]


def reshaped(scene: Scene, op: Any) -> list[Belief]:
    """Flat positions stay: channel k of the wider side is channel k mod C of the narrower."""
    x, wide = scene.of(int(op.inputs[0])), scene.width(int(op.outputs[0]))
    if wide % x.channels == 0:
        return [x.pick(np.arange(wide) % x.channels)]
    if x.channels % wide == 0:
        groups = np.arange(x.channels) % wide
        return [together([x.pick(np.flatnonzero(groups == k)).mixed() for k in range(wide)])]
    return [x.mixed(wide)]


def transposed(scene: Scene, op: Any) -> list[Belief]:
    """Channels that stay last keep what is known; else any may be any."""
    x, order = scene.of(int(op.inputs[0])), scene.graph.constant(int(op.inputs[1]))
    if order is not None and int(order.reshape(-1)[-1]) == order.size - 1:
        return [x]
    return [x.mixed(scene.width(int(op.outputs[0])))]


def regrouped(scene: Scene, op: Any) -> list[Belief]:
    """DEPTH_TO_SPACE, SPACE_TO_DEPTH: blocks of channels."""
    return reshaped(scene, op)


def concatenated(scene: Scene, op: Any) -> list[Belief]:
    """Channels side by side; along another axis each channel is a mixture."""
    out = int(op.outputs[0])
    parts = [scene.of(int(t)) for t in op.inputs]
    axis = int(getattr(op.builtinOptions, "axis", 0)) % max(scene.rank(out), 1)
    if scene.graph.code(op) == "CONCATENATION" and axis == scene.rank(out) - 1:
        return [together(parts)]
    return [mixture([spread(p, scene.width(out)) for p in parts])]


def mixture(parts: list[Belief]) -> Belief:
    """Channel by channel any of the parts, equally likely."""
    means, variances = np.array([p.moments for p in parts]).transpose(1, 0, 2)
    ends = np.array([p.reach for p in parts])
    total = variances.mean(axis=0) + means.var(axis=0)
    return from_moments(means.mean(axis=0), total, ends[:, 0].min(axis=0), ends[:, 1].max(axis=0))


def divided(scene: Scene, op: Any) -> list[Belief]:
    """SPLIT (axis, data), SPLIT_V (data, sizes, axis), UNPACK (data)."""
    code = scene.graph.code(op)
    data, axis = {"SPLIT": (1, 0), "SPLIT_V": (0, 2)}[code]
    source, where = int(op.inputs[data]), scene.graph.constant(int(op.inputs[axis]))
    if where is None:
        raise Unknown("its axis is computed")
    x, rank = scene.of(source), scene.rank(source)
    if int(where.reshape(-1)[0]) % rank != rank - 1:
        return [x] * len(op.outputs)
    ends = np.cumsum([scene.width(int(t)) for t in op.outputs])
    return [x.pick(c) for c in np.split(np.arange(x.channels), ends[:-1])]


def sliced(scene: Scene, op: Any) -> list[Belief]:
    """SLICE: a stretch of channels."""
    x, out = scene.of(int(op.inputs[0])), int(op.outputs[0])
    begin = scene.graph.constant(int(op.inputs[1]))
    if begin is None:
        return [x.mixed(scene.width(out))]
    first = int(begin.reshape(-1)[-1])
    return [x.pick(np.arange(first, first + scene.width(out)))]


def strided(scene: Scene, op: Any) -> list[Belief]:
    """STRIDED_SLICE; where axes come or go, any channel may be any."""
    source, out, options = int(op.inputs[0]), int(op.outputs[0]), op.builtinOptions
    x, wide, last = scene.of(source), scene.width(out), scene.rank(source) - 1
    begin, _, step = (scene.graph.constant(int(t)) for t in op.inputs[1:4])
    masks = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask >> last & 1
    if begin is None or step is None or masks or len(begin) != last + 1:
        return [x.mixed(wide)]
    channels = np.arange(x.channels)
    first = None if options.beginMask >> last & 1 else int(begin[last])
    return [x.pick(channels[first :: int(step[last])][:wide])]


def gathered(scene: Scene, op: Any) -> list[Belief]:
    """GATHER of rows of a table, or of channels."""
    source, options = int(op.inputs[0]), op.builtinOptions
    x, picked = scene.of(source), scene.graph.constant(int(op.inputs[1]))
    rank = max(scene.rank(source), 1)
    if int(options.axis) % rank != rank - 1:
        return [x]
    if picked is None or picked.ndim != 1:
        return [x.mixed(scene.width(int(op.outputs[0])))]
    return [x.pick(picked % x.channels)]
