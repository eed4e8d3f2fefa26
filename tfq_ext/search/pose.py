"""From measurements to a problem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.search.choices import allowed
from tfq_ext.search.costs import CostTable, size_of
from tfq_ext.search.problem import Bond, Item, Option, Problem
from tfq_ext.search.study import Study
from tfq_ext.search.units import Unit, Width

LOUD = 1e6  # noise power of a file whose outputs are not finite
TIE = 1e-4  # of the noise in 8 bits, shared by all units: of equal choices, the plain one


def pose(
    study: Study, names: Sequence[str], table: CostTable | None, watch: Watch = unwatched
) -> Problem:
    """Measure what each width of each unit does alone, and write it down.

    Args:
        study: what is measured.
        names: widths that may be chosen.
        table: milliseconds; None: bytes are the only cost.
        watch: a progress bar.
    """
    units = study.materials.units
    own: dict[tuple[str, int], float] = {}
    for unit in watch(units, label="layers", total=len(units)):
        for b in {w.weights for w in allowed(unit, names)} - {0}:
            own[unit.name, b] = _power(study.only_weights(unit, b).noise)
    bonds = _bonds(study, names, watch)
    quiet = sum(n for (_, b), n in own.items() if b == 8) + sum(bond.noise[2] for bond in bonds)
    tie = TIE * quiet / max(len(units), 1)
    items = tuple(
        Item(unit.name, tuple(_option(unit, w, own, tie, table) for w in allowed(unit, names)))
        for unit in units
    )
    base = sum(size_of(unit, unit.base) for unit in units)
    fixed = {"bytes": len(study.materials.base.content) - base}
    if table is not None:
        fixed["ms"] = table.fixed
    return Problem(items, bonds, fixed)


def _option(
    unit: Unit,
    width: Width,
    own: Mapping[tuple[str, int], float],
    tie: float,
    table: CostTable | None,
) -> Option:
    costs = {"bytes": size_of(unit, width)}
    if table is not None:
        costs["ms"] = table.of(unit, width)
    odd = tie if width.activations != 8 else 0.0
    level = {0: 0, 16: 1, 8: 2}[width.activations]
    return Option(width.name, own.get((unit.name, width.weights), 0.0) + odd, level, costs)


def _bonds(study: Study, names: Sequence[str], watch: Watch) -> tuple[Bond, ...]:
    units = study.materials.units
    touched = sorted(frozenset[int]().union(*(unit.grids for unit in units)))
    found = []
    for k in watch(touched, label="activations", total=len(touched)):
        narrow = _power(study.only_grid(k, 8).noise)
        wide = _power(study.only_grid(k, 16).noise) if "a16" in names else 0.0
        items = tuple(i for i, unit in enumerate(units) if k in unit.grids)
        found.append(Bond(items, (0.0, min(wide, narrow), narrow)))
    return tuple(found)


def _power(noise: float) -> float:
    return min(noise, LOUD)
