"""One file with all that is known about its time: what the checks of `explain` look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property

import numpy as np

from tfq_ext.tflite.arithmetic import BRIDGES, INTEGER, arithmetic
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.latency.machine import Machine
from tfq_ext.validation.latency.reasons import RULES
from tfq_ext.validation.latency.rows import BenchRow
from tfq_ext.validation.profile import BUILTIN, FOLDED, OpTime, Profile


@dataclass(frozen=True)
class Side:
    """A file's graph, times and ops."""

    name: str
    graph: Graph
    row: BenchRow
    profile: Profile | None

    @cached_property
    def ops(self) -> tuple[OpTime, ...]:
        """Ops that run, by the profile; without one, all of them."""
        if self.profile is None:
            return ()
        return tuple(op for op in self.profile.ops if op.where != FOLDED)

    @cached_property
    def timed(self) -> bool:
        """Whether ops have times."""
        return self.profile is not None and self.profile.available and self.ms(self.ops) > 0

    @cached_property
    def kinds(self) -> dict[int, str]:
        """Op index -> arithmetic."""
        return {k: arithmetic(self.graph, op) for k, op in enumerate(self.graph.ops)}

    @property
    def quantized(self) -> bool:
        """Whether an op computes in integers."""
        return INTEGER in self.kinds.values()

    def of_kind(self, *kinds: str) -> list[OpTime]:
        """Ops that run, with such arithmetic."""
        return [op for op in self.ops if self.kinds[op.index] in kinds]

    def outside(self) -> list[OpTime]:
        """Ops that run in LiteRT's own kernels."""
        return [op for op in self.ops if op.where == BUILTIN]

    def constants(self, op: OpTime) -> set[str]:
        """Types of the constants that an op reads."""
        graph = self.graph
        read = [int(t) for t in graph.ops[op.index].inputs if t >= 0]
        return {graph.dtype(t) for t in read if graph.is_constant(t)}

    def moving(self, op: OpTime) -> set[str]:
        """Types of the activations that an op reads and writes."""
        graph, tree = self.graph, self.graph.ops[op.index]
        read = [int(t) for t in tree.inputs if t >= 0 and not graph.is_constant(int(t))]
        return {graph.dtype(t) for t in [*read, *(int(t) for t in tree.outputs)]}

    def weights_of(self, ops: Iterable[OpTime]) -> int:
        """Bytes of the constants that ops read; what several share is read once."""
        graph, buffers = self.graph, self.graph.model.tree.buffers
        read = {int(t) for op in ops for t in graph.ops[op.index].inputs if t >= 0}
        stored = {graph.tensors[t].buffer for t in read if graph.is_constant(t)}
        return sum(len(buffers[k].data) for k in stored)

    def positions(self, op: OpTime) -> int:
        """How often a dense op uses each weight: elements of the output by its channels."""
        shape = [max(n, 1) for n in self.graph.shape(int(self.graph.ops[op.index].outputs[0]))]
        return int(np.prod(shape[:-1])) if shape else 1

    @staticmethod
    def ms(ops: Iterable[OpTime]) -> float:
        """Sum."""
        return sum(op.ms for op in ops)

    @staticmethod
    def share(ops: Iterable[OpTime]) -> float:
        """Sum."""
        return sum(op.share for op in ops)


@dataclass(frozen=True)
class Case:
    """A candidate, what it is held against, and where.

    Args:
        side: the candidate.
        base: the baseline; None if the candidate is alone.
        rows: all rows of the candidate.
        machine: where it ran.
    """

    side: Side
    base: Side | None
    rows: tuple[BenchRow, ...]
    machine: Machine

    @property
    def slow(self) -> bool:
        """Not clearly faster than the baseline."""
        return self.base is not None and not self.side.row.ratio < NOT_FASTER

    def find(self, id: str, text: str, op: OpTime | None = None) -> Finding:
        """A finding; the file's name comes first, for there may be several."""
        where = {} if op is None else {"op": op.op, "tensor": op.tensor, "op_index": op.index}
        subgraph = 0 if op is None else op.subgraph
        return RULES[id].at(f"{self.side.name}: {text}", subgraph=subgraph, **where)  # type: ignore[arg-type]

    def cost(self, ops: Iterable[OpTime]) -> str:
        """ "take 1.2 of 3.4 ms (35 %)", or how many where there are no times."""
        ops = list(ops)
        profile = self.side.profile
        if profile is None or not self.side.timed:
            return f"are {len(ops)} of {len(self.side.ops)} ops (no times)"
        total = self.side.ms(self.side.ops)
        return f"take {self.side.ms(ops):.3g} of {total:.3g} ms ({self.side.share(ops):.0%})"

    def matters(self, ops: Iterable[OpTime], least: float) -> bool:
        """Whether ops take such a share of the time; without times, whether there are any."""
        ops = list(ops)
        return bool(ops) and (not self.side.timed or self.side.share(ops) >= least)


NOT_FASTER = 0.95  # ratio to the baseline


def counted(ops: Iterable[OpTime], most: int = 3) -> str:
    """ "17 DEPTHWISE_CONV_2D, 2 ADD and 3 others"."""
    counts = Counter(op.op for op in ops).most_common()
    shown = ", ".join(f"{n} {code}" for code, n in counts[:most])
    rest = sum(n for _, n in counts[most:])
    return f"{shown} and {rest} others" if rest else shown


def pairs(mine: Side, theirs: Side) -> list[tuple[OpTime, OpTime]]:
    """Ops of two files of one model that do the same work.

    By the name of their first output where the op is the same; in order if most names differ.
    """
    a, b = ([op for op in side.ops if op.op not in BRIDGES] for side in (mine, theirs))
    named = {(op.op, op.tensor): op for op in b if op.tensor}
    found = [(op, named[op.op, op.tensor]) for op in a if (op.op, op.tensor) in named]
    if len(found) >= len(a) // 2:
        return found
    match = SequenceMatcher(None, [op.op for op in a], [op.op for op in b], autojunk=False)
    found = [
        (a[block.a + k], b[block.b + k])
        for block in match.get_matching_blocks()
        for k in range(block.size)
    ]
    return found if len(found) >= max(len(a), len(b)) // 2 else []  # else: two different models
