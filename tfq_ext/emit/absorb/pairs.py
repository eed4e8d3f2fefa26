"""QUANTIZE -> DEQUANTIZE of an activation: taken out, its grid noted on the tensor before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tfq_ext.emit.absorb.grids import BITS, grid_of, range_of, same
from tfq_ext.emit.absorb.requantize import requantize
from tfq_ext.emit.result import Note
from tfq_ext.spec import QParams
from tfq_ext.tflite.read import Graph


@dataclass
class Found:
    """What one subgraph's pairs say.

    Args:
        grids: float tensor -> its grid.
        ones: names of the constants 1 that copies multiply by.
        notes: where the file cannot do what was trained.
    """

    graph: Graph
    grids: dict[int, QParams] = field(default_factory=dict)
    ones: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def copy(self, position: int, source: int, target: int, grid: QParams) -> None:
        """`target` becomes `source` on another grid."""
        self.ones.append(requantize(self.graph, position, source, target))
        self.grids[target] = grid

    def say(self, tensor: int, reason: str) -> None:
        """A note on one tensor."""
        self.notes.append(Note("trained grid", self.graph.name(tensor), reason))


@dataclass(frozen=True)
class _Pair:
    source: int
    grid: QParams
    quantize: Any
    dequantize: tuple[Any, ...]

    @property
    def targets(self) -> list[int]:
        return [int(op.outputs[0]) for op in self.dequantize]


def take_pairs(graph: Graph) -> Found:
    """Remove the pairs, in place: who read the DEQUANTIZE reads the tensor before QUANTIZE.

    One tensor has one grid in an integer file. A second grid on it, be it of another reader or of
    a pair behind a pair, gets a copy of the tensor (requantized); of several readers' grids the
    widest stays on the tensor itself, so that nothing is clipped before the others see it.
    """
    found = Found(graph)
    pairs = list(_pairs(graph))
    main = _widest(pairs)
    alias: dict[int, int] = {}
    taken = {id(op) for pair in pairs for op in (pair.quantize, *pair.dequantize)}
    for pair in pairs:
        source = alias.get(pair.source, pair.source)
        wanted = found.grids.setdefault(source, main.get(pair.source, pair.grid))
        first, *rest = sorted(pair.targets, key=lambda t: t not in graph.outputs)
        if same(wanted, pair.grid) and _may_merge(graph, source, first, alias):
            alias[first] = source
        else:
            _copy(found, pair, source, first)
        for other in rest:
            _merge_or_copy(found, pair, alias.get(first, first), other, alias)
    graph.tree.operators = [op for op in graph.ops if id(op) not in taken]
    _rewire(found, alias)
    return found


def _pairs(graph: Graph) -> Iterator[_Pair]:
    for op in graph.ops:
        if graph.code(op) != "QUANTIZE":
            continue
        source, stored = int(op.inputs[0]), int(op.outputs[0])
        readers = [graph.ops[k] for k in graph.consumers.get(stored, ())]
        if (
            graph.dtype(source) == "float32"
            and graph.dtype(stored) in BITS
            and stored not in graph.outputs
            and readers
            and all(graph.code(r) == "DEQUANTIZE" for r in readers)
        ):
            yield _Pair(source, grid_of(graph, stored), op, tuple(readers))


def _widest(pairs: list[_Pair]) -> dict[int, QParams]:
    """tensor -> the widest of the grids that stand directly on it."""
    main: dict[int, QParams] = {}
    for pair in pairs:
        known = main.setdefault(pair.source, pair.grid)
        if range_of(pair.grid).width > range_of(known).width:
            main[pair.source] = pair.grid
    return main


def _may_merge(graph: Graph, source: int, target: int, alias: dict[int, int]) -> bool:
    """An output keeps its name: it replaces the tensor before the pair, if that one can go."""
    if target not in graph.outputs:
        return True
    busy = {alias[t] for t in graph.outputs if t in alias}
    return not (
        source in graph.inputs
        or source in graph.outputs
        or source in busy
        or graph.is_constant(source)
    )


def _merge_or_copy(
    found: Found, pair: _Pair, source: int, target: int, alias: dict[int, int]
) -> None:
    if _may_merge(found.graph, source, target, alias):
        alias[target] = source
    else:
        _copy(found, pair, source, target)


def _copy(found: Found, pair: _Pair, source: int, target: int) -> None:
    graph = found.graph
    position = next(k for k, op in enumerate(graph.ops) if op is pair.quantize)
    found.copy(position, source, target, pair.grid)
    if not same(found.grids.get(source), pair.grid):
        found.say(target, "a second grid on one tensor: requantized, rounded twice")


def _rewire(found: Found, alias: dict[int, int]) -> None:
    """Let the readers of merged tensors read their sources; outputs keep their own tensor."""
    graph = found.graph
    renamed = {s: t for t, s in alias.items() if t in graph.outputs}
    final = {t: renamed.get(s, s) for t, s in alias.items()} | renamed
    for op in graph.ops:
        op.inputs = [final.get(int(t), int(t)) for t in op.inputs]
        op.outputs = [renamed.get(int(t), int(t)) for t in op.outputs]
    found.grids = {renamed.get(t, t): grid for t, grid in found.grids.items()}
    graph.changed()
