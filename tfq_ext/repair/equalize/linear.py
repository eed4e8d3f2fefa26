"""The layers of a subgraph whose constants may be scaled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.numerics.blocks import scaled
from tfq_ext.repair.equalize.layout import LAYOUTS
from tfq_ext.repair.equalize.ties import Ties, Unfit
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph


@dataclass(frozen=True, eq=False)
class Linear:
    """One op with constant float weights.

    Args:
        graph: where it is.
        op: the OperatorT.
        source, out: its activation tensors.
        weight: its weight tensor.
        bias: its bias tensor; None without one.
        inputs: ids of the channels that its weights multiply, int64[I].
        outputs: ids of those that it writes, int64[O].
    """

    graph: Graph
    op: Any
    source: int
    out: int
    weight: int
    bias: int | None
    inputs: np.ndarray
    outputs: np.ndarray

    @property
    def name(self) -> str:
        """The weight tensor's name."""
        return self.graph.name(self.weight)

    @property
    def stored(self) -> np.ndarray:
        """The weights as they lie in the file."""
        return np.asarray(self.graph.constant(self.weight))

    def canonical(self) -> np.ndarray:
        """float32[taps, I/G, G, O/G]."""
        return LAYOUTS[self.graph.code(self.op)].canonical(self.stored, len(self.inputs))

    def scaled(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Stored weights with inputs times `before`, float64[I], outputs over `after`, [O]."""
        layout = LAYOUTS[self.graph.code(self.op)]
        values = scaled(self.canonical(), before, after)
        return layout.restored(values, self.stored, len(self.inputs))


def linear_of(ties: Ties, op: Any) -> Linear:
    """The layer that an op is.

    Raises:
        Unfit: its constants cannot be scaled.
    """
    graph = ties.graph
    fact = WEIGHTS[graph.code(op)]
    weight, source, out = int(op.inputs[fact.weight]), int(op.inputs[fact.data]), op.outputs[0]
    _check_weight(graph, weight, op)
    bias = _bias(graph, op, fact.bias)
    if not (ties.known(source) and ties.known(int(out))):
        raise Unfit("its channels are of unknown number")
    shape, axis = graph.shape(weight), fact.axis
    inputs = _inputs(ties, graph.code(op), source, shape)
    if ties.widths[int(out)] != shape[axis]:
        raise Unfit("its output's last axis is not its channels")
    return Linear(graph, op, source, int(out), weight, bias, inputs, ties.ids(int(out)))


def _check_weight(graph: Graph, weight: int, op: Any) -> None:
    if not graph.is_constant(weight):
        raise Unfit("its weights are computed")
    if graph.dtype(weight) != "float32":
        raise Unfit(f"its weights are {graph.dtype(weight)}")
    tensor = graph.tensors[weight]
    if tensor.sparsity is not None:
        raise Unfit("its weights are stored sparsely")
    if getattr(op.builtinOptions, "weightsFormat", 0):
        raise Unfit("its weights are shuffled")
    twins = [t for t, other in enumerate(graph.tensors) if other.buffer == tensor.buffer]
    readers = [k for t in twins for k in graph.consumers.get(t, ())]
    if len(readers) > 1 or set(twins) & set(graph.outputs):
        raise Unfit("its weights are shared")


def _bias(graph: Graph, op: Any, position: int | None) -> int | None:
    if position is None or position >= len(op.inputs) or op.inputs[position] < 0:
        return None
    bias = int(op.inputs[position])
    if not graph.is_constant(bias) or graph.dtype(bias) != "float32":
        raise Unfit("its bias is computed or not float")
    return bias


def _inputs(ties: Ties, code: str, source: int, shape: tuple[int, ...]) -> np.ndarray:
    """ids of the channels that each row of weights multiplies."""
    width = ties.widths[source]
    if code == "FULLY_CONNECTED":  # reads all axes but the first as one
        wanted = shape[1]
    elif code == "CONV_3D":
        wanted = shape[3]
    elif code == "DEPTHWISE_CONV_2D":
        wanted = width if shape[3] % width == 0 else -1
    else:  # CONV_2D may have groups
        wanted = width if width % shape[3] == 0 else -1
    if wanted % width or (wanted != width and code != "FULLY_CONNECTED"):
        raise Unfit("its weights do not fit its channels")
    return np.resize(ties.ids(source), wanted)
