"""What single outputs of an op read: windows of a convolution, rows of a dense layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext._table import Table
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph


@dataclass(frozen=True, eq=False)
class Taps:
    """What the output positions of one axis read.

    Args:
        places: int[positions, taps] into the padded axis.
        padding: zeros before and after.
    """

    places: np.ndarray
    padding: tuple[int, int]


def taps(size: int, taken: int, stride: int, gap: int, *, same: bool) -> Taps:
    """Of a convolution: `taken` values, `gap` apart, every `stride`."""
    reach = (taken - 1) * gap + 1
    count = -(-size // stride) if same else (size - reach) // stride + 1
    lack = max((count - 1) * stride + reach - size, 0) if same else 0
    places = np.arange(count)[:, None] * stride + np.arange(taken) * gap
    return Taps(places, (lack // 2, lack - lack // 2))


def transposed_taps(size: int, taken: int, stride: int, count: int, *, same: bool) -> Taps:
    """Of a transposed convolution, into the input with stride - 1 zeros between its values.

    Output y reads place y + p - t with tap t, where p is the padding that the forward convolution
    has at its start.
    """
    lack = max((size - 1) * stride + taken - count, 0) if same else 0
    start = lack // 2
    places = np.arange(count)[:, None] + start - np.arange(taken)
    before = max(-int(places.min()), 0)
    after = max(int(places.max()) - (size - 1) * stride, 0)
    return Taps(places + before, (before, after))


def windows_of(options: Any, shape: tuple[int, ...], kernel: tuple[int, int]) -> list[Taps]:
    """Rows and columns that a 2-D convolution reads from an input of `shape` [N, H, W, C]."""
    same = options.padding == schema.Padding.SAME
    axes = zip(
        shape[1:3],
        kernel,
        (options.strideH, options.strideW),
        (options.dilationHFactor, options.dilationWFactor),
        strict=True,
    )
    return [taps(*axis, same=same) for axis in axes]


def positions(axes: list[Taps], batch: int) -> int:
    """How many outputs there are."""
    return batch * int(np.prod([len(axis.places) for axis in axes]))


def take(x: np.ndarray, axes: list[Taps], few: np.ndarray) -> np.ndarray:
    """float32[P, KH, KW, C]: the windows of the outputs numbered `few`; zeros in the padding."""
    (rows, high), (columns, wide) = ((axis.places, axis.padding) for axis in axes)
    n, r, c = np.unravel_index(few, (x.shape[0], len(rows), len(columns)))
    padded = np.pad(x, ((0, 0), high, wide, (0, 0)))
    return padded[n[:, None, None], rows[r][:, :, None], columns[c][:, None, :]]


@dataclass(frozen=True)
class Reader:
    """How a layer with weights reads its input.

    Args:
        count: (graph, op, input shape) -> number of output positions.
        take: (graph, op, x, positions) -> float32[m, G, n], as the weight's rows meet them.
    """

    count: Callable[[Graph, Any, tuple[int, ...]], int]
    take: Callable[[Graph, Any, np.ndarray, np.ndarray], np.ndarray]


def _weight_shape(graph: Graph, op: Any) -> tuple[int, ...]:
    return graph.shape(int(op.inputs[WEIGHTS[graph.code(op)].weight]))


def _axes(graph: Graph, op: Any, shape: tuple[int, ...]) -> list[Taps]:
    _, high, wide, _ = _weight_shape(graph, op)
    return windows_of(op.builtinOptions, shape, (high, wide))


def _count_windows(graph: Graph, op: Any, shape: tuple[int, ...]) -> int:
    return positions(_axes(graph, op, shape), shape[0])


def _take_conv(graph: Graph, op: Any, x: np.ndarray, few: np.ndarray) -> np.ndarray:
    found = take(x, _axes(graph, op, x.shape), few)
    return _grouped(found, found.shape[3] // _weight_shape(graph, op)[3])


def _take_depthwise(graph: Graph, op: Any, x: np.ndarray, few: np.ndarray) -> np.ndarray:
    found = take(x, _axes(graph, op, x.shape), few)
    return _grouped(found, found.shape[3])


def _grouped(found: np.ndarray, groups: int) -> np.ndarray:
    """[m, KH, KW, G I] -> [m, G, KH KW I]."""
    m, high, wide, channels = found.shape
    split = found.reshape(m, high * wide, groups, channels // groups)
    return np.ascontiguousarray(split.transpose(0, 2, 1, 3)).reshape(m, groups, -1)


def _count_dense(graph: Graph, op: Any, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape)) // _weight_shape(graph, op)[1]


def _take_dense(graph: Graph, op: Any, x: np.ndarray, few: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 1, _weight_shape(graph, op)[1])[few]


def _transposed_axes(graph: Graph, op: Any, shape: tuple[int, ...]) -> list[Taps]:
    _, high, wide, _ = _weight_shape(graph, op)
    o, wanted = op.builtinOptions, graph.constant(int(op.inputs[0]))
    same = o.padding == schema.Padding.SAME
    axes = []
    for size, taken, stride, place in ((1, high, o.strideH, 1), (2, wide, o.strideW, 2)):
        full = (shape[size] - 1) * stride + taken
        count = int(wanted[place]) if wanted is not None else full
        axes.append(transposed_taps(shape[size], taken, stride, count, same=same))
    return axes


def _count_transposed(graph: Graph, op: Any, shape: tuple[int, ...]) -> int:
    return positions(_transposed_axes(graph, op, shape), shape[0])


def _take_transposed(graph: Graph, op: Any, x: np.ndarray, few: np.ndarray) -> np.ndarray:
    o, (n, high, wide, channels) = op.builtinOptions, x.shape
    shape = (n, (high - 1) * o.strideH + 1, (wide - 1) * o.strideW + 1, channels)
    stuffed = np.zeros(shape, x.dtype)
    stuffed[:, :: o.strideH, :: o.strideW] = x
    return _grouped(take(stuffed, _transposed_axes(graph, op, x.shape), few), 1)


READERS: Table[Reader] = Table(
    "op whose windows are known",
    {
        "CONV_2D": Reader(_count_windows, _take_conv),
        "DEPTHWISE_CONV_2D": Reader(_count_windows, _take_depthwise),
        "FULLY_CONNECTED": Reader(_count_dense, _take_dense),
        "TRANSPOSE_CONV": Reader(_count_transposed, _take_transposed),
    },
)


def tap_shares(graph: Graph, op: Any) -> np.ndarray | None:
    """How often each tap reads a value and no padding, over all output positions.

    Returns:
        float64[KH KW], 1 for a tap that always does; None where the axes of space are open, or
        the op has none.
    """
    code = graph.code(op)
    if code not in _SPACES:
        return None
    axes_of, stuffed = _SPACES[code]
    shape = graph.shape(int(op.inputs[WEIGHTS[code].data]))
    if len(shape) != 4 or min(shape[1:3]) < 1:
        return None
    strides = (op.builtinOptions.strideH, op.builtinOptions.strideW) if stuffed else (1, 1)
    shares = []
    for axis, size, stride in zip(axes_of(graph, op, shape), shape[1:3], strides, strict=True):
        places = axis.places - axis.padding[0]
        reads = (places % stride == 0) & (places >= 0) & (places < size * stride)
        shares.append(reads.mean(axis=0))
    return np.outer(*shares).reshape(-1)


# op -> (axes of space, whether zeros stand between the values of the input)
_SPACES: dict[str, tuple[Callable[[Graph, Any, tuple[int, ...]], list[Taps]], bool]] = {
    "CONV_2D": (_axes, False),
    "DEPTHWISE_CONV_2D": (_axes, False),
    "TRANSPOSE_CONV": (_transposed_axes, True),
}
