"""What can be chosen apart: ops with the grids that they touch, and the widths they can have."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.emit.patched.treat import op_name, operands, results
from tfq_ext.repair.ranges import RangeChoice
from tfq_ext.tflite.facts import DERIVED, WEIGHTS
from tfq_ext.tflite.grids import data_inputs
from tfq_ext.tflite.read import Graph, Model

INT4_WITH_INT16 = frozenset({"CONV_2D", "FULLY_CONNECTED"})  # LiteRT 2.3


@dataclass(frozen=True)
class Width:
    """Bits of one unit.

    Args:
        weights: 4 or 8; 0 for an op without weights, and for a float one.
        activations: 8, 16, or 0 for float.
    """

    weights: int
    activations: int

    @property
    def name(self) -> str:
        """ "w8", "w4", "a16", "w4a16", "float"; without weights "a8", "a16", "float"."""
        return _NAMES[self.weights, self.activations]


_NAMES = {
    (8, 8): "w8",
    (4, 8): "w4",
    (8, 16): "a16",
    (4, 16): "w4a16",
    (0, 8): "a8",
    (0, 16): "a16",
    (0, 0): "float",
}
FLOAT = Width(0, 0)


@dataclass(frozen=True)
class Unit:
    """One op (with those that only move its values), or several that share a weight.

    Args:
        name: of the first op's output tensor.
        op: its code.
        ops: names of all its ops, by output tensor.
        weight: name of the weight constant, "" without.
        bias: name of the bias constant, "" without.
        elements, channels: of the weight: values, output channels.
        grids: indices of the grids that its ops read or write.
        made: of those, the ones that it writes.
        widths: what it can have; the first is the usual 8 bits.
    """

    name: str
    op: str
    ops: tuple[str, ...]
    weight: str
    bias: str
    elements: int
    channels: int
    grids: frozenset[int]
    made: frozenset[int]
    widths: tuple[Width, ...]

    @property
    def base(self) -> Width:
        """8 bits throughout."""
        return self.widths[0]

    def width(self, name: str) -> Width | None:
        """The width of that name, if it has it."""
        return next((w for w in self.widths if w.name == name), None)


def find_units(
    pivot: Model,
    ranges: Sequence[RangeChoice],
    stayed: Container[str],
    codes: Mapping[int, Container[str]],
) -> list[Unit]:
    """Every op that is an integer op in the 8-bit file, in execution order.

    Args:
        pivot: float model.
        ranges: its grids.
        stayed: names of the ops that are float in the 8-bit file.
        codes: bits -> weight constants that have integers of that width.
    """
    grid_of = {name: k for k, row in enumerate(ranges) for name in row.tensors}
    found: dict[str, Unit] = {}
    by_weight: dict[str, str] = {}
    owner: dict[str, str] = {}  # op -> unit
    for graph in (g for g in pivot.graphs if g.is_entry):
        for op, leader in _walk(graph, stayed):
            unit = _unit(graph, op, grid_of, codes)
            into = owner.get(leader) or by_weight.get(unit.weight) or unit.name
            owner[unit.name] = into
            found[into] = _joined(found[into], unit) if into in found else unit
            if unit.weight:
                by_weight.setdefault(unit.weight, into)
    return list(found.values())


def _walk(graph: Graph, stayed: Container[str]) -> Iterator[tuple[Any, str]]:
    """(op, name of the op whose values it repeats, or "")."""
    for op in graph.ops:
        name = op_name(graph, op)
        if not results(graph, op) or graph.code(op) not in KERNELS or name in stayed:
            continue
        leader = ""
        if graph.code(op) in DERIVED:
            sources = [graph.producer.get(t) for t in data_inputs(graph, op)]
            if len(sources) == 1 and sources[0] is not None:
                leader = op_name(graph, graph.ops[sources[0]])
        yield op, leader


def _unit(
    graph: Graph, op: Any, grid_of: Mapping[str, int], codes: Mapping[int, Container[str]]
) -> Unit:
    code, name = graph.code(op), op_name(graph, op)
    fact = WEIGHTS.get(code)
    weight, bias, elements, channels = "", "", 0, 0
    if fact is not None and graph.is_constant(int(op.inputs[fact.weight])):
        tensor = int(op.inputs[fact.weight])
        values = graph.constant(tensor)
        assert values is not None
        weight, elements, channels = graph.name(tensor), values.size, values.shape[fact.axis]
        if fact.bias is not None and len(op.inputs) > fact.bias and op.inputs[fact.bias] >= 0:
            bias = graph.name(int(op.inputs[fact.bias]))
    touched = {grid_of[n] for n in map(graph.name, operands(graph, op)) if n in grid_of}
    made = {grid_of[n] for n in map(graph.name, results(graph, op)) if n in grid_of}
    grids = (frozenset(touched), frozenset(made))
    widths = tuple(_widths(code, weight, codes))
    return Unit(name, code, (name,), weight, bias, elements, channels, *grids, widths)


def _widths(code: str, weight: str, codes: Mapping[int, Container[str]]) -> Iterator[Width]:
    has4 = bool(weight) and weight in codes.get(4, ())
    has16 = KERNELS[code].int16 is not None
    yield Width(8 if weight else 0, 8)
    if has4:
        yield Width(4, 8)
    if has16:
        yield Width(8 if weight else 0, 16)
    if has4 and has16 and code in INT4_WITH_INT16:
        yield Width(4, 16)
    yield FLOAT


def _joined(first: Unit, other: Unit) -> Unit:
    """Both as one choice: what either lacks, neither has."""
    pairs = {w.activations for w in other.widths}
    kept = tuple(
        w
        for w in first.widths
        if w in other.widths or (not other.weight and w.activations in pairs)
    )
    return replace(
        first,
        ops=(*first.ops, *other.ops),
        grids=first.grids | other.grids,
        made=first.made | other.made,
        widths=kept,
    )
