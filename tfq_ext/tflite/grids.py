"""Which tensors must share one grid, and which tensors need statistics of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfq_ext.tflite.facts import ALL, DERIVED, FIXED_OUTPUT, SAME_GRID
from tfq_ext.tflite.read import Graph


@dataclass(frozen=True)
class Grid:
    """Tensors of one subgraph that share scale and zero point.

    Args:
        tensors: indices, ascending.
        sources: those whose statistics make the shared range (the rest are derived).
        joined: indices of the ops that force tensors with statistics of their own together.
    """

    tensors: tuple[int, ...]
    sources: tuple[int, ...]
    joined: tuple[int, ...] = ()


def data_inputs(graph: Graph, op: Any) -> list[int]:
    """The inputs that share the grid of the op's output (constants included)."""
    positions = SAME_GRID.get(graph.code(op), ())
    inputs = [int(i) for i in op.inputs]
    chosen = inputs if positions == ALL else [inputs[p] for p in positions if p < len(inputs)]
    return [i for i in chosen if i >= 0 and graph.dtype(i) == "float32"]


def float_activations(graph: Graph) -> list[int]:
    """Indices of the float32 tensors that are computed or fed, in execution order."""
    seen: dict[int, None] = dict.fromkeys(graph.inputs)
    for op in graph.ops:
        seen.update({int(i): None for i in op.outputs if i >= 0})
    return [i for i in seen if graph.dtype(i) == "float32" and not graph.is_constant(i)]


def derived_from(graph: Graph) -> dict[int, int]:
    """tensor -> the tensor whose values it repeats (PAD, RESHAPE, ...), resolved to the origin.

    PAD adds zeros, which every range contains anyway.
    """
    origin: dict[int, int] = {}
    for op in graph.ops:
        if graph.code(op) not in DERIVED:
            continue
        inputs = data_inputs(graph, op)
        if len(inputs) == 1 and not graph.is_constant(inputs[0]):
            for out in op.outputs:
                if graph.dtype(out) == "float32":
                    origin[int(out)] = origin.get(inputs[0], inputs[0])
    return origin


def observed(graph: Graph) -> list[int]:
    """The tensors that an observation run must look at.

    Results that nobody reads are not among them: LiteRT gives those no memory.
    """
    origin = derived_from(graph)
    return [i for i in float_activations(graph) if i not in origin and not _unread(graph, i)]


def _unread(graph: Graph, tensor: int) -> bool:
    made = tensor in graph.producer
    return made and tensor not in graph.consumers and tensor not in graph.outputs


def shared_grids(graph: Graph) -> list[Grid]:
    """Partition of the float activations into grids, in order of first appearance.

    Outputs with prescribed grids (softmax, ...) stay alone: the converter requantizes there.
    """
    fixed = {int(o) for op in graph.ops if graph.code(op) in FIXED_OUTPUT for o in op.outputs}
    parent = {i: i for i in float_activations(graph)}

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    joins: list[tuple[int, int]] = []
    for k, members in _ties(graph):
        free = [i for i in members if i in parent and i not in fixed]
        for other in free[1:]:
            parent[find(other)] = find(free[0])
        if free:
            joins.append((k, free[0]))
    origin = derived_from(graph)
    groups: dict[int, list[int]] = {}
    for i in parent:
        groups.setdefault(find(i), []).append(i)
    return [
        Grid(
            tuple(sorted(members)),
            tuple(i for i in members if i not in origin) or (members[0],),
            tuple(k for k, i in joins if find(i) == root and _binds(graph, k)),
        )
        for root, members in groups.items()
    ]


def _ties(graph: Graph) -> Iterator[tuple[int, list[int]]]:
    for k, op in enumerate(graph.ops):
        if graph.code(op) in SAME_GRID:
            outputs = [int(o) for o in op.outputs if graph.dtype(o) == "float32"]
            yield k, [*data_inputs(graph, op), *outputs]


def _binds(graph: Graph, k: int) -> bool:
    return graph.code(graph.ops[k]) not in DERIVED
