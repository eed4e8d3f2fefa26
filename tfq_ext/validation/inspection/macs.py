"""Multiply-accumulates, parameters and weight bits of each op, from shapes alone.

One multiply-accumulate (MAC) is one product added to a sum; a bias is not counted. Elementwise
ops, pooling, reductions and layout have none: they are counted as ops, not in MACs. Open
dimensions count as 1; loop bodies count as run once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from tfq_ext.tflite.arithmetic import FLOATS, QUANTIZED, has_grid
from tfq_ext.tflite.facts import LOOKUPS, WEIGHTS
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.inspection.context import OPENERS, Place, Scene

BITS = {"int2": 2, "int4": 4, "int8": 8, "uint8": 8, "int16": 16, "float16": 16, "bfloat16": 16}
_WIDE = {"int32": 32, "float32": 32, "int64": 64, "float64": 64}


def sizes(graph: Graph, tensor: int) -> tuple[int, ...]:
    """The shape as stored: 1 where a dimension is open."""
    if tensor < 0:
        return ()
    shape = graph.tensors[tensor].shape
    return () if shape is None else tuple(max(int(n), 0) for n in shape)


def _by_window(place: Place) -> int | None:
    """Output elements times the weights that each reads: all but the output channels' axis."""
    fact = WEIGHTS[place.code]
    out, weight = sizes(place.graph, place.made[0]), sizes(place.graph, place.operand(fact.weight))
    if not out or len(weight) <= fact.axis:
        return None
    return prod(out) * prod(n for k, n in enumerate(weight) if k != fact.axis)


def _by_position(data: int) -> Callable[[Place], int | None]:
    """Every input position meets the whole kernel (transposed convolutions)."""

    def count(place: Place) -> int | None:
        fed, weight = sizes(place.graph, place.operand(data)), sizes(place.graph, place.operand(1))
        return prod(fed[:-1]) * prod(weight) if fed and weight else None

    return count


def _matmul(place: Place) -> int | None:
    out, left = sizes(place.graph, place.made[0]), sizes(place.graph, place.operand(0))
    if not out or len(left) < 2:
        return None
    options = place.op.builtinOptions
    return prod(out) * left[-2 if getattr(options, "adjX", False) else -1]


def _recurrent(place: Place) -> int | None:
    """Every weight matrix once per row and time step."""
    fed = sizes(place.graph, place.operand(0))
    if not fed:
        return None
    matrices = (sizes(place.graph, t) for t in place.read[1:] if place.graph.is_constant(t))
    return prod(fed[:-1]) * sum(prod(shape) for shape in matrices if len(shape) == 2)


MACS: dict[str, Callable[[Place], int | None]] = {
    "CONV_2D": _by_window,
    "DEPTHWISE_CONV_2D": _by_window,
    "FULLY_CONNECTED": _by_window,
    "CONV_3D": _by_window,
    "TRANSPOSE_CONV": _by_position(2),
    "CONV_3D_TRANSPOSE": _by_position(2),
    "BATCH_MATMUL": _matmul,
    **dict.fromkeys(
        (
            "LSTM",
            "RNN",
            "SVDF",
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            "UNIDIRECTIONAL_SEQUENCE_RNN",
            "BIDIRECTIONAL_SEQUENCE_LSTM",
            "BIDIRECTIONAL_SEQUENCE_RNN",
        ),
        _recurrent,
    ),
    "STABLEHLO_CONVOLUTION": lambda place: None,
    "STABLEHLO_DOT_GENERAL": lambda place: None,
}


def macs(place: Place) -> int | None:
    """Of one run; None where the file does not tell (custom ops, shapes not recorded)."""
    if place.code.startswith(("CUSTOM:", "FLEX:")):
        return None
    if place.code not in MACS or not place.made:
        return 0
    return MACS[place.code](place)


def constants(scene: Scene, place: Place) -> dict[int, int]:
    """Input position -> stored tensor of what an op computes with: weights, biases, tables.

    Integers without a scale are shapes, axes and indices unless they stand where a bias does.
    """
    graph, fact = place.graph, WEIGHTS.get(place.code)
    found: dict[int, int] = {}
    if place.code in OPENERS:  # the constant is its reader's
        return found
    for k in range(len(place.op.inputs) if place.op.inputs is not None else 0):
        tensor = scene.stored(graph, place.operand(k))
        if tensor < 0:
            continue
        real = graph.dtype(tensor) in FLOATS or has_grid(graph, tensor)
        if real or (fact is not None and k == fact.bias):
            found[k] = tensor
    return found


def weight_positions(place: Place) -> tuple[int, ...]:
    """Where an op keeps what it multiplies with, or looks up in."""
    fact = WEIGHTS.get(place.code) or LOOKUPS.get(place.code)
    if fact is not None:
        return (fact.weight,)
    if place.code in MACS and place.op.inputs is not None:
        return tuple(range(len(place.op.inputs)))
    return ()


def weights(scene: Scene, place: Place) -> list[int]:
    """Stored tensors that are weights: two dimensions at least, float or with a scale."""
    known = constants(scene, place)
    graph = place.graph
    return [
        known[k]
        for k in weight_positions(place)
        if k in known
        and len(sizes(graph, known[k])) >= 2
        and graph.dtype(known[k]) in FLOATS | QUANTIZED
    ]


def weight_bits(scene: Scene, place: Place) -> int:
    """The fewest bits among the op's weights as stored; 0 without weights."""
    widths = {**BITS, **_WIDE}
    return min(
        (widths.get(place.graph.dtype(t), 0) for t in weights(scene, place)),
        default=0,
    )
