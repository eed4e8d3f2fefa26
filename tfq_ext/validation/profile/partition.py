"""Which ops a delegate took, and the runs of ops that follow from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tfq_ext.tflite.read import Graph


@dataclass(frozen=True)
class Partition:
    """Ops that run as one: a delegate's, or those between two of them.

    Args:
        first, last: smallest and largest op index.
        ops: op indices in execution order.
        where: "XNNPACK" or "builtin".
    """

    first: int
    last: int
    ops: tuple[int, ...]
    where: str

    @classmethod
    def of(cls, ops: Sequence[int], where: str) -> Partition:
        """From op indices."""
        return cls(min(ops), max(ops), tuple(ops), where)


def taken(graph: Graph, delegates: Sequence[tuple[Sequence[int], Sequence[int]]]) -> set[int]:
    """Op indices inside delegate nodes, each given as (input tensors, output tensors).

    A node has all that its ops read, constants too, so everything between its outputs and its
    inputs is inside.
    """
    inside: set[int] = set()
    for inputs, outputs in delegates:
        waiting, seen = [int(t) for t in outputs], {int(t) for t in inputs}
        while waiting:
            op = graph.producer.get(waiting.pop())
            if op is None or op in inside:
                continue
            inside.add(op)
            waiting += [int(t) for t in reads(graph.ops[op]) if int(t) not in seen]
    return inside


def reads(op: Any) -> list[int]:
    """Tensors that an op reads, absent optional ones left out."""
    return [int(t) for t in (op.inputs if op.inputs is not None else ()) if t >= 0]


def runs(graph: Graph, inside: Set[int], skip: Set[int] = frozenset()) -> list[tuple[bool, list]]:
    """(in the delegate?, op indices) in execution order.

    As LiteRT splits a graph: go through the ops in order, take what is ready and of the kind of
    the first one that was ready; repeat with the rest.

    Args:
        inside: ops that the delegate takes.
        skip: ops that do not run at all (folded when the file was loaded).

    Source: PartitionGraphIntoIndependentNodeSubsets, tflite/graph_info.cc.
    """
    made = {int(t) for k, op in enumerate(graph.ops) if k not in skip for t in op.outputs}
    left = [k for k in range(len(graph.ops)) if k not in skip]
    subsets: list[tuple[bool, list]] = []
    while left:
        kind: bool | None = None
        chosen: list[int] = []
        for k in left:
            if any(t in made for t in reads(graph.ops[k])):
                continue
            kind = k in inside if kind is None else kind
            if (k in inside) == kind:
                chosen.append(k)
                made -= {int(t) for t in graph.ops[k].outputs}
        if not chosen or kind is None:  # a cycle: no valid graph
            break
        subsets.append((kind, chosen))
        left = [k for k in left if k not in set(chosen)]
    return subsets


def partitions(
    graph: Graph, inside: Set[int], skip: Set[int] = frozenset()
) -> tuple[Partition, ...]:
    """The runs as Partitions."""
    return tuple(
        Partition.of(ops, "XNNPACK" if kind else "builtin")
        for kind, ops in runs(graph, inside, skip)
    )


def walk(parts: Sequence[Partition]) -> Iterator[int]:
    """Op indices in execution order."""
    for part in parts:
        yield from part.ops
