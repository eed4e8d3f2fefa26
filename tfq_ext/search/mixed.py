r"""The best choice by integer programming (HiGHS, through scipy's milp).

With one binary x per option, and for every grid z2 and z1, the narrow and the wide rounding:

.. math:: \min \sum n x + \sum (a_2 - a_1) z_2 + a_1 z_1, \quad
          \sum_j x_{ij} = 1, \quad z_2 \ge \sum_{narrow} x_i, \quad z_1 \ge \sum_{any} x_i

z need not be binary: it is pushed down, and x pushes it up to 0 or 1.

Source: HAWQ-V3 2011.10680, section 3.4 (the knapsack over layers; bonds between layers are ours).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from tfq_ext.search.problem import Problem, Task

NODES = 20_000  # of HiGHS's tree; by nodes, not seconds, so that equal inputs give equal choices
GAP = 1e-9
TRIES = 5


@dataclass
class _Columns:
    """Where the variables lie: options first, then two a bond."""

    problem: Problem

    def __post_init__(self) -> None:
        counts = [len(item.options) for item in self.problem.items]
        self.start = np.concatenate([[0], np.cumsum(counts)]).astype(int)
        self.options = int(self.start[-1])
        self.all = self.options + 2 * len(self.problem.bonds)

    def spread(self, of: Callable[[int, int], float]) -> np.ndarray:
        """A row with `of(item, option)` in the options' columns."""
        row = np.zeros(self.all)
        for i, item in enumerate(self.problem.items):
            for j in range(len(item.options)):
                row[self.start[i] + j] = of(i, j)
        return row

    def noise(self) -> np.ndarray:
        """The noise as a row."""
        row = self.spread(lambda i, j: self.problem.items[i].options[j].noise)
        for k, bond in enumerate(self.problem.bonds):
            _, wide, narrow = bond.noise
            row[self.options + 2 * k] = narrow - wide
            row[self.options + 2 * k + 1] = wide
        return row

    def cost(self, name: str) -> np.ndarray:
        """One cost as a row."""
        return self.spread(lambda i, j: self.problem.items[i].options[j].costs[name])


def solve(problem: Problem, task: Task) -> tuple[int, ...] | None:
    """The option index of every item: best by `task`, or None where no choice is within it.

    Equal inputs give equal choices.
    """
    columns = _Columns(problem)
    noise = columns.noise()
    goal = noise if task.noise is None else columns.cost(task.minimize)
    shrink = 1.0
    for _ in range(TRIES):
        found = _solve(columns, _unit(goal), [*_structure(columns)], _limits(columns, task, shrink))
        if found is None or task.holds(problem, found):
            return found
        shrink -= 1e-6  # HiGHS lets rows be over by 1e-6 or so
    return None


def _solve(
    columns: _Columns, goal: np.ndarray, *rows: Sequence[LinearConstraint]
) -> tuple[int, ...] | None:
    bounds = [constraint for part in rows for constraint in part]
    integral = np.zeros(columns.all)
    integral[: columns.options] = 1
    found = milp(
        goal,
        integrality=integral,
        bounds=(0, 1),
        constraints=bounds,
        options={"node_limit": NODES, "mip_rel_gap": GAP},
    )
    if found.x is None:
        return None
    starts = zip(columns.start[:-1], columns.start[1:], strict=True)
    return tuple(int(np.argmax(found.x[a:b])) for a, b in starts)


def _unit(row: np.ndarray) -> np.ndarray:
    """Scaled so that HiGHS's absolute tolerances mean something: noise powers are tiny."""
    top = np.abs(row).max(initial=0.0)
    return row * (1e3 / top) if top > 0 else row


def _structure(columns: _Columns) -> Iterator[LinearConstraint]:
    """One option an item, and z above every item of its bond."""
    problem, place = columns.problem, columns.options
    rows: list[int] = []
    cols: list[int] = []
    for i in range(len(problem.items)):
        span = range(columns.start[i], columns.start[i + 1])
        rows += [i] * len(span)
        cols += span
    shape = (len(problem.items), columns.all)
    yield LinearConstraint(csr_array((np.ones(len(rows)), (rows, cols)), shape=shape), 1, 1)
    entries: list[tuple[int, int, float]] = []
    count = 0
    for k, bond in enumerate(problem.bonds):
        for i in bond.items:
            for z, least in ((place + 2 * k, 2), (place + 2 * k + 1, 1)):
                entries.append((count, z, 1.0))
                for j, option in enumerate(problem.items[i].options):
                    if option.level >= least:
                        entries.append((count, columns.start[i] + j, -1.0))
                count += 1
    if entries:
        r, c, v = zip(*entries, strict=True)
        yield LinearConstraint(csr_array((v, (r, c)), shape=(count, columns.all)), 0, np.inf)


def _limits(columns: _Columns, task: Task, shrink: float) -> list[LinearConstraint]:
    """Every limit as `row <= 1`, so that a tolerance is a share of it."""
    found = []
    pairs = [
        (columns.cost(n), most - columns.problem.fixed.get(n, 0.0), most)
        for n, most in task.limits.items()
    ]
    if task.noise is not None and np.isfinite(task.noise):
        pairs.append((columns.noise(), task.noise, task.noise))
    for row, room, whole in pairs:
        scale = max(abs(whole), 1e-300)
        dense = np.clip(row / scale, -1e9, 1e9)
        found.append(LinearConstraint(csr_array(dense[None]), -np.inf, room / scale - (1 - shrink)))
    return found
