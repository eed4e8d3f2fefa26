"""What may be equalized in a float subgraph: its layers, and the channels that share a factor.

Every channel of every activation gets a factor; ops that let factors pass tie the channels of what
they read and write together; all else, the inputs and the outputs keep factor 1. A layer with
weights stands between its input's factors and its output's. Chains, depthwise triples, residual
trunks, pools and concatenations follow from that alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import DataError
from tfq_ext.numerics.blocks import Block, Bounds, cap_bounds, limit_bounds
from tfq_ext.numerics.factors import Extent, Layer, Network
from tfq_ext.repair.equalize.layout import LAYOUTS
from tfq_ext.repair.equalize.linear import Linear, linear_of
from tfq_ext.repair.equalize.rules import RULES, gated
from tfq_ext.repair.equalize.ties import Settled, Ties, Unfit
from tfq_ext.tflite.facts import ACTIVATIONS
from tfq_ext.tflite.passes.relu6 import is_capped
from tfq_ext.tflite.read import Graph

CAP = 6.0
Maxima = Mapping[str, np.ndarray]  # tensor -> max |x| of each channel, float[C]


@dataclass(frozen=True)
class Treatment:
    """What becomes of layers around a ReLU6.

    Args:
        passes: whether factors may pass it at all.
        bound: whether they must leave its cap as it acts on the data.
        shrinks: whether activations below the cap may become smaller too.
        doc: one line.
    """

    passes: bool
    bound: bool
    shrinks: bool
    doc: str


TREATMENTS: Table[Treatment] = Table(
    "treatment of ReLU6",
    {
        "skip": Treatment(False, False, False, "layers around a ReLU6 stay apart"),
        "relu": Treatment(True, False, True, "a ReLU6 that factors pass becomes ReLU"),
        "bound": Treatment(True, True, True, "factors under which the cap acts as it did"),
        "up": Treatment(True, True, False, "the same, and channels only grow, to 6 at most"),
    },
)


@dataclass(frozen=True, eq=False)
class Found:
    """One subgraph, ready to be equalized.

    Args:
        graph: the subgraph.
        settled: variables of channels.
        layers: those whose constants may be scaled.
        caps: ReLU6 that factors may pass.
        frees_caps: whether a ReLU6 that factors pass becomes ReLU.
        bounds: of each variable's factor.
        why: weight tensor (or output, where weights are not constant) -> why its op is left out.
    """

    graph: Graph
    settled: Settled
    layers: list[Linear]
    caps: list[Any]
    frees_caps: bool
    bounds: Bounds
    why: dict[str, str]

    def network(self, maxima: Maxima, limit: float | None) -> Network:
        """As the numerics want it; no factor, nor its inverse, beyond `limit`."""
        variables = self.settled.variables
        layers = [
            Layer(Block.of(k.canonical()), variables[k.inputs], variables[k.outputs])
            for k in self.layers
        ]
        bounds = self.bounds
        if limit is not None:
            most = limit_bounds(len(bounds.low), limit)
            bounds = Bounds(np.maximum(bounds.low, most.low), np.minimum(bounds.high, most.high))
        return Network(self.settled.nodes, layers, bounds, self._extents(maxima))

    def _extents(self, maxima: Maxima) -> list[Extent]:
        extents = []
        for t in self.settled.ties.live():
            if (largest := maxima.get(self.graph.name(t))) is not None:
                variables = self.settled.of(t)
                if len(variables) != len(largest):
                    raise DataError(
                        f"{self.graph.name(t)} has {len(variables)} channels; maxima are of "
                        f"{len(largest)}."
                    )
                extents.append(Extent(variables, np.asarray(largest, np.float64)))
        return extents


def find(graph: Graph, treatment: Treatment, maxima: Maxima, *, trunks: bool = True) -> Found:
    """What may be equalized in one subgraph.

    Args:
        graph: float.
        treatment: of ReLU6.
        maxima: for treatments that keep the cap as it acts.
        trunks: also tensors that several layers write or read.
    """
    search = _Search(Ties.of(graph), treatment, maxima)
    search.ends()
    for op in graph.ops:
        search.visit(op)
    settled = search.products()
    if not trunks:
        _forks(search, settled)
    frees = not treatment.bound
    bounds = search.bounds(settled)
    return Found(graph, settled, search.layers, search.caps, frees, bounds, search.why)


@dataclass
class _Search:
    ties: Ties
    treatment: Treatment
    maxima: Maxima
    layers: list[Linear] = field(default_factory=list)
    caps: list[Any] = field(default_factory=list)
    why: dict[str, str] = field(default_factory=dict)

    @property
    def graph(self) -> Graph:
        return self.ties.graph

    def ends(self) -> None:
        """Inputs, outputs and tensors with a recorded range keep factor 1."""
        for t in self.graph.inputs:
            self.ties.pin(t, "the model's input")
        for t in self.graph.outputs:
            self.ties.pin(t, "the model's output")
        for t, tensor in enumerate(self.graph.tensors):
            q = tensor.quantization
            recorded = q is not None and (q.min is not None and len(q.min) > 0)
            if tensor.isVariable or recorded:
                self.ties.pin(t, "it holds state" if tensor.isVariable else "its range is recorded")

    def visit(self, op: Any) -> None:
        """Ties and pins of one op."""
        code = self.graph.code(op)
        where = self.graph.name(int(op.outputs[0])) if len(op.outputs) else code
        try:
            if code in LAYOUTS:
                self.layers.append(linear_of(self.ties, op))
            elif code not in RULES:
                self.ties.pin_all(op, f"{code} {where} minds factors")
            elif reason := RULES[code](self.ties, op):
                raise Unfit(reason)
        except Unfit as error:
            self.ties.pin_all(op, f"{code} {where}: {error}")
            if code in LAYOUTS:
                self.why[self._called(op)] = str(error)
            return
        self._activation(op, where)

    def _called(self, op: Any) -> str:
        weight = int(op.inputs[1])
        return self.graph.name(weight if self.graph.is_constant(weight) else int(op.outputs[0]))

    def _activation(self, op: Any, where: str) -> None:
        """The op's fused activation, or RELU6 itself."""
        fused = ACTIVATIONS[getattr(op.builtinOptions, "fusedActivationFunction", 0)]
        if is_capped(self.graph, op):
            out = self.graph.name(int(op.outputs[0]))
            if not self.treatment.passes:
                self.ties.pin(int(op.outputs[0]), f"{where} is a ReLU6")
            elif self.treatment.bound and out not in self.maxima:
                self.ties.pin(int(op.outputs[0]), f"{where} is a ReLU6 of unknown maxima")
            else:
                self.caps.append(op)
        elif fused not in ("NONE", "RELU"):
            self.ties.pin(int(op.outputs[0]), f"{where} has the activation {fused}")

    def products(self) -> Settled:
        """Judge the products of computed tensors, and settle."""
        open_ = list(self.ties.products)
        settled = self.ties.settle()
        while open_:
            left = []
            for op in open_:
                try:
                    if not gated(self.ties, op, settled):
                        left.append(op)
                except Unfit as error:
                    self.ties.pin_all(op, f"{self._product(op)}: {error}")
            if len(left) == len(open_):
                self.ties.pin_all(left[0], f"{self._product(left.pop(0))} multiplies both")
            open_ = left
            settled = self.ties.settle()
        return settled

    def _product(self, op: Any) -> str:
        return f"{self.graph.code(op)} {self.graph.name(int(op.outputs[0]))}"

    def bounds(self, settled: Settled) -> Bounds:
        """Of every variable: [1, 1] where it is pinned, the cap's where a ReLU6 stays."""
        low, high = np.zeros(len(settled.nodes)), np.full(len(settled.nodes), np.inf)
        low += np.finfo(np.float32).tiny
        if self.treatment.bound:
            for op in self.caps:
                out, variables = int(op.outputs[0]), settled.of(int(op.outputs[0]))
                cap = _cap(np.asarray(self.maxima[self.graph.name(out)], np.float64))
                np.maximum.at(low, variables, cap.low)
                np.minimum.at(high, variables, cap.high if self.treatment.shrinks else 1.0)
        kept = np.fromiter(settled.reasons, np.int64, len(settled.reasons))
        low[kept] = high[kept] = 1.0
        return Bounds(low, high)


def _cap(seen: np.ndarray) -> Bounds:
    """Bounds by what was seen behind the cap: at 6 it may have been anything."""
    return cap_bounds(np.where(seen >= CAP * (1 - 1e-6), np.inf, seen), CAP)


def _forks(search: _Search, settled: Settled) -> None:
    """Pin the variables that several layers write or read."""
    writers, readers = np.zeros((2, len(settled.nodes)), np.int64)
    for layer in search.layers:
        writers[np.unique(settled.variables[layer.outputs])] += 1
        readers[np.unique(settled.variables[layer.inputs])] += 1
    for v in np.flatnonzero((writers > 1) | (readers > 1)).tolist():
        settled.reasons.setdefault(v, f"{writers[v]} layers write it, {readers[v]} read it")
