"""Budgets: what a search must keep to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from tfq_ext.errors import RecipeError
from tfq_ext.validation.gate.bounds import UNITS, parse_bound

_UNITS = {"max_size": "bytes", "max_latency": "ms", "min_sqnr": "db", "max_drop": "points"}


@dataclass(frozen=True)
class Goal:
    """At least one budget; texts such as "1.2MB", "5ms", "25dB", "0.5%" become numbers.

    Args:
        max_size: of the file, bytes.
        max_latency: of one run, ms.
        min_sqnr: of the outputs against the float model, dB.
        max_drop: of the task's main metric against the float model, a share (or in its unit).

    Raises:
        RecipeError: none given, or one that cannot be read.
    """

    max_size: Any = None
    max_latency: Any = None
    min_sqnr: Any = None
    max_drop: Any = None

    def __post_init__(self) -> None:
        for name, unit in _UNITS.items():
            if (value := getattr(self, name)) is not None:
                try:
                    object.__setattr__(self, name, parse_bound(name, unit, value))
                except RecipeError as error:
                    raise RecipeError(str(error).replace("Gate ", "", 1)) from None
        if not list(self.stated()):
            names = ", ".join(field.name for field in fields(self))
            raise RecipeError(f"A search needs a budget: one of {names}.")
        if self.min_sqnr is not None and self.max_drop is not None:
            raise RecipeError("min_sqnr and max_drop both bound the loss; keep one of them.")

    def stated(self) -> Iterator[tuple[str, float]]:
        """(name, bound) of those given."""
        for name in _UNITS:
            if getattr(self, name) is not None:
                yield name, getattr(self, name)

    @property
    def bounds_loss(self) -> bool:
        """Whether accuracy is the limit and size is made small, or the other way round."""
        return self.min_sqnr is not None or self.max_drop is not None

    @property
    def limits(self) -> dict[str, float]:
        """Cost -> the most it may be."""
        pairs = {"bytes": self.max_size, "ms": self.max_latency}
        return {name: float(most) for name, most in pairs.items() if most is not None}

    def __str__(self) -> str:
        words = {"max_size": "at most", "max_latency": "at most", "min_sqnr": "at least"}
        return ", ".join(
            f"{words.get(name, 'a drop of at most')} {UNITS[_UNITS[name]].show(bound)}"
            for name, bound in self.stated()
        )
