"""Ops that let a positive factor a channel pass, and which channels they tie to which.

A rule takes (ties, op), adds ties and returns ""; or returns why the op minds a factor (or raises
Unfit, from a tie of channels that do not pair up).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tfq_ext.repair.equalize.ties import Settled, Ties

Rule = Callable[[Ties, Any], str]


def _reads(ties: Ties, op: Any) -> list[int]:
    """Float inputs that are computed or fed."""
    return [int(t) for t in op.inputs if t >= 0 and ties.is_live(int(t))]


def same(ties: Ties, op: Any) -> str:
    """Every output channel is made of the same channel of every computed input."""
    for t in _reads(ties, op):
        ties.tie(ties.ids(t), ties.ids(int(op.outputs[0])))
    return ""


def shape_only(ties: Ties, op: Any) -> str:
    """Values do not matter."""
    return ""


def reshape(ties: Ties, op: Any) -> str:
    """Flat positions stay: the channels repeat."""
    fits = ties.repeat(int(op.outputs[0]), int(op.inputs[0]))
    return "" if fits else "it cuts the channel axis"


def _rank(ties: Ties, tensor: int) -> int:
    return len(ties.graph.shape(tensor))


def reduction(ties: Ties, op: Any) -> str:
    """MEAN, SUM, REDUCE_MAX, REDUCE_MIN over other axes than the last."""
    axes = ties.graph.constant(int(op.inputs[1]))
    if axes is None:
        return "its axes are computed"
    rank = _rank(ties, int(op.inputs[0]))
    if any(int(a) % max(rank, 1) == rank - 1 for a in axes.reshape(-1)):
        return "it reduces the channel axis"
    return same(ties, op)


def pad(ties: Ties, op: Any) -> str:
    """Zeros around; channels that are padded themselves are tied to nothing."""
    source, out = int(op.inputs[0]), int(op.outputs[0])
    widths = ties.graph.constant(int(op.inputs[1]))
    if widths is None:
        return "its padding is computed"
    if len(op.inputs) > 2:
        value = ties.graph.constant(int(op.inputs[2]))
        if value is None or value.any():
            return "it pads with another value than 0"
    before = int(widths[-1][0])
    ties.tie(ties.ids(source), ties.ids(out)[before : before + ties.widths[source]])
    return ""


def mirror_pad(ties: Ties, op: Any) -> str:
    """Repeats of positions, not of channels."""
    widths = ties.graph.constant(int(op.inputs[1]))
    if widths is None or widths[-1].any():
        return "it pads the channel axis, or by a computed amount"
    return same(ties, op)


def total(ties: Ties, op: Any) -> str:
    """ADD, SUB, ADD_N: of computed tensors, or of one and a constant that is scaled with it."""
    reads, out = _reads(ties, op), int(op.outputs[0])
    constants = [k for k, t in enumerate(op.inputs) if ties.graph.is_constant(int(t))]
    for k in constants:
        values = np.asarray(ties.graph.constant(int(op.inputs[k])))
        if values.any():
            if values.dtype != np.float32 or values.shape[-1:] != (ties.widths[out],):
                return "it adds one constant to all channels"
            ties.offsets.append((op, k))
    return same(ties, op) if reads else "it adds constants"


def product(ties: Ties, op: Any) -> str:
    """MUL, DIV: by a constant; of computed tensors it is decided later, by `gated`."""
    reads, out = _reads(ties, op), int(op.outputs[0])
    if len(op.inputs) == 2 and not any(map(ties.graph.is_constant, map(int, op.inputs))):
        ties.products.append(op)
        return ""
    if not reads or (ties.graph.code(op) == "DIV" and int(op.inputs[0]) != reads[0]):
        return "it divides a constant"
    ties.tie(ties.ids(reads[0]), ties.ids(out))
    return ""


def gated(ties: Ties, op: Any, settled: Settled) -> bool:
    """Tie a product's other factor to it if one keeps factor 1; False while none is known to."""
    inputs = [int(t) for t in op.inputs]
    kept = [k for k in (1, 0) if settled.why(settled.of(inputs[k]))]
    if ties.graph.code(op) == "DIV":
        kept = [k for k in kept if k == 1]
    if not kept:
        return False
    other = inputs[1 - kept[0]]
    ties.tie(ties.ids(other), ties.ids(int(op.outputs[0])))
    return True


def extreme(ties: Ties, op: Any) -> str:
    """MAXIMUM, MINIMUM: of computed tensors, or against 0."""
    constants = [ties.graph.constant(int(t)) for t in op.inputs]
    if any(values is not None and values.any() for values in constants):
        return "it compares with a constant"
    return same(ties, op)


