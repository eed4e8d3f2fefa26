"""Which tensor of a candidate stands for which of the reference.

    by name       names that both graphs have, numbers that converters append taken off
    by output     what both graphs give back, in order
    by neighbours unmatched nodes that read from, or are read by, matched ones
    by position   the rest, as two sequences of op codes, shapes and weights

Nodes are matched; then the tensors inside a pair of nodes, as one file may fuse what the other
keeps apart. Tensors of different shapes never match.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfq_ext.tflite.read import Graph
from tfq_ext.validation.comparison.align import align
from tfq_ext.validation.comparison.nodes import CLAMPS, INPUT, Node, View
from tfq_ext.validation.comparison.tensors import grid_of

BY_NAME, BY_OUTPUT, BY_EDGE, BY_PLACE, BY_INPUT = (
    "name",
    "output",
    "neighbours",
    "position",
    "input",
)
ALIKE = 0.5  # cosine of weights from which on they may be the same ones
SAMPLE = 4096  # weights that are looked at
# What quantizers put behind a name: our own "/int8", a number, a port.
_SUFFIX = re.compile(r"(/(int8|int16|float32))?([#_]\d+)?(:\d+)?$")


@dataclass(frozen=True)
class Match:
    """Two tensors that should hold the same values.

    Args:
        reference, candidate: tensor indices, each in its own graph.
        by: how it was found.
        node: position of the candidate's node; None for a bridge or an output as such.
    """

    reference: int
    candidate: int
    by: str
    node: int | None = None


class Matcher:
    """Pairs the nodes of two views.

    Args:
        reference, candidate: the graphs.
        inputs: (reference tensor, candidate tensor) of inputs that are fed the same.
        outputs: the same of outputs.
    """

    def __init__(
        self,
        reference: View,
        candidate: View,
        inputs: Iterable[tuple[int, int]],
        outputs: Iterable[tuple[int, int]],
    ):
        self.reference, self.candidate = reference, candidate
        self.pairs: dict[int, int] = {}  # candidate node -> reference node
        self.by: dict[int, str] = {}
        self._taken: set[int] = set()
        for mine, other in inputs:
            self._take(reference.maker[mine], candidate.maker[other], BY_INPUT)
        self._names(least=1.0)
        self._outputs(outputs)
        self._edges()
        self._places()
        self._edges()
        self._drop_contradictions()
        self._names(least=0.0)  # of weights that have little left in common

    def _take(self, r: int, c: int, by: str) -> bool:
        if c in self.pairs or r in self._taken:
            return False
        self.pairs[c], self.by[c] = r, by
        self._taken.add(r)
        return True

    def fits(self, r: int, c: int) -> float:
        """How well two nodes fit: 0 not at all, else 1, or 1 to 2 with weights that agree."""
        a, b = self.reference.nodes[r], self.candidate.nodes[c]
        if a.code != b.code or a.code == INPUT or not fit_shapes(a.shape, b.shape):
            return 0.0
        mine, other = self._weights[0].get(r), self._weights[1].get(c)
        if mine is None or other is None:
            return 1.0
        if mine[0] != other[0]:
            return 0.0
        cosine = float(mine[1] @ other[1])
        return 1.0 + cosine if cosine >= ALIKE else 0.1

    @cached_property
    def _weights(self) -> tuple[dict[int, tuple], dict[int, tuple]]:
        return _fingerprints(self.reference), _fingerprints(self.candidate)

    def _names(self, least: float) -> None:
        for loose in (False, True):
            mine, other = (_names(v, loose) for v in (self.reference, self.candidate))
            for name, c in other.items():
                r = mine.get(name)
                fit = 0.0 if c is None or r is None else self.fits(r, c)
                if c is not None and r is not None and fit > 0 and fit >= least:
                    self._take(r, c, BY_NAME)

    def _outputs(self, outputs: Iterable[tuple[int, int]]) -> None:
        for mine, other in outputs:
            r = self.reference.maker.get(self.reference.origin(mine))
            c = self.candidate.maker.get(self.candidate.origin(other))
            if r is not None and c is not None and self.fits(r, c) >= 1:
                self._take(r, c, BY_OUTPUT)

    def _edges(self) -> None:
        """Walk from matched nodes, backwards and forwards, as long as something is found."""
        waiting = list(self.pairs)
        while waiting:
            c = waiting.pop()
            r = self.pairs[c]
            for side in (_makers, _readers):
                mine, other = side(self.reference, r), side(self.candidate, c)
                for b in other:
                    if b in self.pairs:
                        continue
                    fitting = [a for a in mine if a not in self._taken and self.fits(a, b) >= 1]
                    rivals = [x for x in other if x not in self.pairs and fitting]
                    alone = len(fitting) == 1 and sum(self._same(b, x) for x in rivals) == 1
                    if fitting and (alone or self._told_apart(fitting[0], b)):
                        best = max(fitting, key=lambda a, b=b: self.fits(a, b))  # type: ignore[misc]
                        if self._take(best, b, BY_EDGE):
                            waiting.append(b)

    def _same(self, b: int, x: int) -> bool:
        a, other = self.candidate.nodes[b], self.candidate.nodes[x]
        return a.code == other.code and a.shape == other.shape

    def _told_apart(self, r: int, c: int) -> bool:
        """Whether weights say which of several nodes is meant."""
        return r in self._weights[0] and c in self._weights[1]

    def _places(self) -> None:
        first = [k for k, n in enumerate(self.reference.nodes) if self._open(k, n, self._taken)]
        second = [k for k, n in enumerate(self.candidate.nodes) if self._open(k, n, self.pairs)]
        tokens = tuple(
            [(view.nodes[k].code, view.nodes[k].shape) for k in chosen]
            for view, chosen in ((self.reference, first), (self.candidate, second))
        )
        for r, c in align(first, second, self.fits, tokens):
            self._take(r, c, BY_PLACE)

    @staticmethod
    def _open(position: int, node: Node, taken: Container[int]) -> bool:
        return node.code != INPUT and position not in taken

    def _drop_contradictions(self) -> None:
        """Undo pairs by position whose inputs are matched, and all to something else."""
        for c in [c for c, by in self.by.items() if by in (BY_PLACE, BY_EDGE)]:
            r = self.pairs[c]
            sources = {self.pairs.get(k) for k in _makers(self.candidate, c)}
            others = set(_makers(self.reference, r))
            weighty = self._told_apart(r, c) and self.fits(r, c) > 1
            if sources and None not in sources and not sources & others and not weighty:
                del self.pairs[c], self.by[c]
                self._taken.discard(r)


def _makers(view: View, position: int) -> list[int]:
    found = (view.maker.get(t) for t in view.nodes[position].inputs)
    return list(dict.fromkeys(k for k in found if k is not None))


def _readers(view: View, position: int) -> list[int]:
    node = view.nodes[position]
    outputs = node.outputs if len(node.outputs) > 1 else (node.final,)
    found = (view.by_op.get(k) for t in outputs for k in view.readers.get(t, ()))
    return list(dict.fromkeys(k for k in found if k is not None))


def fit_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Equal, where -1 fits anything."""
    return len(a) == len(b) and all(m == n or -1 in (m, n) for m, n in zip(a, b, strict=True))


