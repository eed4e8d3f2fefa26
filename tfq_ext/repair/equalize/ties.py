"""Which channels of which tensors must share one factor, and which must keep factor 1."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.numerics.factors import components
from tfq_ext.tflite.read import Graph


class Unfit(Exception):
    """Channels that do not pair up, or a layer that cannot be scaled; its words say why."""


@dataclass(frozen=True, eq=False)
class Ties:
    """What is known of one subgraph's channels; a channel is an index of a tensor's last axis.

    Args:
        graph: the subgraph.
        widths: channels of each tensor; 1 for constants, and where the last axis is open or absent.
        first: id of each tensor's first channel.
        edges: pairs of id arrays; a[k] and b[k] share a factor.
        pins: (ids, why): their factor is 1.
        offsets: (op, input position) of constants that are added to channels, and scale with them.
        products: ops that multiply or divide two computed tensors, not yet judged.
    """

    graph: Graph
    widths: list[int]
    first: np.ndarray
    edges: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    pins: list[tuple[np.ndarray, str]] = field(default_factory=list)
    offsets: list[tuple[Any, int]] = field(default_factory=list)
    products: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph) -> Ties:
        """Nothing tied yet."""
        every = range(len(graph.tensors))
        live = [() if graph.is_constant(t) else graph.shape(t) for t in every]
        widths = [max((shape or (1,))[-1], 1) for shape in live]
        return cls(graph, widths, np.cumsum([0, *widths]))

    def ids(self, tensor: int) -> np.ndarray:
        """The channels of a tensor, int64[C]."""
        return np.arange(self.first[tensor], self.first[tensor + 1])

    def known(self, tensor: int) -> bool:
        """Whether the tensor has a last axis of fixed length."""
        shape = self.graph.shape(tensor)
        return bool(shape) and shape[-1] > 0

    def is_live(self, tensor: int) -> bool:
        """Whether it is a float activation."""
        return self.graph.dtype(tensor) == "float32" and not self.graph.is_constant(tensor)

    def live(self) -> list[int]:
        """The float activations that ops write, and the inputs."""
        made = {int(t) for op in self.graph.ops for t in op.outputs}
        return [t for t in sorted(made | set(self.graph.inputs)) if t >= 0 and self.is_live(t)]

    def tie(self, a: np.ndarray, b: np.ndarray) -> None:
        """a[k] and b[k] share a factor."""
        if len(a) != len(b):
            raise Unfit("its channels are mixed or of unknown number")
        self.edges.append((a, b))

    def repeat(self, wide: int, narrow: int) -> bool:
        """Tie channel k of one tensor to channel k mod C of the other; False if C does not fit.

        That is what a change of shape does: the flat positions stay.
        """
        if not (self.known(wide) and self.known(narrow)):
            return False
        if self.widths[wide] < self.widths[narrow]:
            wide, narrow = narrow, wide
        if self.widths[wide] % self.widths[narrow]:
            return False
        self.tie(self.ids(wide), np.resize(self.ids(narrow), self.widths[wide]))
        return True

    def pin(self, tensor: int, why: str) -> None:
        """All channels of a tensor keep factor 1."""
        self.pins.append((self.ids(tensor), why))

    def pin_all(self, op: Any, why: str) -> None:
        """All float tensors that an op reads and writes keep factor 1."""
        for t in (*op.inputs, *op.outputs):
            if t >= 0 and self.is_live(int(t)):
                self.pin(int(t), why)

    def settle(self) -> Settled:
        """The variables and nodes that follow."""
        count = int(self.first[-1])
        variables = components(count, self.edges)
        along = [(ids[:-1], ids[1:]) for ids in map(self.ids, range(len(self.widths)))]
        tensors = components(count, [*self.edges, *along])
        nodes = np.zeros(variables.max(initial=-1) + 1, np.int64)
        nodes[variables] = tensors
        reasons: dict[int, str] = {}
        for ids, why in self.pins:
            for variable in np.unique(variables[ids]).tolist():
                reasons.setdefault(variable, why)
        return Settled(self, variables, nodes, reasons)


@dataclass(frozen=True, eq=False)
class Settled:
    """The outcome of all ties.

    Args:
        ties: of what.
        variables: int64[ids], the variable of each channel.
        nodes: int64[V], the node of each variable: tensors tied to each other in any channel.
        reasons: variable -> why its factor is 1.
    """

    ties: Ties
    variables: np.ndarray
    nodes: np.ndarray
    reasons: dict[int, str]

    def of(self, tensor: int) -> np.ndarray:
        """The variable of each channel of a tensor, int64[C]."""
        first = self.ties.first
        return self.variables[first[tensor] : first[tensor + 1]]

    def why(self, variables: np.ndarray) -> str:
        """Why all these variables keep factor 1; "" when some are free."""
        found = [self.reasons.get(v, "") for v in variables.tolist()]
        return found[0] if found and all(found) else ""
