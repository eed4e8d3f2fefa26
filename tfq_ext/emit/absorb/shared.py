"""Ops whose inputs and outputs have one grid: trained grids that differ there are requantized."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from tfq_ext.emit.absorb.grids import range_of, same
from tfq_ext.emit.absorb.pairs import Found
from tfq_ext.spec import QParams, QSpec
from tfq_ext.tflite import patch
from tfq_ext.tflite.facts import FIXED_OUTPUT, SAME_GRID
from tfq_ext.tflite.grids import data_inputs, shared_grids
from tfq_ext.tflite.read import Graph


def settle_shared(found: Found) -> None:
    """Copies at the borders of shared grids, then one grid for every member, in place.

    An op with one data input (pooling, RESHAPE) computes on its input's grid and is requantized
    behind; an op that joins several (CONCATENATION) has them requantized in front, onto its
    output's grid or the union of theirs. So the converter does with the same pairs.
    """
    graph = found.graph
    for op in list(graph.ops):
        code = graph.code(op)
        outputs = [int(t) for t in op.outputs if graph.dtype(int(t)) == "float32"]
        if code not in SAME_GRID or not outputs:
            continue
        inputs = [t for t in dict.fromkeys(data_inputs(graph, op)) if not graph.is_constant(t)]
        if len(inputs) == 1 and len(data_inputs(graph, op)) == 1:
            _behind(found, op, inputs[0], outputs)
        else:
            _in_front(found, op, inputs, outputs)
    _spread(found)
    _prescribed(found)


def _behind(found: Found, op: Any, source: int, outputs: list[int]) -> None:
    graph, grid = found.graph, found.grids.get(source)
    for out in outputs:
        trained = found.grids.get(out)
        if grid is None:
            continue
        if trained is None or same(trained, grid):
            found.grids[out] = grid
            continue
        raw = patch.like(graph, out, "/before")
        op.outputs = [raw if int(t) == out else int(t) for t in op.outputs]
        found.grids[raw] = grid
        found.copy(_place(graph, op) + 1, raw, out, trained)
        found.say(out, f"{graph.code(op)} keeps its input's grid: requantized behind it")


def _in_front(found: Found, op: Any, inputs: list[int], outputs: list[int]) -> None:
    graph = found.graph
    known = [found.grids[t] for t in inputs if t in found.grids]
    wanted = next((found.grids[t] for t in outputs if t in found.grids), None)
    wanted = wanted or _union(known)
    if wanted is None:
        return
    for source in inputs:
        if source in found.grids and not same(found.grids[source], wanted):
            copy = patch.like(graph, source, "/requantized")
            found.copy(_place(graph, op), source, copy, wanted)
            patch.replace_input(op, source, copy)
            graph.changed()
            found.say(source, f"requantized for {graph.code(op)}, whose operands share one grid")
    for out in outputs:
        found.grids.setdefault(out, wanted)


def _union(grids: list[QParams]) -> QParams | None:
    if not grids:
        return None
    if all(same(g, grids[0]) for g in grids):
        return grids[0]
    spec = QSpec(max(g.spec.bits for g in grids), symmetric=False)
    return QParams.from_range(spec, reduce(or_, (range_of(g) for g in grids)))


def _place(graph: Graph, op: Any) -> int:
    return next(k for k, o in enumerate(graph.ops) if o is op)


def _spread(found: Found) -> None:
    """Every member of a shared grid gets it; two that are left get their union, and a note."""
    graph = found.graph
    for group in shared_grids(graph):
        grids = [found.grids[t] for t in group.tensors if t in found.grids]
        shared = _union(grids)
        if shared is None:
            continue
        if not all(same(g, shared) for g in grids):
            found.say(group.tensors[0], "trained grids differ where one is needed: their union")
        found.grids |= dict.fromkeys(group.tensors, shared)


def _prescribed(found: Found) -> None:
    """SOFTMAX and its like of a trained tensor: the specification's output grid."""
    graph = found.graph
    for op in graph.ops:
        code = graph.code(op)
        if code not in FIXED_OUTPUT or int(op.inputs[0]) not in found.grids:
            continue
        fixed = FIXED_OUTPUT[code]
        wide = found.grids[int(op.inputs[0])].spec.bits == 16
        grid = (
            QParams(QSpec(16), fixed.scale16)
            if wide
            else QParams(QSpec(8, symmetric=False), fixed.scale8, fixed.zero8)
        )
        found.grids.setdefault(int(op.outputs[0]), grid)