def _names(view: View, loose: bool) -> dict[str, int | None]:
    """Tensor name -> position of its node; None where several nodes have it.

    Names of bridged copies count for the tensor that they copy.
    """
    table: dict[str, int | None] = {}
    for t in range(len(view.graph.tensors)):
        k = view.maker.get(view.origin(t))
        name = view.graph.name(t)
        if k is None or not name:
            continue
        name = _SUFFIX.sub("", name) if loose else name
        table[name] = k if table.get(name, k) == k else None
    return table


def _fingerprints(view: View) -> dict[int, tuple]:
    """node -> (shape of its weight, some of its values at unit length)."""
    found = {}
    for k, node in enumerate(view.nodes):
        values = view.weight_rows(node)
        if values is not None:
            flat = values.reshape(-1)[:: max(1, values.size // SAMPLE)].astype(np.float64)
            length = float(np.linalg.norm(flat))
            found[k] = (values.shape, flat / length if length > 0 else flat)
    return found


def tensor_pairs(matcher: Matcher) -> Iterator[Match]:
    """The tensors inside every pair of nodes."""
    for c, r in sorted(matcher.pairs.items()):
        mine, other = matcher.reference.nodes[r], matcher.candidate.nodes[c]
        by = matcher.by[c]
        if len(mine.outputs) > 1 or len(other.outputs) > 1:
            pairs = list(zip(mine.outputs, other.outputs, strict=False))
        else:
            pairs = _stages(mine, other, matcher.candidate.graph)
        graphs = matcher.reference.graph, matcher.candidate.graph
        for a, b in pairs:
            if fit_shapes(graphs[0].shape(a), graphs[1].shape(b)):
                yield Match(a, b, by, c)


def _stages(mine: Node, other: Node, graph: Graph) -> list[tuple[int, int]]:
    """Tensors of two nodes that mean the same; a fused stage has none."""
    equal = [s.code for s in mine.linear] == [s.code for s in other.linear]
    found = []
    if equal:
        steps = zip(mine.linear[:-1], other.linear[:-1], strict=True)
        found = [(a.tensor, b.tensor) for a, b in steps]
    elif mine.code not in _WITH_WEIGHTS:  # what is folded into a layer is folded into its weights
        return []
    before = mine.linear[-1].tensor, other.linear[-1].tensor
    if bool(mine.activation) == bool(other.activation):
        found += [before] if mine.activation and equal else []
        found.append((mine.final, other.final))
    elif mine.activation and _clamped(mine.activation, graph, other.final):
        found.append((mine.final, other.final))
    elif equal:
        found.append(before)
    return [(a, b) for a, b in found if a is not None and b is not None]


_WITH_WEIGHTS = frozenset(
    {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D"}
)


def _clamped(activation: str, graph: Graph, tensor: int) -> bool:
    """Whether a grid does what the activation would have done."""
    grid = grid_of(graph, tensor)
    if grid is None or not grid.known:
        return False
    lo, hi = CLAMPS[activation]
    return grid.lo >= lo - grid.scale / 2 and grid.hi <= hi + grid.scale / 2
