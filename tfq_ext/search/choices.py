"""The widths that a search may choose among, by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from tfq_ext.errors import RecipeError
from tfq_ext.recipe.fields import WidthName
from tfq_ext.search.units import FLOAT, Unit, Width

CHOICES: tuple[str, ...] = get_args(WidthName)


def check_choices(names: Sequence[str]) -> tuple[str, ...]:
    """Widths by name, checked.

    Raises:
        RecipeError: none, or an unknown one.
    """
    if unknown := [name for name in names if name not in CHOICES]:
        raise RecipeError(f"choices: got {', '.join(unknown)}; allowed: {', '.join(CHOICES)}.")
    if not {"w4", "w8"} & set(names):
        raise RecipeError(f"choices: got {', '.join(names) or 'none'}; w8 or w4 must be there.")
    return tuple(names)


def allowed(unit: Unit, names: Sequence[str]) -> tuple[Width, ...]:
    """The widths of a unit that the choices name; its first where that leaves none."""
    found = [width for width in unit.widths if _named(width, names)]
    return tuple(found) or (unit.base,)


def _named(width: Width, names: Sequence[str]) -> bool:
    if width == FLOAT:
        return "float" in names
    weights = {0: True, 4: "w4" in names, 8: "w8" in names}[width.weights]
    return weights and (width.activations == 8 or "a16" in names)
