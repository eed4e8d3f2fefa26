"""What a search found: the file, its layers, and the curve that it lies on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from rich.console import Console

from tfq_ext.report.console import text_of
from tfq_ext.report.lined import Lined
from tfq_ext.report.words import count, db, size
from tfq_ext.search.found import Found, LayerWidth, Point, Worth
from tfq_ext.validation.comparison.labels import labels

TOP = 15
WIDTH = 100
_PLAIN = ("w8", "a8")
_SLOW = ("float", "a16", "w4a16")
_REMARK = (
    "Not every layer computes in 8 bits. An integer-only file takes choices w4 and w8; a latency "
    "budget weighs what the others cost in time."
)


def show_found(found: Found, console: Console, *, top: int | None = TOP) -> None:
    """Print it.

    Args:
        found: the search's end.
        console: where to.
        top: so many of the layers that differ from 8 bits; None: all.
    """
    for line in _head(found):
        console.print(line, soft_wrap=True)
    other = [row for row in found.layers if row.width not in _PLAIN]
    shown = sorted(other, key=lambda row: -row.elements)
    shown = shown if top is None else shown[:top]
    if shown:
        console.print()
        console.print(_layers(shown, labels({row.layer: row.op for row in found.layers})))
        if len(shown) < len(other):
            console.print(f"and {count(len(other) - len(shown), 'layer')} more (--all)")
    if found.points:
        console.print()
        console.print(_curve(found))


def found_text(found: Found) -> str:
    """The same as plain text of 100 columns."""
    return text_of(lambda console: show_found(found, console), WIDTH).rstrip("\n")


def _head(found: Found) -> Iterator[str]:
    widths = Counter(row.width for row in found.layers if row.elements)
    spread = ", ".join(f"{n} x {name}" for name, n in sorted(widths.items()))
    yield f"Goal: {found.goal}."
    yield f"Found: {_worth(found.measured, found)}; layers with weights: {spread}."
    yield f"Forecast: {_worth(found.forecast, found)}."
    yield f"8 bits throughout: {_worth(found.base, found)}."
    if found.greedy is not None:
        yield f"Greedy choice, forecast: {_worth(found.greedy, found)}."
    if found.goal.max_latency is None and any(r.width in _SLOW for r in found.layers):
        yield _REMARK
    measured = f"measured on {count(found.samples, 'sample')}"
    yield f"{count(found.rounds, 'file')} made and {measured}."


def _worth(worth: Worth, found: Found) -> str:
    parts = [size(round(worth.size)), db(worth.sqnr_db)]
    if worth.ms is not None:
        parts.append(f"{worth.ms:.3g} ms")
    if worth.agreement is not None:
        parts.append(f"agreement {100 * worth.agreement:.1f} %")
    if found.main is not None and found.main in worth.metrics:
        float_ = found.float_metrics.get(found.main, math.nan)
        parts.append(f"{found.main} {worth.metrics[found.main]:.4g} (float {float_:.4g})")
    return ", ".join(parts)


def _layers(rows: list[LayerWidth], short: Mapping[str, str]) -> Lined:
    cells = [
        [short[r.layer], r.op, r.width, str(r.elements or "-"), _db(r.loss_db), _db(r.w4_db)]
        for r in rows
    ]
    titles = ["not in 8 bits", "op", "width", "weights", "alone", "alone in w4"]
    return Lined(titles, ["name", "left", "left", "right", "right", "right"], cells)


def _db(level: float | None) -> str:
    return "-" if level is None else db(level)


def _curve(found: Found) -> Lined:
    timed = any(point.forecast.ms is not None for point in found.points)
    titles = ["size", "SQNR", "forecast", "greedy", "layers with weights", ""]
    rows = [_point(point, timed) for point in found.points]
    kinds = ["right"] * 4 + ["left", "left"]
    if timed:
        titles.insert(1, "time")
        kinds.insert(1, "right")
    return Lined(titles, kinds, rows, spare=["greedy"])


def _point(point: Point, timed: bool) -> list[str]:
    widths = ", ".join(f"{n} x {name}" for name, n in point.widths.items())
    cells = [size(round(point.forecast.size)), db(point.sqnr_db), db(point.forecast.sqnr_db)]
    cells += ["-" if point.greedy_db is None else db(point.greedy_db), widths, point.label]
    if timed:
        cells.insert(1, "-" if point.forecast.ms is None else f"{point.forecast.ms:.3g} ms")
    return cells
