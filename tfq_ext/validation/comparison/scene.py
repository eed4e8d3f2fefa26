"""Two models made ready: signatures and ports paired, tensors matched, what is left out named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from tfq_ext.errors import DataError, ModelError, TfqError
from tfq_ext.samples import InputSpec
from tfq_ext.tflite.read import Graph, Model, text
from tfq_ext.validation.comparison.labels import printable
from tfq_ext.validation.comparison.match import Match, Matcher, fit_shapes, tensor_pairs
from tfq_ext.validation.comparison.nodes import BRIDGES, INPUT, Node, View
from tfq_ext.validation.comparison.tensors import grid_of, is_real
from tfq_ext.validation.comparison.values import CANDIDATE, REFERENCE, Unmatched
from tfq_ext.validation.comparison.weights import rescaled

BY_BRIDGE, AS_OUTPUT = "bridge", "output"


@contextmanager
def fitting_parts() -> Iterator[None]:
    """Damaged files, whose indices lead nowhere, are a sentence.

    Raises:
        ModelError: parts of a model do not fit together.
    """
    try:
        yield
    except TfqError:
        raise
    except (IndexError, KeyError, TypeError, AttributeError, OverflowError, ValueError) as error:
        raise ModelError(
            "One of the two models is damaged: its parts do not fit together "
            f"({type(error).__name__}: {error}). Copy or export it again."
        ) from error


@dataclass(frozen=True)
class Port:
    """An input or output that both models have.

    Args:
        name: the reference's, as samples have it.
        other: the candidate's name.
        reference, candidate: tensor indices.
    """

    name: str
    other: str
    reference: int
    candidate: int


class Scene:
    """Both models and what stands for what.

    Args:
        reference, candidate: parsed.
        signature: the one to run; None: the reference's first.

    Raises:
        ModelError: no such signature, or inputs or outputs that cannot be paired.
        DataError: the inputs have different shapes.
    """

    def __init__(self, reference: Model, candidate: Model, signature: str | None = None):
        self.models = reference, candidate
        self.keys = _signatures(reference, candidate, signature)
        graphs = [m.graph_of(k) for m, k in zip(self.models, self.keys, strict=True)]
        self.reference, self.candidate = (View(g) for g in graphs)
        self.inputs = tuple(self._ports("inputs"))
        self.outputs = tuple(self._ports("outputs"))
        for port in self.inputs:
            self._same_shape(port)

    def _ports(self, side: str) -> Iterator[Port]:
        mine, other = (
            _named(m, k, v.graph, side)
            for m, k, v in zip(self.models, self.keys, self.views, strict=True)
        )
        if set(mine) == set(other):
            pairs = [(name, name) for name in mine]
        elif len(mine) == len(other):
            pairs = _by_shape(mine, other, self.views)
        elif side == "outputs" and set(mine) & set(other):
            pairs = [(name, name) for name in mine if name in other]
        else:
            raise ModelError(
                f"The reference has {len(mine)} {side} ({', '.join(mine)}), the candidate "
                f"{len(other)} ({', '.join(other)}): they cannot be paired. Give the float model "
                "that the candidate was made from."
            )
        for a, b in pairs:
            yield Port(a, b, mine[a], other[b])

    @property
    def views(self) -> tuple[View, View]:
        """(reference, candidate)."""
        return self.reference, self.candidate

    def _same_shape(self, port: Port) -> None:
        a = self.reference.graph.shape(port.reference)
        b = self.candidate.graph.shape(port.candidate)
        dtypes = (
            self.reference.graph.dtype(port.reference),
            self.candidate.graph.dtype(port.candidate),
        )
        if "string" in dtypes:
            raise ModelError(
                f"Input {port.name!r} takes text; models of numbers only are compared layer by "
                "layer. Cut the text ops off, or compare the outputs with a metric of your own."
            )
        if not fit_shapes(a, b):
            raise DataError(
                f"Input {port.name!r} has shape {a} in the reference and {b} in the candidate; "
                "both must take the same samples. Convert them with the same input shape."
            )

    def input_specs(self) -> list[InputSpec]:
        """What samples must look like to fit both."""
        specs = []
        for port in self.inputs:
            graph = self.reference.graph
            pairs = zip(
                graph.shape(port.reference),
                self.candidate.graph.shape(port.candidate),
                strict=True,
            )
            shape = tuple(max(m, n) for m, n in pairs)
            dtype = graph.dtype(port.reference)
            quantized = dtype != "float32" and is_real(graph, port.reference)
            specs.append(InputSpec(port.name, shape, "float32" if quantized else dtype))
        return specs

    @cached_property
    def matcher(self) -> Matcher:
        """Nodes of both, paired."""
        return Matcher(
            self.reference,
            self.candidate,
            [(p.reference, p.candidate) for p in self.inputs],
            [(p.reference, p.candidate) for p in self.outputs],
        )

    def settled_outputs(self) -> tuple[Port, ...]:
        """The outputs, those of other names paired as their nodes are: converters reorder them."""
        mine = {self._made(0, p.reference): p for p in self.outputs}
        other = {self.matcher.pairs.get(self._made(1, p.candidate)): p for p in self.outputs}
        if all(p.name == p.other for p in self.outputs) or set(mine) != set(other):
            return self.outputs
        if -1 in mine or len(mine) < len(self.outputs):
            return self.outputs
        pairs = [(mine[r], other[r]) for r in mine]
        return tuple(Port(a.name, b.other, a.reference, b.candidate) for a, b in pairs)

    def _made(self, side: int, tensor: int) -> int:
        """Position of the node behind a tensor; -1 where there is none."""
        view = self.views[side]
        return view.maker.get(view.origin(tensor), -1)

    @cached_property
    def scaled(self) -> frozenset[int]:
        """Candidate nodes whose channels hold the reference's times other factors."""
        return frozenset(
            c
            for c, r in self.matcher.pairs.items()
            if rescaled(
                self.reference,
                self.reference.nodes[r],
                self.candidate,
                self.candidate.nodes[c],
            )
        )

    @cached_property
    def matches(self) -> tuple[Match, ...]:
        """Tensors, in the candidate's order; bridges that round behind what they round."""
        found = {
            m.candidate: m
            for m in tensor_pairs(self.matcher)
            if m.node not in self.scaled and self._comparable(m.reference, m.candidate)
        }
        mine = {t: m.reference for t, m in found.items()}
        for op in self.candidate.graph.ops:
            out = int(op.outputs[0])
            source = self.candidate.origin(out)
            if self._rounds(op) and source in mine and self._comparable(mine[source], out):
                found[out] = Match(mine[source], out, BY_BRIDGE)
        order = {t: k for k, op in enumerate(self.candidate.graph.ops) for t in op.outputs}
        return tuple(sorted(found.values(), key=lambda m: order.get(m.candidate, -1)))

    def _rounds(self, op: object) -> bool:
        return self.candidate.graph.code(op) in ("QUANTIZE", "FAKE_QUANT")

    def _comparable(self, mine: int, other: int) -> bool:
        a, b = self.reference.graph, self.candidate.graph
        known = grid_of(a, mine) is not None and grid_of(b, other) is not None
        return known and fit_shapes(a.shape(mine), b.shape(other))

    def unmatched(self) -> tuple[Unmatched, ...]:
        """Tensors of either graph that no row will have, and why."""
        return (*self._left_candidate(), *self._left_reference(), *self._bodies())

    def _left_candidate(self) -> Iterator[Unmatched]:
        graph, known = self.candidate.graph, {m.candidate for m in self.matches}
        for c, node in enumerate(self.candidate.nodes):
            if any(t in known for t in (*node.outputs, node.final)):
                continue
            yield Unmatched(graph.name(node.final), _code(node, graph), CANDIDATE, self._why(c))

    def _why(self, c: int) -> str:
        node, graph = self.candidate.nodes[c], self.candidate.graph
        if c in self.scaled:
            return (
                "its weights are the reference's times another factor in each channel "
                "(equalization, or a normalisation folded in), so its values are on another scale"
            )
        if c in self.matcher.pairs:
            if grid_of(graph, node.final) is None:
                return f"{graph.dtype(node.final)} without one usable scale"
            return "its activation, or what is folded into it, differs from the reference's"
        alike = [n for n in self.reference.nodes if n.code == node.code]
        if not alike:
            return f"the reference has no {node.code}"
        if not any(fit_shapes(n.shape, node.shape) for n in alike):
            return f"no {node.code} of the reference has shape {list(node.shape)}"
        return f"no {node.code} of the reference stands at its place"

    def _left_reference(self) -> Iterator[Unmatched]:
        graph, known = self.reference.graph, {m.reference for m in self.matches}
        partner = {r: c for c, r in self.matcher.pairs.items()}
        for r, node in enumerate(self.reference.nodes):
            tensors = [s.tensor for s in node.stages if s.tensor is not None]
            tensors += [t for t in node.outputs if t not in tensors]
            for t in tensors:
                if t in known or node.code == INPUT:
                    continue
                why = f"the candidate has no {node.code} at its place"
                if r in partner:
                    made = self.candidate.nodes[partner[r]]
                    name = printable(self.candidate.graph.name(made.final))
                    why = f"inside {name!r} of the candidate"
                yield Unmatched(graph.name(t), _code(node, graph), REFERENCE, why)

    def _bodies(self) -> Iterator[Unmatched]:
        for graph in self.models[1].graphs:
            if not graph.is_entry:
                name = text(graph.tree.name) or f"subgraph {graph.index}"
                yield Unmatched(name, "", CANDIDATE, "body of a loop or branch: runs inside its op")


