r"""High-bias absorption: what a channel never goes below moves into the biases of its readers.

\( b_1 \gets b_1 - c, \quad b_2 \gets b_2 + \sum W_2 c \), exact wherever the value before the ReLU
is at least c; \( c = \max(0, \text{low}) \). Between linear layers with no ReLU any c is exact, and
the middle of the channel's range is taken.

A reader that pads with zeros is a trap: at the border it would see 0 where c is meant. It is left
alone unless it looks at one position at a time.

Source: Nagel et al. 1906.04721 section 4.1.3, where low is beta - 3 gamma of a BatchNormalization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfq_ext.errors import DataError
from tfq_ext.repair.equalize.apply import Constants
from tfq_ext.repair.equalize.linear import Linear, linear_of
from tfq_ext.repair.equalize.ties import Ties, Unfit
from tfq_ext.tflite.facts import ACTIVATIONS, WEIGHTS
from tfq_ext.tflite.read import Graph, Model

Extremes = Mapping[str, tuple[np.ndarray, np.ndarray]]  # tensor -> (least, greatest) a channel
Channels = NDArray[np.float64]

# What turns x - c into y - c, the last axis kept or repeated.
SHIFTING = frozenset(
    ("AVERAGE_POOL_2D", "MAX_POOL_2D", "MEAN", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "RELU")
)
_SAME_PADDING = 0


@dataclass(frozen=True, eq=False)
class Absorbed:
    """What `absorb` did.

    Args:
        model: the new model.
        amounts: activation tensor -> c of its channels, float64[C].
        notes: why other layers' outputs stay, one sentence each.
    """

    model: Model
    amounts: Mapping[str, Channels]
    notes: tuple[str, ...]


def absorb(model: Model, extremes: Extremes) -> Absorbed:
    """Move the constant part of channels into the biases behind them.

    The float output stays wherever the extremes hold.

    Args:
        model: float; not changed.
        extremes: (least, greatest) value of each channel of tensors that conv, depthwise or dense
            layers write, before their ReLU or (the same where it counts) behind it: from
            `channel_extremes`, or beta - 3 gamma and beta + 3 gamma. Tensors without stay.
    """
    model = model.copy()
    constants, amounts, notes = Constants(), {}, []
    for graph in model.graphs:
        ties = Ties.of(graph)
        for op in [op for op in graph.ops if graph.code(op) in WEIGHTS]:
            name = graph.name(int(op.outputs[0]))
            if name not in extremes:
                continue
            try:
                c = _absorb(ties, op, extremes[name], constants)
            except Unfit as error:
                notes.append(f"{name} is not absorbed: {error}.")
                continue
            if c.any():
                amounts[name] = c
    return Absorbed(model, amounts, tuple(notes))


def _absorb(
    ties: Ties, op: Any, extremes: tuple[np.ndarray, np.ndarray], constants: Constants
) -> Channels:
    """c of one layer's output, taken from its bias and given to its readers."""
    writer = linear_of(ties, op)
    low, high = (np.asarray(end, np.float64) for end in extremes)
    if low.shape != (len(writer.outputs),) or high.shape != low.shape:
        raise DataError(
            f"{writer.graph.name(writer.out)} has {len(writer.outputs)} channels; the extremes "
            f"have {low.shape} and {high.shape}."
        )
    path = _Path(ties)
    path.follow(writer.out, op, len(low))
    c: Channels = np.maximum(low, 0.0) if path.rectified else (low + high) / 2
    if not c.any():
        return c
    _add_bias(writer, -c, constants)
    for reader in path.readers:
        _add_bias(reader, _carried(reader, c), constants)
    return c


@dataclass
class _Path:
    """What reads a tensor, through ops that let a shift pass."""

    ties: Ties
    readers: list[Linear] = field(default_factory=list)
    rectified: bool = False

    def follow(self, tensor: int, op: Any, channels: int) -> None:
        graph = self.ties.graph
        fused = ACTIVATIONS[getattr(op.builtinOptions, "fusedActivationFunction", 0)]
        if fused not in ("NONE", "RELU"):
            raise Unfit(f"{graph.name(tensor)} has the activation {fused}")
        self.rectified |= fused == "RELU" or graph.code(op) == "RELU"
        if tensor in graph.outputs:
            raise Unfit("it leaves the model")
        if self.ties.widths[tensor] % channels:
            raise Unfit(f"{graph.name(tensor)} cuts its channels")
        for k in graph.consumers.get(tensor, []):
            self._read(graph.ops[k], tensor, channels)

    def _read(self, op: Any, tensor: int, channels: int) -> None:
        graph = self.ties.graph
        code = graph.code(op)
        if code in WEIGHTS:
            if int(op.inputs[WEIGHTS[code].data]) != tensor:
                raise Unfit("it is read as a weight or bias")
            self.readers.append(linear_of(self.ties, op))
            _check_padding(self.readers[-1])
        elif code in SHIFTING and _keeps_channels(graph, op, code):
            self.follow(int(op.outputs[0]), op, channels)
        else:
            raise Unfit(f"{code} {graph.name(int(op.outputs[0]))} reads it")


def _keeps_channels(graph: Graph, op: Any, code: str) -> bool:
    if code != "MEAN":
        return True
    axes, rank = graph.constant(int(op.inputs[1])), len(graph.shape(int(op.inputs[0])))
    return axes is not None and all(int(a) % rank != rank - 1 for a in axes.reshape(-1))


def _check_padding(reader: Linear) -> None:
    code, shape = reader.graph.code(reader.op), reader.graph.shape(reader.weight)
    taps = {"CONV_2D": shape[1:3], "DEPTHWISE_CONV_2D": shape[1:3], "CONV_3D": shape[:3]}
    if code == "TRANSPOSE_CONV":
        raise Unfit(f"{reader.name} gives its borders fewer taps")
    padding = getattr(reader.op.builtinOptions, "padding", None)
    if padding == _SAME_PADDING and any(k > 1 for k in taps.get(code, ())):
        raise Unfit(f"{reader.name} pads with zeros")


def _carried(reader: Linear, c: Channels) -> Channels:
    """What a constant c in every input channel adds to each output, float64[O]."""
    weights = reader.canonical().astype(np.float64).sum(axis=0)
    i, g, _ = weights.shape
    values = np.resize(c, i * g).reshape(g, i).T[:, :, None]
    return np.asarray((weights * values).sum(axis=0).reshape(-1))


def _add_bias(layer: Linear, change: Channels, constants: Constants) -> None:
    graph, op = layer.graph, layer.op
    position = WEIGHTS[graph.code(op)].bias
    assert position is not None
    known = position < len(op.inputs) and op.inputs[position] >= 0  # as it is now
    bias = np.asarray(graph.constant(int(op.inputs[position])), np.float64) if known else 0.0
    values = np.asarray(bias + change, np.float32)
    if known:
        constants.replace_input(graph, op, position, values)
    else:
        constants.add_input(graph, op, position, values)
