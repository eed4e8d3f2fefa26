"""Hold what was measured against the bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfq_ext.errors import RecipeError
from tfq_ext.validation.gate.bounds import UNITS, parse_bound, parse_severity, parse_version
from tfq_ext.validation.gate.measures import Measured
from tfq_ext.validation.gate.result import FAIL, PASS, UNDECIDED, GateResult
from tfq_ext.validation.gate.table import (
    AT_LEAST,
    AT_MOST,
    FLAG,
    NUMBER,
    SEVERITY,
    VERSION,
    Gate,
    find_gate,
)

if TYPE_CHECKING:
    from tfq_ext.validation.verdict import Validation


def parse_gates(gates: Mapping[str, object]) -> dict[str, Any]:
    """Gate name -> bound as the gate wants it; gates switched off (False) are left out.

    Raises:
        RecipeError: a bound that cannot be read.
        UnknownName: no such gate.
    """
    parsed: dict[str, Any] = {}
    for name, bound in gates.items():
        value = _parse(name, find_gate(name), bound)
        if value is not None:
            parsed[name] = value
    return parsed


def _parse(name: str, gate: Gate, bound: object) -> Any:
    if bound is False:  # a config file's gate, switched off for one run
        return None
    if gate.bound == NUMBER:
        return parse_bound(name, gate.unit, bound)
    if gate.bound == SEVERITY:
        return parse_severity(name, bound)
    if gate.bound == VERSION:
        return parse_version(name, bound)
    if not isinstance(bound, bool):
        raise RecipeError(f"Gate {name} is on (true) or off (false), got {bound!r}.")
    return bound


def judge(validation: Validation, gates: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """One verdict a gate.

    Args:
        validation: what was measured.
        gates: as `parse_gates` gives them.
    """
    return tuple(_one(validation, name, bound) for name, bound in gates.items())


def _one(validation: Validation, name: str, bound: Any) -> GateResult:
    gate = find_gate(name)
    found: Measured | str
    missing = validation.missing(gate.section)
    try:
        found = missing if missing is not None else gate.measure(validation, bound)
    except StopIteration:  # no row of that kind
        found = "it was not measured"
    limit = float(bound) if gate.bound == NUMBER else 0.0
    if isinstance(found, str):
        text = _bound_text(gate, gate.side or "bound", bound)
        return GateResult(name, UNDECIDED, "", text, detail=found, limit=limit)
    side = gate.side or (AT_LEAST if found.higher_is_better else AT_MOST)
    return _judged(name, gate, side, bound, limit, found)


def _judged(
    name: str, gate: Gate, side: str, bound: Any, limit: float, found: Measured
) -> GateResult:
    good = limit - found.value if side == AT_MOST else found.value - limit
    verdict, why = (PASS if good >= 0 else FAIL), ""
    if math.isnan(found.value):
        verdict, why = UNDECIDED, "the value is not a number"
    elif gate.by_interval and found.lo is not None and found.hi is not None:
        verdict, why = _by_interval(gate, side, limit, found)
    unit = UNITS[gate.unit]
    plain = gate.bound == NUMBER
    return GateResult(
        name,
        verdict,
        found.shown or unit.show(found.value),
        _bound_text(gate, side, bound),
        margin=_signed(unit.show(good), good) if plain and math.isfinite(good) else "",
        detail="; ".join(part for part in (found.detail, why) if part),
        number=found.value,
        limit=limit,
    )


def _by_interval(gate: Gate, side: str, limit: float, found: Measured) -> tuple[str, str]:
    """The verdict of the whole interval; when it straddles the bound, nobody can tell."""
    assert found.lo is not None
    assert found.hi is not None
    show = UNITS[gate.unit].show
    if math.isinf(found.lo) or math.isinf(found.hi):
        return UNDECIDED, "it has no interval, so that nobody can tell chance from loss"
    span = f"95 % interval {show(found.lo)} to {show(found.hi)}"
    safe, bad = (
        (found.hi <= limit, found.lo > limit)
        if side == AT_MOST
        else (found.lo >= limit, found.hi < limit)
    )
    if safe or bad:
        return (PASS if safe else FAIL), span
    return UNDECIDED, f"{span} holds the bound: {_needed(limit, found)}"


def _needed(limit: float, found: Measured) -> str:
    """How much more evidence would settle it, the interval shrinking with the root of n."""
    assert found.lo is not None
    assert found.hi is not None
    gap = abs(limit - found.value)
    if not found.n:
        return "measure longer (--runs)"
    half = max(found.hi - found.value, found.value - found.lo)
    if gap <= half / 30:
        return f"{found.n} samples are too few to tell, and the value lies on the bound"
    return (
        f"{found.n} samples are too few to tell; about "
        f"{math.ceil(found.n * (half / gap) ** 2 / 10) * 10} would do if the value stays"
    )


def _bound_text(gate: Gate, side: str, bound: Any) -> str:
    texts = {
        SEVERITY: lambda: f"no {bound} or worse",
        FLAG: lambda: "required",
        VERSION: lambda: f"runs on {'.'.join(map(str, bound))}",
        NUMBER: lambda: f"{side} {UNITS[gate.unit].show(bound)}",
    }
    return texts[gate.bound]()


def _signed(text: str, value: float) -> str:
    return f"+{text}" if value >= 0 else text