def _code(node: Node, graph: Graph) -> str:
    return INPUT if node.op is None else graph.code(graph.ops[node.op])


def _signatures(
    reference: Model, candidate: Model, wanted: str | None
) -> tuple[str | None, str | None]:
    """Keys in (reference, candidate); None for a file without signatures."""
    mine, other = list(reference.signatures), list(candidate.signatures)
    if wanted is not None and wanted not in mine and wanted not in other:
        known = ", ".join(dict.fromkeys([*mine, *other])) or "none"
        raise ModelError(f"Neither model has a signature {wanted!r}. Known: {known}.")
    key = wanted if wanted in mine else (mine[0] if mine else None)
    if key in other or not other:
        return key, key if key in other else None
    if wanted in other:
        return key, wanted
    if len(other) > 1 and len(mine) > 1:
        raise ModelError(
            f"The candidate has no signature {key!r}; it has {', '.join(other)}, the reference "
            f"{', '.join(mine)}. Both need one of the same name."
        )
    return key, other[0]


def _named(model: Model, key: str | None, graph: Graph, side: str) -> dict[str, int]:
    """Name -> tensor index: the signature's names, or the tensors' own without one."""
    if key in model.signatures:
        entries = getattr(model.signatures[str(key)], side) or ()
        return {text(entry.name): int(entry.tensorIndex) for entry in entries}
    return {graph.name(t): t for t in getattr(graph, side)}


def _by_shape(
    mine: dict[str, int], other: dict[str, int], views: tuple[View, View]
) -> list[tuple[str, str]]:
    """Pair in order where shapes fit, else by shape; what is left in order."""
    a, b = (view.graph for view in views)
    in_order = list(zip(mine, other, strict=True))
    if all(fit_shapes(a.shape(mine[m]), b.shape(other[n])) for m, n in in_order):
        return in_order
    left, pairs = list(other), []
    for m in mine:
        fitting = [n for n in left if fit_shapes(a.shape(mine[m]), b.shape(other[n]))]
        if fitting:
            pairs.append((m, fitting[0]))
            left.remove(fitting[0])
    rest = [m for m in mine if m not in {p for p, _ in pairs}]
    return pairs + list(zip(rest, left, strict=True))


__all__ = ["AS_OUTPUT", "BRIDGES", "BY_BRIDGE", "Port", "Scene"]
