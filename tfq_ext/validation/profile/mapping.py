"""From the profiler's events to the ops of the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfq_ext.tflite.read import Graph
from tfq_ext.validation.profile import names
from tfq_ext.validation.profile.session import DELEGATE_OP, INVOKE, OPERATOR, WHOLE, Event

# Ops that run another subgraph, whose events come right after theirs.
CALLERS = frozenset(
    ["WHILE", "IF", "CALL", "STABLEHLO_COMPOSITE", "STABLEHLO_WHILE", "STABLEHLO_CASE"]
)
MATCH, HELPER, LOST_OP, LOST_EVENT, VANISHED = 0.0, 0.3, 3.0, 2.0, 0.5  # costs


@dataclass(frozen=True)
class Sorted:
    """Events of one run, told apart.

    Args:
        total_us: of the whole run.
        builtin: op index -> microseconds, of the subgraph that ran.
        groups: XNNPACK's operators, one list a partition, in the order in which they ran.
        called: for each group, whether a loop or branch ran just before: it may be its body's.
    """

    total_us: float
    builtin: dict[int, float]
    groups: list[list[Event]]
    called: list[bool]

    def of_entry(self, count: int) -> list[list[Event]]:
        """The groups less those of loop bodies, where the subgraph itself has `count`."""
        surplus = len(self.groups) - count
        kept = []
        for group, called in zip(self.groups, self.called, strict=True):
            if called and surplus > 0:
                surplus -= 1
            else:
                kept.append(group)
        return kept


def sort_events(events: Sequence[Event], graph: Graph) -> Sorted:
    """Tell the events of a run apart.

    What runs inside a loop or branch is part of that op's time, so operators of other subgraphs
    are left out.
    """
    total = max((e.us for e in events if e.kind == WHOLE and e.tag == INVOKE), default=0.0)
    builtin: dict[int, float] = {}
    groups: list[list[Event]] = []
    called: list[bool] = []
    fresh, after_call = True, False
    for e in events:
        if e.kind == OPERATOR:
            fresh = True
            if e.subgraph == graph.index and e.node < len(graph.ops):
                builtin[e.node] = builtin.get(e.node, 0.0) + e.us
                after_call = graph.code(graph.ops[e.node]) in CALLERS
        elif e.kind == DELEGATE_OP:
            if fresh or e.node == 0:
                groups.append([])
                called.append(after_call)
            fresh = False
            groups[-1].append(e)
    return Sorted(total, builtin, groups, called)


@dataclass(frozen=True)
class Mapped:
    """Which of XNNPACK's operators did which op.

    Args:
        us: op index -> microseconds; 0 for an op without an operator of its own.
        kernels: op index -> names of its operators.
        unmapped: operators that fit no op.
    """

    us: dict[int, float]
    kernels: dict[int, str]
    unmapped: list[Event]


def align(graph: Graph, ops: Sequence[int], events: Sequence[Event]) -> Mapped:
    """Match ops and operators, both in order: the alignment that leaves least over.

    An op may have no operator (fused, or nothing to do), and operators that help (a layout or
    type change) go with the op that follows them. O(ops x operators).

    Source: Needleman and Wunsch 1970, with costs in place of scores.
    """
    codes = [graph.code(graph.ops[k]) for k in ops]
    steps = _table(codes, [e.tag for e in events])
    found: dict[int, list[Event]] = {k: [] for k in ops}
    helpers: list[Event] = []
    unmapped: list[Event] = []
    last: int | None = None
    for i, j in _path(steps):
        if j is None:
            continue
        if i is None:
            (helpers if names.helps(events[j].tag) else unmapped).append(events[j])
            continue
        last = ops[i]
        found[last] += [*helpers, events[j]]
        helpers = []
    if last is None:
        unmapped += helpers
    else:
        found[last] += helpers
    kernels = {k: " + ".join(dict.fromkeys(e.tag for e in seen)) for k, seen in found.items()}
    return Mapped({k: sum(e.us for e in seen) for k, seen in found.items()}, kernels, unmapped)


def _table(codes: Sequence[str], tags: Sequence[str]) -> list[list[str]]:
    """steps[i][j]: how the cheapest alignment of the first i ops and j operators ends."""
    n, m = len(codes), len(tags)
    extra = [HELPER if names.helps(tag) else LOST_EVENT for tag in tags]
    cost = [0.0]
    for j in range(m):
        cost.append(cost[-1] + extra[j])
    steps = [["left"] * (m + 1)]
    fit = {(t, code): names.fits(t, code) for t in set(tags) for code in set(codes)}
    for i in range(n):
        absent = VANISHED if codes[i] in names.VANISHES else LOST_OP
        row, marks = [cost[0] + absent], ["up"]
        for j in range(m):
            best, mark = cost[j + 1] + absent, "up"
            if row[j] + extra[j] < best:
                best, mark = row[j] + extra[j], "left"
            if fit[tags[j], codes[i]] and cost[j] + MATCH <= best:
                best, mark = cost[j] + MATCH, "both"
            row.append(best)
            marks.append(mark)
        cost = row
        steps.append(marks)
    return steps


def _path(steps: list[list[str]]) -> list[tuple[int | None, int | None]]:
    """(op, operator) pairs of the alignment, None for a gap."""
    i, j = len(steps) - 1, len(steps[0]) - 1
    pairs: list[tuple[int | None, int | None]] = []
    while i > 0 or j > 0:
        mark = steps[i][j] if i else "left"
        if mark == "both":
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif mark == "up":
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return pairs[::-1]