def concatenation(ties: Ties, op: Any) -> str:
    """Channels side by side, or all tied along another axis."""
    out = int(op.outputs[0])
    if len(_reads(ties, op)) < len(op.inputs):
        return "a constant takes part"
    if int(op.builtinOptions.axis) % max(_rank(ties, out), 1) != _rank(ties, out) - 1:
        return same(ties, op)
    ties.tie(np.concatenate([ties.ids(int(t)) for t in op.inputs]), ties.ids(out))
    return ""


def split(ties: Ties, op: Any) -> str:
    """SPLIT (axis, data), SPLIT_V (data, sizes, axis): the reverse of a concatenation."""
    data, axis = (1, 0) if ties.graph.code(op) == "SPLIT" else (0, 2)
    source, where = int(op.inputs[data]), ties.graph.constant(int(op.inputs[axis]))
    if where is None:
        return "its axis is computed"
    if int(where.reshape(-1)[0]) % _rank(ties, source) == _rank(ties, source) - 1:
        ties.tie(ties.ids(source), np.concatenate([ties.ids(int(t)) for t in op.outputs]))
    else:
        for t in op.outputs:
            ties.tie(ties.ids(source), ties.ids(int(t)))
    return ""


def transpose(ties: Ties, op: Any) -> str:
    """An order of axes that leaves the last one last."""
    order = ties.graph.constant(int(op.inputs[1]))
    if order is None or int(order[-1]) != len(order) - 1:
        return "it moves the channel axis"
    return same(ties, op)


def space(ties: Ties, op: Any) -> str:
    """SPACE_TO_BATCH_ND and back, where the last axis is none of space."""
    block = ties.graph.constant(int(op.inputs[1]))
    if block is None or block.size + 2 > _rank(ties, int(op.inputs[0])):
        return "it may cut the channel axis"
    return same(ties, op)


def cut(ties: Ties, op: Any) -> str:
    """SLICE: a stretch of channels."""
    source, out = int(op.inputs[0]), int(op.outputs[0])
    begin = ties.graph.constant(int(op.inputs[1]))
    if begin is None:
        return "where it begins is computed"
    first = int(begin[-1])
    ties.tie(ties.ids(source)[first : first + ties.widths[out]], ties.ids(out))
    return ""


def strided(ties: Ties, op: Any) -> str:
    """STRIDED_SLICE that keeps all axes, and the last one whole or in steps."""
    source, out, options = int(op.inputs[0]), int(op.outputs[0]), op.builtinOptions
    begin, _, step = (ties.graph.constant(int(t)) for t in op.inputs[1:4])
    if begin is None or step is None:
        return "where it begins is computed"
    masks = options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask
    last = _rank(ties, source) - 1
    if masks or len(begin) != last + 1 or int(step[last]) < 1:
        return "it changes or turns the axes"
    first = 0 if options.beginMask >> last & 1 else int(begin[last]) % ties.widths[source]
    ties.tie(ties.ids(source)[first :: int(step[last])][: ties.widths[out]], ties.ids(out))
    return ""


def gather(ties: Ties, op: Any) -> str:
    """GATHER of channels by constant indices, or of positions by any."""
    source, out, options = int(op.inputs[0]), int(op.outputs[0]), op.builtinOptions
    if ties.graph.is_constant(source):
        return "it looks up a constant"
    rank, picked = _rank(ties, source), ties.graph.constant(int(op.inputs[1]))
    if int(options.axis) % rank != rank - 1:
        ties.tie(ties.ids(source), ties.ids(out))
        return ""
    if picked is None or picked.ndim != 1 or options.batchDims:
        return "it picks channels by computed indices"
    ties.tie(ties.ids(source)[picked % ties.widths[source]], ties.ids(out))
    return ""


RULES: dict[str, Rule] = {
    **dict.fromkeys(("RELU", "RELU6", "LEAKY_RELU", "ABS", "NEG"), same),
    "PRELU": same,  # its constant is the slope below 0
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), same),
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN"), reduction),
    **dict.fromkeys(("PAD", "PADV2"), pad),
    "MIRROR_PAD": mirror_pad,
    **dict.fromkeys(("RESHAPE", "SQUEEZE", "EXPAND_DIMS"), reshape),
    **dict.fromkeys(("DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), reshape),  # their channels repeat too
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), space),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), same),
    **dict.fromkeys(("ADD", "SUB", "ADD_N"), total),
    **dict.fromkeys(("MUL", "DIV"), product),
    **dict.fromkeys(("MAXIMUM", "MINIMUM"), extreme),
    "CONCATENATION": concatenation,
    **dict.fromkeys(("SPLIT", "SPLIT_V"), split),
    "TRANSPOSE": transpose,
    "SLICE": cut,
    "STRIDED_SLICE": strided,
    "GATHER": gather,
    **dict.fromkeys(("SHAPE", "RANK"), shape_only),
}
