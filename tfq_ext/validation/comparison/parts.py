"""Where the own noise of the worst ops comes from, taken apart on a few samples.

    input grid    the reference's op, fed with values rounded to the candidate's input grids
    weights       the reference's op with the candidate's weights, fed with exact values
    bias          the same with its bias
    output grid   the reference's output, rounded to the candidate's grid; clipping: its part
                  from values beyond the ends
    mean shift    what the means of the channels are off

Parts are shares of the own noise. They overlap and interact, so they need not sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.tflite.bits import pack
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import allocate_tensors, open_interpreter
from tfq_ext.tflite.slice import can_cut, cut
from tfq_ext.validation.comparison.labels import printable
from tfq_ext.validation.comparison.nodes import Node, View
from tfq_ext.validation.comparison.tensors import constant_real, grid_of
from tfq_ext.validation.comparison.values import (
    BIAS,
    CLIPPING,
    INPUT_GRID,
    OUTPUT_GRID,
    SHIFT,
    WEIGHTS,
    LayerRow,
    Part,
)
from tfq_ext.validation.comparison.weights import same_layers

if TYPE_CHECKING:
    from tfq_ext.validation.comparison.session import Session

FINE_DB = 45.0  # what is better than this is not taken apart
MOST_ROWS = 24
Read = Callable[[int], np.ndarray]


class Parts:
    """Takes rows of a session apart."""

    def __init__(self, session: Session):
        self._session = session
        self._matches = session.live()  # in the order of the rows; names may repeat
        self._labels: dict[str, str] = {}

    def explained(
        self, rows: Sequence[LayerRow], samples: Sequence[Mapping[str, np.ndarray]]
    ) -> list[LayerRow]:
        """The rows, the worst of them with parts."""
        chosen = [
            (k, row)
            for k, row in enumerate(rows)
            if row.own_sqnr_db is not None and row.own_sqnr_db < FINE_DB
        ]
        worst = sorted(chosen, key=lambda pair: pair[1].own_sqnr_db or 0.0)[:MOST_ROWS]
        trials = {k: _Trials(self._session, self._matches[k]) for k, _ in worst}
        for inputs in samples:
            read = self._session.reference_values(inputs)
            for trial in trials.values():
                trial.add(read)
        done = list(rows)
        self._labels = {row.tensor: row.label for row in rows}
        for k, row in worst:
            done[k] = replace(row, parts=self._parts(row, trials[k]))
        return done

    def _parts(self, row: LayerRow, trials: _Trials) -> tuple[Part, ...]:
        match = trials.match
        all_ = self._session.sums[match.candidate]
        own = self._session.own_sums.get(match.candidate, all_)  # an input has no errors before it
        if not own.noise > 0:
            return ()
        found = [Part(OUTPUT_GRID, all_.grid_noise / own.noise)]
        found.append(Part(CLIPPING, all_.clip_noise / own.noise))
        if own.shift() is not None:
            found.append(Part(SHIFT, own.shift().share))  # type: ignore[union-attr]
        noise, signal = own.noise, own.signal
        if match.candidate in self._session.own_sums:  # of the few samples that the trials saw
            noise, signal = self._session.own_kept(match.candidate)
        relative = noise / signal if noise > 0 and signal > 0 else np.inf
        found += [
            Part(n, p / relative, where, self._labels.get(where, printable(where)))
            for n, p, where in trials.powers()
        ]
        return tuple(sorted((p for p in found if p.share > 0.005), key=lambda p: -p.share))


class _Trials:
    """The reference's op with one thing of the candidate's put in at a time."""

    def __init__(self, session: Session, match: Any):
        self.match = match
        scene = session.scene
        self._mine, self._other = scene.reference, scene.candidate
        self._feeds, self._signal = session.feeds, 0.0
        self._noise: dict[tuple[str, str], float] = {}
        self._plain: _Chain | None = None
        self._changed: dict[str, _Chain] = {}
        c = match.node
        if c is None:
            return
        node, twin = self._other.nodes[c], self._mine.nodes[scene.matcher.pairs[c]]
        ops = _ops_until(twin, match.reference)
        if not ops or not all(can_cut(self._mine.graph, k) for k in ops):
            return
        self._rounded = self._grids(node)
        self._plain = _Chain(self._mine.graph, ops, match.reference, {})
        for name, place in ((WEIGHTS, View.weight), (BIAS, View.bias)):
            changed = self._constant(place, twin, node)
            if changed:
                self._changed[name] = _Chain(self._mine.graph, ops, match.reference, changed)

    def _grids(self, node: Node) -> dict[int, tuple[Any, str]]:
        """Reference tensor -> grid on which the candidate's op reads it, and the name there."""
        found: dict[int, tuple[Any, str]] = {}
        op = self._other.graph.ops[node.op] if node.op is not None else None
        for t in () if op is None else op.inputs:
            source = self._feeds.source(int(t)) if t >= 0 and t not in self._other.static else None
            grid = None if source is None else grid_of(self._other.graph, int(t))
            if source is not None and grid is not None and grid.known:
                found[source] = grid, self._other.graph.name(self._other.origin(int(t)))
        return found

    def _constant(
        self, place: Callable[[View, Node], int | None], twin: Node, node: Node
    ) -> dict[int, np.ndarray]:
        """Reference constant -> what the candidate has in its place; empty where it has none."""
        mine, other = place(self._mine, twin), place(self._other, node)
        constant = mine is not None and self._mine.graph.is_constant(mine)
        if mine is None or other is None or not constant or not same_layers(twin, node):
            return {}
        values = constant_real(self._other.graph, other)
        if values is None or values.shape != tuple(self._mine.graph.shape(mine)):
            return {}
        return {mine: values}

    def add(self, read: Read) -> None:
        """One sample of the reference's values."""
        if self._plain is None:
            return
        target = np.asarray(read(self.match.reference), np.float64)
        self._signal += float(np.square(target).sum())
        try:
            exact = self._plain.run(read)
            for source, (grid, name) in self._rounded.items():
                rounded = grid.decode(grid.encode(read(source), np.dtype(np.int32)))
                if not grid.stored:
                    rounded = _simulate(grid, read(source))
                self._count(INPUT_GRID, name, self._plain.run(read, {source: rounded}) - exact)
            for name, chain in self._changed.items():
                self._count(name, "", chain.run(read) - exact)
        except (ModelError, RuntimeError, ValueError):
            self._plain = None  # then this op has no such parts

    def _count(self, name: str, where: str, error: np.ndarray) -> None:
        power = float(np.square(error).sum())
        self._noise[name, where] = self._noise.get((name, where), 0.0) + power

    def powers(self) -> list[tuple[str, float, str]]:
        """(part, noise over signal, tensor)."""
        if self._signal <= 0:
            return []
        return [(n, power / self._signal, where) for (n, where), power in self._noise.items()]


