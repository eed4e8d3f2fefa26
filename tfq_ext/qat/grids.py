"""Where the integer graph rounds: which tensors of a flow get a quantizer, and who shares one.

The rules are the integer kernels' own: one rounding after the fused activation, none between a
layer and its BatchNormalization or ReLU, none after what only moves values, one range for all
inputs of a concatenation and its output.

Source: Krishnamoorthi 1806.08342, section 3.1; the TFLite 8-bit specification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tfq_ext.qat.kinds import Kind, channel_axes, is_fused_activation, kind_of
from tfq_ext.rewrite.graph import Flow, Node, Ref


@dataclass(frozen=True)
class Group:
    """Tensors that share one grid.

    Args:
        name: of the quantizer, after the layer that makes the first of them.
        sources: tensors whose values are rounded onto it and decide its range; slot k is the kth.
        fixed: the prescribed interval, or None.
        maker: the call that writes the first source; None for a model input.
    """

    name: str
    sources: tuple[Ref, ...]
    fixed: tuple[float, float] | None = None
    maker: Node | None = None


@dataclass(frozen=True)
class Placement:
    """What happens to the tensors of a flow.

    Args:
        groups: all of them.
        at: tensor -> (group, slot) of the quantizer behind it; slot None rounds without observing.
        into: (reading node, tensor) -> the same, on the way into that node only.
        folds: BatchNormalization node -> the node of the layer that it folds into.
    """

    groups: tuple[Group, ...]
    at: Mapping[Ref, tuple[Group, int | None]]
    into: Mapping[tuple[Node, Ref], tuple[Group, int | None]]
    folds: Mapping[Node, Node]


@dataclass
class _Draft:
    """Union-find over tensors, with what is known of each set."""

    flow: Flow
    parent: dict[Ref, Ref] = field(default_factory=dict)

    def find(self, ref: Ref) -> Ref:
        self.parent.setdefault(ref, ref)
        while self.parent[ref] != ref:
            self.parent[ref] = self.parent[self.parent[ref]]
            ref = self.parent[ref]
        return ref

    def join(self, a: Ref, b: Ref) -> None:
        self.parent[self.find(b)] = self.find(a)


def place(flow: Flow, folds: Mapping[Node, Node]) -> Placement:
    """Decide the grids of a decomposed flow.

    Args:
        flow: calls of layers and operations that are one integer op each.
        folds: from `foldable`.
    """
    hidden = _hidden(flow, folds)
    draft, fixed = _Draft(flow), _fixed(flow)
    edges: list[tuple[Node, Ref]] = []
    for node in flow.nodes:
        kind = kind_of(node.operation)
        if kind.grid in ("same", "rounded") and _floats(node.inputs):
            for result in _floats(node.results):
                draft.join(_floats(node.inputs)[0], result)
        elif kind.grid == "joined":
            edges += _join(draft, node, fixed)
    return _settle(draft, hidden, fixed, edges, folds)


def _join(draft: _Draft, node: Node, fixed: Mapping[Ref, Kind]) -> list[tuple[Node, Ref]]:
    """One grid for a concatenation; inputs with a prescribed one are rounded again on the way."""
    inputs, outputs = _floats(node.inputs), _floats(node.results)
    for ref in inputs:
        if ref not in fixed:
            draft.join(outputs[0], ref)
    return [(node, ref) for ref in dict.fromkeys(inputs) if ref in fixed]


def _settle(
    draft: _Draft,
    hidden: frozenset[Ref],
    fixed: Mapping[Ref, Kind],
    edges: list[tuple[Node, Ref]],
    folds: Mapping[Node, Node],
) -> Placement:
    flow = draft.flow
    again: list[Ref] = []
    sources: dict[Ref, list[Ref]] = {}
    tensors = [*_floats(flow.heads), *(r for n in flow.nodes for r in _floats(n.results))]
    for ref in tensors:
        maker = flow.producer.get(ref)
        grid = kind_of(maker.operation).grid if maker is not None else "own"
        if ref in hidden or grid == "same":
            continue
        if grid in ("rounded", "joined"):
            again.append(ref)
        else:
            sources.setdefault(draft.find(ref), []).append(ref)
    on_way: dict[Ref, list[tuple[Node, Ref]]] = {}
    for node, ref in edges:
        on_way.setdefault(draft.find(_floats(node.results)[0]), []).append((node, ref))
    groups: list[Group] = []
    at: dict[Ref, tuple[Group, int | None]] = {}
    into: dict[tuple[Node, Ref], tuple[Group, int | None]] = {}
    for root in dict.fromkeys([*sources, *on_way]):
        own, ways = sources.get(root, []), on_way.get(root, [])
        group = _group(flow, own, [ref for _, ref in ways], fixed, folds)
        groups.append(group)
        at.update({ref: (group, k) for k, ref in enumerate(own)})
        into.update({way: (group, len(own) + k) for k, way in enumerate(ways)})
        at.update({ref: (group, None) for ref in again if draft.find(ref) == root})
    return Placement(tuple(groups), at, into, folds)


def _group(
    flow: Flow,
    own: list[Ref],
    edges: list[Ref],
    fixed: Mapping[Ref, Kind],
    folds: Mapping[Node, Node],
) -> Group:
    first = (own or edges)[0]
    maker = flow.producer.get(first)
    maker = folds.get(maker, maker) if maker is not None else None
    interval = None
    if own and first in fixed and len(own) == 1 and not edges:
        kind = fixed[first]
        interval = (kind.low[0], kind.top)
    name = maker.operation.name if maker is not None else first.name
    return Group(f"{name}_range", (*own, *edges), interval, maker)


def foldable(flow: Flow) -> dict[Node, Node]:
    """BatchNormalization calls that fold into the layer before them.

    The layer must have no activation of its own, and every call of it must be read by a call of
    that same BatchNormalization and by nothing else, and the reverse.
    """
    folds: dict[Node, Node] = {}
    for node in flow.nodes:
        if node.kind != "BatchNormalization" or len(node.inputs) != 1:
            continue
        before = flow.producer.get(node.inputs[0])
        if before is not None and _fit(flow, before, node):
            folds[node] = before
    return folds


def _fit(flow: Flow, before: Node, norm: Node) -> bool:
    layer, kind = before.operation, kind_of(before.operation)
    activation = getattr(layer, "activation", None)
    plain = activation is None or getattr(activation, "__name__", "") == "linear"
    if (
        _several_axes(layer)
        or "kernel" not in kind.weights
        or not plain
        or norm.operation.axis not in (-1, _rank(norm))
    ):
        return False
    readers = [flow.only_reader(call.output) for call in flow.calls_of(layer)]
    makers = [flow.producer.get(call.inputs[0]) for call in flow.calls_of(norm.operation)]
    return all(r is not None and r.operation is norm.operation for r in readers) and all(
        m is not None and m.operation is layer for m in makers
    )


def _several_axes(layer: object) -> bool:
    """Whether output channels are counted along two axes, of which a norm knows the last only."""
    return type(layer).__name__ == "EinsumDense" and len(channel_axes(layer, "kernel")) != 1


def _rank(norm: Node) -> int:
    return len(norm.output.shape) - 1


def _hidden(flow: Flow, folds: Mapping[Node, Node]) -> frozenset[Ref]:
    """Results that no integer graph holds: before a folded BatchNormalization or a fused ReLU."""
    hidden = {node.output for node in folds.values()} | _indices(flow)
    for node in flow.nodes:
        if is_fused_activation(node.operation) and (maker := flow.producer.get(node.inputs[0])):
            kind = kind_of(maker.operation)
            fuses = kind.fuses or maker in folds or maker.kind == "BatchNormalization"
            has_own = getattr(maker.operation, "activation", None)
            plain = has_own is None or getattr(has_own, "__name__", "") == "linear"
            if kind.op == "TRANSPOSE_CONV" and not maker.operation.use_bias and maker not in folds:
                continue  # the converter fuses a ReLU into the bias's ADD only (TF 2.21)
            if fuses and plain and flow.only_reader(maker.output) is node:
                hidden.add(maker.output)
    return frozenset(hidden)


def _indices(flow: Flow) -> set[Ref]:
    """Tensors that are looked up in a table: rounding them to 256 values would pick other rows."""
    found: set[Ref] = set()
    for node in reversed(flow.nodes):
        moves = kind_of(node.operation).grid == "same" and not found.isdisjoint(node.results)
        if node.kind == "Embedding" or moves:
            found.update(node.inputs)
    return found


def _fixed(flow: Flow) -> dict[Ref, Kind]:
    """Tensors with a prescribed grid, and copies of them that only moved."""
    found: dict[Ref, Kind] = {}
    for node in flow.nodes:
        kind = kind_of(node.operation)
        if kind.grid == "fixed":
            found[node.output] = kind
        elif kind.grid == "same" and node.inputs and node.inputs[0] in found:
            found.update(dict.fromkeys(node.results, found[node.inputs[0]]))
    return found


def _floats(refs: tuple[Ref, ...] | list[Ref]) -> list[Ref]:
    return [ref for ref in refs if "float" in ref.dtype]
