"""Units: bounds as people write them ("0.5%", "5ms", "4MB"), and numbers as they read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, DecimalException

from tfq_ext._table import Table
from tfq_ext.errors import RecipeError
from tfq_ext.validation.finding import SEVERITIES


@dataclass(frozen=True)
class Unit:
    """How a kind of number is written and read.

    Args:
        suffixes: what may stand behind a number -> factor; "" is the plain number.
        show: number to text with its unit.
        example: for messages.
        lowest, highest: what a bound may be.
        slip: what is probably meant by a plain number outside `lowest..highest`; "" for nothing.
    """

    suffixes: dict[str, float]
    show: Callable[[float], str]
    example: str
    lowest: float = 0.0
    highest: float = math.inf
    slip: str = ""


def _bytes(n: float) -> str:
    return f"{n / 1e6:.2f} MB" if abs(n) >= 1e6 else f"{n / 1e3:.1f} kB"


_SIZES = {"": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2.0**10, "mib": 2.0**20}

UNITS: Table[Unit] = Table(
    "unit",
    {
        "share": Unit(
            {"": 1.0, "%": 0.01}, lambda v: f"{100 * v:.2f} %", "98%", 0.0, 1.0,
            "98 % are written 98% or 0.98.",
        ),
        "points": Unit(  # a loss of half of everything is no bound but a slip: 1 for 1%
            {"": 1.0, "%": 0.01}, lambda v: f"{100 * v:.2f} points", "0.5%", -0.5, 0.5,
            "0.5 percentage points are written 0.5% or 0.005.",
        ),
        "db": Unit({"": 1.0, "db": 1.0}, lambda v: f"{v:.1f} dB", "20dB", -200.0),
        "bytes": Unit(_SIZES, _bytes, "4MB", 100.0, math.inf, "4 megabytes are written 4MB."),
        "ms": Unit({"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3}, lambda v: f"{v:.3g} ms", "5ms"),
        "ratio": Unit({"": 1.0, "x": 1.0, "%": 0.01}, lambda v: f"{v:.3g} x", "1.1"),
        "count": Unit({"": 1.0}, lambda v: f"{v:.0f}", "0"),
        "number": Unit({"": 1.0, "%": 0.01}, lambda v: f"{v:.4g}", "0.9", -math.inf),
    },
)  # fmt: skip

_NUMBER = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z%]*)\s*")


def parse_bound(name: str, unit: str, bound: object) -> float:
    """A bound as a number in the gate's unit.

    Args:
        name: of the gate, for messages.
        unit: of UNITS.
        bound: a number, or text such as "0.5%".

    Raises:
        RecipeError: no number, an unknown unit, or outside what makes sense.
    """
    known = UNITS[unit]
    if bound is True:
        raise RecipeError(f"Gate {name} needs a bound: {name}={known.example} for example.")
    match = None if isinstance(bound, bool) else _NUMBER.fullmatch(str(bound))
    if match is None or match[2].lower() not in known.suffixes:
        units = ", ".join(suffix or "no unit" for suffix in known.suffixes)
        raise RecipeError(
            f"Gate {name}: {bound!r} is no bound; write for example {known.example} ({units})."
        )
    factor = Decimal(repr(known.suffixes[match[2].lower()]))
    try:
        value = float(Decimal(match[1]) * factor)  # 94% is 0.94, not 0.9400000000000001
    except DecimalException:  # an exponent of twenty digits
        value = math.inf
    if not known.lowest <= value <= known.highest or math.isinf(value):
        ends = known.lowest, known.highest
        allowed = f"{ends[0]:g}..{ends[1]:g}" if ends[1] < math.inf else f"{ends[0]:g} and more"
        hint = f" {known.slip}" if known.slip else ""
        raise RecipeError(f"Gate {name}: {bound} is no bound that makes sense ({allowed}).{hint}")
    return value


def parse_severity(name: str, bound: object) -> str:
    """A severity by name.

    Raises:
        RecipeError: it is none.
    """
    if bound not in SEVERITIES:
        raise RecipeError(
            f"Gate {name} takes the severity that fails, one of {', '.join(SEVERITIES)}; "
            f"got {bound!r}."
        )
    return str(bound)


def parse_version(name: str, bound: object) -> tuple[int, ...]:
    """ "2.14.0" as (2, 14, 0).

    Raises:
        RecipeError: not of that form.
    """
    if not re.fullmatch(r"\d+(\.\d+){1,2}", str(bound)):
        raise RecipeError(f"Gate {name} takes a TFLite version such as 2.14.0, got {bound!r}.")
    return tuple(int(part) for part in str(bound).split("."))
