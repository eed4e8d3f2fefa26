r"""Which width for which unit, as numbers: a multiple-choice knapsack with bonds.

Noise powers add, as those of independent errors do:

.. math:: N = \sum_i n_i(w_i) + \sum_g \max_{i \in g} a_g(w_i)

The rounding of a tensor belongs to its grid, and every op that writes or reads the grid must have
wide activations before the narrow rounding is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tfq_ext.errors import SpecError


@dataclass(frozen=True)
class Option:
    """One width of one item.

    Args:
        name: "w8", "w4", ...
        noise: of its weights, relative to the output's power.
        level: of its activations: 0 float, 1 wide (16 bits), 2 narrow (8 bits).
        costs: by name of the cost ("bytes", "ms").
    """

    name: str
    noise: float
    level: int
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Item:
    """One unit and what it may be."""

    name: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Bond:
    """One grid.

    Args:
        items: indices of the items that write or read it.
        noise: by level: of float (0), wide and narrow rounding; it never falls with the level.
    """

    items: tuple[int, ...]
    noise: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 0 == self.noise[0] <= self.noise[1] <= self.noise[2]:
            raise SpecError(f"Noise by level starts at 0 and never falls, got {self.noise}.")


@dataclass(frozen=True)
class Problem:
    """Items, the bonds between them, and what every choice costs in any case.

    Args:
        items, bonds: see there.
        fixed: cost that no choice changes, by name.
    """

    items: tuple[Item, ...]
    bonds: tuple[Bond, ...]
    fixed: Mapping[str, float]

    @cached_property
    def touching(self) -> tuple[tuple[int, ...], ...]:
        """For every item the indices of its bonds."""
        table: list[list[int]] = [[] for _ in self.items]
        for k, bond in enumerate(self.bonds):
            for i in bond.items:
                table[i].append(k)
        return tuple(map(tuple, table))

    def cost(self, name: str, choice: Sequence[int]) -> float:
        """Total of one cost for the option index of every item."""
        pairs = zip(self.items, choice, strict=True)
        return self.fixed.get(name, 0.0) + sum(i.options[j].costs[name] for i, j in pairs)

    def noise(self, choice: Sequence[int]) -> float:
        """Predicted noise power of the output, relative to the signal's."""
        own = sum(i.options[j].noise for i, j in zip(self.items, choice, strict=True))
        return own + sum(self.bond_noise(k, choice) for k in range(len(self.bonds)))

    def bond_noise(self, k: int, choice: Sequence[int]) -> float:
        """What one grid adds."""
        bond = self.bonds[k]
        level = max((self.items[i].options[choice[i]].level for i in bond.items), default=0)
        return bond.noise[level]

    def least(self, name: str) -> float:
        """The smallest total of one cost that any choice has."""
        fixed = self.fixed.get(name, 0.0)
        return fixed + sum(min(o.costs[name] for o in item.options) for item in self.items)

    def names(self, choice: Sequence[int]) -> dict[str, str]:
        """Item name -> option name."""
        return {i.name: i.options[j].name for i, j in zip(self.items, choice, strict=True)}


@dataclass(frozen=True)
class Task:
    """What is wanted of a problem.

    Args:
        limits: cost name -> the most it may be.
        noise: the most noise, or None: as little as possible.
        minimize: the cost that is to be small where noise has a limit.
    """

    limits: Mapping[str, float]
    noise: float | None = None
    minimize: str = "bytes"

    def holds(self, problem: Problem, choice: Sequence[int]) -> bool:
        """Whether a choice is within all limits (to one part in 1e9, for sums round)."""
        slack = 1 + 1e-9
        if self.noise is not None and problem.noise(choice) > self.noise * slack:
            return False
        return all(problem.cost(n, choice) <= most * slack for n, most in self.limits.items())

    def value(self, problem: Problem, choice: Sequence[int]) -> float:
        """What is minimized."""
        if self.noise is None:
            return problem.noise(choice)
        return problem.cost(self.minimize, choice)
