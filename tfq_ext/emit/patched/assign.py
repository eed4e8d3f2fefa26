"""One grid for every (tensor, integer type): groups that share one, prescribed ones, ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import reduce
from operator import or_

import numpy as np

from tfq_ext.emit.patched.kernels import KERNELS, fixed_grid
from tfq_ext.emit.patched.treat import Treatment, operands, results
from tfq_ext.emit.plan import Plan
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.facts import SAME_GRID
from tfq_ext.tflite.grids import data_inputs, derived_from
from tfq_ext.tflite.read import Graph

Node = tuple[int, str]  # (tensor, "int8" or "int16")
SPECS: Mapping[str, QSpec] = {"int8": INT8_ACTIVATION, "int16": INT16_ACTIVATION}


def shared_groups(graph: Graph, treatment: Treatment) -> list[set[Node]]:
    """Tensors that must lie on one grid, by union-find over the ops that only move codes.

    A tensor that is read in both integer types belongs to two groups. Constants are members,
    except where they are clipped (masks, clamps, padding values).
    """
    parent: dict[Node, Node] = {}

    def find(node: Node) -> Node:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for k, dtype in treatment.dtype.items():
        for tensor in operands(graph, graph.ops[k]):
            find((tensor, dtype))
        bound = _bound(graph, k)
        for tensor in bound[1:]:
            parent[find((tensor, dtype))] = find((bound[0], dtype))
    groups: dict[Node, set[Node]] = {}
    for node in parent:
        groups.setdefault(find(node), set()).add(node)
    return list(groups.values())


def _bound(graph: Graph, k: int) -> list[int]:
    """Operands of op `k` that its kernel wants on one grid."""
    op, code = graph.ops[k], graph.code(graph.ops[k])
    if code not in SAME_GRID:
        return []
    inputs = data_inputs(graph, op)
    if KERNELS[code].clips:
        inputs = [t for t in inputs if not graph.is_constant(t)]
    return inputs + results(graph, op)


def pinned(graph: Graph, treatment: Treatment, plan: Plan) -> dict[int, tuple[str, QParams]]:
    """tensor -> (type, grid) that its producer writes whatever its readers would like.

    Prescribed outputs (softmax, ...), and rows gathered from a table of chosen codes.
    """
    pins = {}
    for k, dtype in treatment.dtype.items():
        op, code = graph.ops[k], graph.code(graph.ops[k])
        grid = fixed_grid(code, dtype)
        if grid is not None:
            pins[int(op.outputs[0])] = (dtype, grid)
        elif code == "GATHER" and graph.name(op.inputs[0]) in plan.weights:
            codes = plan.weights[graph.name(op.inputs[0])]
            if codes.params.spec.axis is None:
                pins[int(op.outputs[0])] = ("int8", codes.params)
    return pins


def assign(
    graph: Graph,
    treatment: Treatment,
    plan: Plan,
    specs: Mapping[str, QSpec] = SPECS,
    *,
    prescribed: bool = True,
) -> tuple[dict[Node, QParams], Treatment]:
    """Grids for every node, and the treatment without the ops that lack a range.

    Leaving an op float may split a group, so this repeats until no op is lost. With
    `prescribed=False` (simulation) kernels prescribe nothing: ranges decide everywhere.
    """
    ranges = known_ranges(graph, treatment, plan)
    while True:
        pins = pinned(graph, treatment, plan) if prescribed else {}
        grids: dict[Node, QParams] = {}
        for group in shared_groups(graph, treatment):
            grid = _group_grid(group, pins, ranges, specs)
            if grid is not None:
                grids |= dict.fromkeys(group, grid)
        missing = dict(_without_range(graph, treatment, grids))
        if not missing:
            return grids, treatment
        treatment = treatment.without(graph, missing)


def _without_range(
    graph: Graph, treatment: Treatment, grids: Mapping[Node, QParams]
) -> Iterator[tuple[int, str]]:
    for k, dtype in treatment.dtype.items():
        for tensor in operands(graph, graph.ops[k]):
            if (tensor, dtype) in grids:
                continue
            if not graph.is_constant(tensor):
                yield k, f"no range for tensor {graph.name(tensor)}"
                break
            if not KERNELS[graph.code(graph.ops[k])].clips:
                yield k, f"its constant {graph.name(tensor)} is not finite"
                break


def _group_grid(
    group: set[Node],
    pins: Mapping[int, tuple[str, QParams]],
    ranges: Mapping[int, Range],
    specs: Mapping[str, QSpec],
) -> QParams | None:
    """The prescribed grid if the others fit into it, else that of the union of all ranges."""
    dtype = next(iter(group))[1]
    prescribed = [pins[t][1] for t, _ in group if t in pins and pins[t][0] == dtype]
    free = [ranges[t] for t, _ in group if t in ranges and t not in pins]
    if prescribed and all(_fits(r, prescribed[0]) for r in free) and _alike(prescribed):
        return prescribed[0]
    pinned_ranges = [ranges.get(t) or pins[t][1].range for t, _ in group if t in pins]
    everything = free + pinned_ranges
    if not everything:
        return None
    return QParams.from_range(specs[dtype], reduce(or_, everything))


def _fits(r: Range, grid: QParams) -> bool:
    slack = float(grid.scale)  # one code: softmax reaches 1.0, its grid 255/256
    return r.min >= grid.range.min - slack and r.max <= grid.range.max + slack


def _alike(grids: list[QParams]) -> bool:
    first = grids[0]
    return all(g.scale == first.scale and g.zero_point == first.zero_point for g in grids)


def known_ranges(graph: Graph, treatment: Treatment, plan: Plan) -> dict[int, Range]:
    """The plan's ranges; else that of the tensor whose values are repeated, or of a constant."""
    origins = derived_from(graph)
    tensors = {t for k in treatment.dtype for t in operands(graph, graph.ops[k])}
    found = {}
    for tensor in tensors:
        origin = origins.get(tensor, tensor)
        chosen = plan.ranges.get(graph.name(tensor), plan.ranges.get(graph.name(origin)))
        values = graph.constant(origin) if chosen is None else None
        if values is not None and values.size and np.isfinite(values).all():
            chosen = Range.of(float(values.min()), float(values.max()))
        if chosen is not None:
            found[tensor] = chosen
    return found
