"""What every width of every unit costs: bytes by counting, milliseconds by measuring."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfq_ext._files import write_text
from tfq_ext.errors import DataError, ModelError
from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.search.choices import allowed
from tfq_ext.search.materials import Materials
from tfq_ext.search.units import FLOAT, Unit, Width
from tfq_ext.validation.latency import measure_latency
from tfq_ext.validation.profile import Profile, profile_model

BORDER = 200  # bytes that QUANTIZE, DEQUANTIZE and their tensors take beside an odd one out
GRID = 24  # bytes of scale and zero point of a channel, weight and bias
_SUFFIXES = ("/int8", "/int16", "/float32", "/prescribed")
FORMAT = "tfq costs 1"


def size_of(unit: Unit, width: Width) -> float:
    """Bytes of a unit's constants, beside what 8 bits need."""
    if not unit.weight:
        return 0.0 if width.activations == 8 else BORDER
    biases = unit.channels if unit.bias else 0
    if width == FLOAT:
        return 4.0 * (unit.elements + biases) + BORDER
    weights = math.ceil(unit.elements / 2) if width.weights == 4 else unit.elements
    wide = width.activations == 16
    return weights + (8.0 if wide else 4.0) * biases + GRID * unit.channels + BORDER * wide


@dataclass(frozen=True)
class CostTable:
    """Milliseconds by unit and width, on whatever machine they were measured.

    Args:
        fixed: of what no choice changes.
        rows: unit name -> width name -> ms.
        measured_here: whether files can be timed on this machine to check a forecast.
    """

    fixed: float
    rows: Mapping[str, Mapping[str, float]]
    measured_here: bool = True

    def of(self, unit: Unit, width: Width) -> float:
        """One cost.

        Raises:
            DataError: the table has none.
        """
        try:
            return self.rows[unit.name][width.name]
        except KeyError:
            raise DataError(
                f"The table of costs has no {width.name!r} for {unit.op} {unit.name!r}. Add it, or "
                "leave that width out of the choices."
            ) from None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rows = {name: dict(row) for name, row in self.rows.items()}
        return {"format": FORMAT, "unit": "ms", "fixed": self.fixed, "rows": rows}

    def save(self, path: Path) -> Path:
        """Write it as JSON, to edit or to fill with a phone's times."""
        return write_text(path, json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> CostTable:
        """From such a file.

        Raises:
            DataError: it cannot be read, or holds something else.
        """
        try:
            table = json.loads(Path(path).read_text(encoding="utf-8"))
            if table["format"] != FORMAT:
                raise ValueError(f"format {table['format']!r}")
            rows = {
                str(name): {str(w): _time(ms) for w, ms in row.items()}
                for name, row in table["rows"].items()
            }
            return cls(_time(table["fixed"]), rows, measured_here=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} holds no table of costs ({error}). --save-costs writes one to start from."
            ) from None


def _time(ms: object) -> float:
    value = float(ms)  # type: ignore[arg-type]
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{ms} is no time")
    return value


def measure_costs(
    materials: Materials,
    names: Sequence[str],
    *,
    threads: int = 1,
    watch: Watch = unwatched,
) -> CostTable:
    """Time every op in files of one width throughout, under LiteRT's profiler.

    Conversions between neighbours of different width belong to no unit; files are timed again.

    Raises:
        ModelError: there are no times per op on this machine.
    """
    widths = {w for u in materials.units for w in allowed(u, names) if w.weights or w == FLOAT}
    ordered = sorted(widths | {Width(8, 8)}, key=lambda w: w.name, reverse=True)
    rows: dict[str, dict[str, float]] = {u.name: {} for u in materials.units}
    fixed = 0.0
    for width in watch(ordered, label="timing", total=len(ordered)):
        choice = {u.name: _nearest(u, width) for u in materials.units}
        content = materials.content(choice, packed=True)
        profile = profile_model(content, threads=threads)
        if not profile.available:
            raise ModelError(f"{profile.why_not}. Give a table of costs (--costs FILE).")
        times = _by_unit(profile, materials.units)
        if width == Width(8, 8):  # the profiler's own work is not the model's
            whole = measure_latency({"": content}, threads=threads)[""].median_ms
            fixed = max(whole - sum(times.values()), 0.0)
        for name, ms in times.items():
            rows[name].setdefault(choice[name].name, ms)
    return CostTable(fixed, rows)


def _nearest(unit: Unit, width: Width) -> Width:
    wanted = (width, Width(0, width.activations), Width(8, width.activations))
    return next((w for w in wanted if w in unit.widths), unit.base)


def _by_unit(profile: Profile, units: Iterable[Unit]) -> dict[str, float]:
    owner = {op: unit.name for unit in units for op in unit.ops}
    times = dict.fromkeys(owner.values(), 0.0)
    for row in profile.ops:
        name = row.tensor
        for suffix in _SUFFIXES:
            name = name if name in owner else name.removesuffix(suffix)
        if name in owner and row.op not in ("QUANTIZE", "DEQUANTIZE"):
            times[owner[name]] += row.ms
    return times
