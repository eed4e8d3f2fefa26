"""A graph as a sequence of nodes: what computes, with bridges, constants and activations folded in.

QUANTIZE, DEQUANTIZE, FAKE_QUANT, DENSIFY     looked through: they do not compute
ops on constants only                         left out
CONV_2D -> MUL by constants -> ADD -> RELU    one node: a converter may fuse any part of it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tfq_ext.tflite.facts import ACTIVATIONS, CONTROL, STATEFUL, WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.comparison.tensors import constant_real, is_real

BRIDGES = frozenset({"QUANTIZE", "DEQUANTIZE", "FAKE_QUANT", "DENSIFY"})
# Activations that other ops can have fused into them -> the interval they clamp to.
CLAMPS: dict[str, tuple[float, float]] = {
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}
FOLDABLE = frozenset({"MUL", "ADD", "SUB", "DIV"})  # with a constant: part of a layer
# Ops that different converters use for one thing.
ALIKE = {
    "SQUEEZE": "RESHAPE",
    "EXPAND_DIMS": "RESHAPE",
    "PADV2": "PAD",
    "SELECT": "SELECT_V2",
}
INPUT = "input"


@dataclass(frozen=True)
class Stage:
    """One step inside a node.

    Args:
        code: op code, or the activation that is fused into the op before.
        tensor: what holds its result; None where that is fused away.
        op: index of the op that writes `tensor`; None for an input.
    """

    code: str
    tensor: int | None
    op: int | None


@dataclass(frozen=True, eq=False)
class Node:
    """One computing op with what follows it alone.

    Args:
        code: of its core, with names of one meaning made one; "input" for an input.
        op: index of the core; None for an input.
        stages: the core, then followers, a trailing activation last.
        outputs: tensors of the core (the last stage's is `final` where there is one output).
        inputs: tensors that it reads and that are computed, bridges looked through.
        shape: of the final tensor.
    """

    code: str
    op: int | None
    stages: tuple[Stage, ...]
    outputs: tuple[int, ...]
    inputs: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def final(self) -> int:
        """The tensor that leaves the node."""
        return next(s.tensor for s in reversed(self.stages) if s.tensor is not None)

    @property
    def activation(self) -> str:
        """Code of the trailing activation, "" without one."""
        last = self.stages[-1].code
        return last if len(self.stages) > 1 and last in CLAMPS else ""

    @property
    def linear(self) -> tuple[Stage, ...]:
        """The stages before the trailing activation."""
        return self.stages[:-1] if self.activation else self.stages


class View:
    """The nodes of one subgraph, in order, and which tensor comes from where."""

    def __init__(self, graph: Graph):
        self.graph = graph

    @cached_property
    def static(self) -> frozenset[int]:
        """Tensors that do not depend on the inputs."""
        found = {t for t in range(len(self.graph.tensors)) if self.graph.is_constant(t)}
        for op in self.graph.ops:
            code = self.graph.code(op)
            read = [int(t) for t in _list(op.inputs) if t >= 0]
            if read and code not in CONTROL | STATEFUL and all(t in found for t in read):
                found.update(int(t) for t in _list(op.outputs))
        return frozenset(found)

    def origin(self, tensor: int) -> int:
        """The tensor that bridges only carried to here."""
        seen = set()
        while tensor not in seen:
            seen.add(tensor)
            k = self.graph.producer.get(tensor)
            if k is None or self.graph.code(self.graph.ops[k]) not in BRIDGES:
                return tensor
            tensor = int(self.graph.ops[k].inputs[0])
        return tensor

    @cached_property
    def readers(self) -> dict[int, list[int]]:
        """tensor -> computing ops that read it, directly or behind bridges."""
        table: dict[int, list[int]] = {}
        for k, op in enumerate(self.graph.ops):
            if self.graph.code(op) not in BRIDGES:
                for t in {self.origin(int(t)) for t in _list(op.inputs) if t >= 0}:
                    table.setdefault(t, []).append(k)
        return table

    @cached_property
    def leaving(self) -> frozenset[int]:
        """Tensors that the subgraph gives back, bridges looked through."""
        return frozenset(self.origin(t) for t in self.graph.outputs)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Inputs first, then computing ops in execution order."""
        return tuple(self._nodes())

    @cached_property
    def maker(self) -> dict[int, int]:
        """tensor -> position in `nodes` of the node that writes it, at whatever stage."""
        table = {}
        for k, node in enumerate(self.nodes):
            table.update({s.tensor: k for s in node.stages if s.tensor is not None})
            table.update(dict.fromkeys(node.outputs, k))
        return table

    @cached_property
    def by_op(self) -> dict[int, int]:
        """op -> position in `nodes` of the node that it is part of."""
        return {s.op: k for k, n in enumerate(self.nodes) for s in n.stages if s.op is not None}

    def _nodes(self) -> Iterator[Node]:
        for t in self.graph.inputs:
            yield Node(INPUT, None, (Stage(INPUT, t, None),), (t,), (), self.graph.shape(t))
        taken: set[int] = set()
        for k, op in enumerate(self.graph.ops):
            outputs = [int(t) for t in _list(op.outputs) if t >= 0]
            real = [t for t in outputs if is_real(self.graph, t) and t not in self.static]
            if k in taken or self.graph.code(op) in BRIDGES or not real:
                continue
            stages = [*self._expanded(k, op)]
            if len(outputs) == 1:
                for follower in self._followers(outputs[0]):
                    taken.add(follower)
                    stages += self._expanded(follower, self.graph.ops[follower])
            final = next(s.tensor for s in reversed(stages) if s.tensor is not None)
            yield Node(
                self._canonical(op),
                k,
                tuple(stages),
                tuple(outputs),
                self._data(op),
                self.graph.shape(final),
            )

    def _expanded(self, k: int, op: Any) -> list[Stage]:
        """The op, and the activation that is fused into it as a stage of its own."""
        code, out = self._canonical(op), int(op.outputs[0])
        fused = ACTIVATIONS.get(getattr(op.builtinOptions, "fusedActivationFunction", 0) or 0, "")
        if fused in CLAMPS:
            return [Stage(code, None, k), Stage(fused, out, k)]
        return [Stage(code, out, k)]

    def _data(self, op: Any) -> tuple[int, ...]:
        read = [self.origin(int(t)) for t in _list(op.inputs) if t >= 0]
        return tuple(t for t in read if t not in self.static)

    def _followers(self, tensor: int) -> Iterator[int]:
        """Ops that do nothing but scale, shift or clamp what the node made, one after another."""
        while tensor not in self.leaving and len(found := self.readers.get(tensor, [])) == 1:
            op = self.graph.ops[found[0]]
            code = self._canonical(op)
            alone = len(self._data(op)) == 1
            if not (code in CLAMPS or (code in FOLDABLE and alone)) or len(_list(op.outputs)) != 1:
                return
            if not is_real(self.graph, int(op.outputs[0])):
                return
            if self.graph.shape(int(op.outputs[0])) != self.graph.shape(tensor):
                return
            yield found[0]
            tensor = int(op.outputs[0])

    def _canonical(self, op: Any) -> str:
        code = self.graph.code(op)
        if code == "MUL" and self._minus_one(op):
            return "NEG"
        if code == "DEPTHWISE_CONV_2D" and self.graph.shape(int(op.inputs[0]))[-1:] == (1,):
            return "CONV_2D"  # what some converters make of a convolution of one channel
        return ALIKE.get(code, code)

    def _minus_one(self, op: Any) -> bool:
        """MUL by -1: what stands for NEG, which has no integer kernel."""
        values = [constant_real(self.graph, int(t)) for t in op.inputs if t in self.static]
        return any(v is not None and v.size > 0 and bool(np.all(v == -1)) for v in values)

    def weight(self, node: Node) -> int | None:
        """The tensor index of the node's weight; None without a constant one."""
        fact = self._fact(node)
        return None if fact is None else self._operand(node, fact.weight)

    def weight_rows(self, node: Node) -> np.ndarray | None:
        """The node's weight as float32[C, rest], output channels first; None without one."""
        tensor = self.weight(node)
        values = None if tensor is None else constant_real(self.graph, tensor)
        fact = self._fact(node)
        if values is None or not values.size or fact is None or fact.axis >= values.ndim:
            return None
        channels = values.shape[fact.axis]
        return np.asarray(np.moveaxis(values, fact.axis, 0).reshape(channels, -1))

    def bias(self, node: Node) -> int | None:
        """The tensor index of the node's bias; None without one."""
        fact = self._fact(node)
        return None if fact is None else self._operand(node, fact.bias)

    def _fact(self, node: Node) -> WeightFact | None:
        """Where the node's core keeps its weight; None where it has none."""
        code = "" if node.op is None else self.graph.code(self.graph.ops[node.op])
        return WEIGHTS.get(code)

    def _operand(self, node: Node, position: int | None) -> int | None:
        if node.op is None or position is None:
            return None
        inputs = self.graph.ops[node.op].inputs
        tensor = int(inputs[position]) if position < len(inputs) else -1
        return tensor if tensor in self.static else None


def _list(values: Any) -> Any:
    return () if values is None else values