def _simulate(grid: Any, x: np.ndarray) -> np.ndarray:
    codes = np.clip(np.rint(x / grid.scale) + grid.zero_point, grid.qmin, grid.qmax)
    return np.asarray((codes - grid.zero_point) * grid.scale, np.float32)


def _ops_until(node: Node, tensor: int) -> list[int]:
    """Ops of the node up to the one that writes a tensor."""
    ops: list[int] = []
    for stage in node.stages:
        if stage.op is not None and stage.op not in ops:
            ops.append(stage.op)
        if stage.tensor == tensor:
            return ops
    return ops[:1]


class _Chain:
    """A few ops of the reference on an interpreter of their own.

    Args:
        graph, ops: which.
        result: the tensor to read.
        changed: constant -> values in its place, float32 of the same shape.
    """

    def __init__(
        self, graph: Graph, ops: list[int], result: int, changed: Mapping[int, np.ndarray]
    ):
        made = dict.fromkeys(int(t) for k in ops for t in graph.ops[k].outputs)
        read = dict.fromkeys(int(t) for k in ops for t in graph.ops[k].inputs if t >= 0)
        self._feeds = [t for t in read if t not in made and not graph.is_constant(t)]
        part = cut(graph, ops)
        order = {t: k for k, t in enumerate(dict.fromkeys([*read, *made]))}  # as cut() has them
        for tensor, values in changed.items():
            _replace(part, order[tensor], values)
        wanted, places = order.get(result), list(part.graphs[0].outputs)
        if wanted not in places:
            raise ModelError(f"{graph.name(result)!r} cannot be cut out.")
        self._interpreter = open_interpreter(part.to_bytes(), threads=1, allocate=False)
        self._inputs = [d["index"] for d in self._interpreter.get_input_details()]
        self._output = self._interpreter.get_output_details()[places.index(wanted)]["index"]
        self._shapes: list[tuple[int, ...]] = []

    def run(self, read: Read, instead: Mapping[int, np.ndarray] | None = None) -> np.ndarray:
        """The result as float64, for the reference's values or others in place of some."""
        values = [(instead or {}).get(t) for t in self._feeds]
        fed = [read(t) if v is None else v for t, v in zip(self._feeds, values, strict=True)]
        shapes = [np.shape(x) for x in fed]
        if shapes != self._shapes:
            for place, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(place, shape)
            allocate_tensors(self._interpreter)
            self._shapes = shapes
        for place, x in zip(self._inputs, fed, strict=True):
            self._interpreter.set_tensor(place, np.asarray(x))
        self._interpreter.invoke()
        return np.asarray(self._interpreter.get_tensor(self._output), np.float64)


def _replace(model: Model, place: int, values: np.ndarray) -> None:
    tensor = model.graphs[0].tensors[place]
    buffer = type(model.tree.buffers[0])()
    buffer.data = pack(np.asarray(values, np.float32), "float32")
    model.tree.buffers.append(buffer)
    tensor.buffer = len(model.tree.buffers) - 1
