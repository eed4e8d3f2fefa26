"""Sensitivity and curve as pictures. Names are text: nothing in them is taken for mathematics."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfq_ext._files import write_atomic
from tfq_ext._optional import need
from tfq_ext.errors import OutputError
from tfq_ext.report.search_text.layers import freed
from tfq_ext.report.words import size
from tfq_ext.search.found import Found
from tfq_ext.search.sensitivity import ALL_BUT, ONLY, Sensitivity
from tfq_ext.validation.comparison.labels import labels

WHY = "Plots"
SUFFIXES = (".png", ".svg", ".pdf")
STYLE = {
    "text.parse_math": False,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "svg.hashsalt": "tfq",
}
# Told apart by eyes that see few colours: Okabe and Ito; and by shape.
LOOKS = {
    (8, 0): ("#0072b2", "o", "weights, 8 bits"),
    (4, 0): ("#d55e00", "s", "weights, 4 bits"),
    (0, 8): ("#009e73", "^", "activations, 8 bits"),
    (0, 16): ("#cc79a7", "v", "activations, 16 bits"),
}
BUT_LOOKS = {4: ("#d55e00", "s"), 8: ("#0072b2", "o")}


def check_plot(path: str | os.PathLike[str]) -> Path:
    """The path, if it is one that a plot can be written to.

    Raises:
        OutputError: another suffix.
    """
    target = Path(path)
    if target.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{target}: a plot ends in {', '.join(SUFFIXES)}.")
    return target


@contextmanager
def _figure(path: str | os.PathLike[str], width: float, height: float) -> Iterator[Any]:
    """A figure that is written when the block ends."""
    target = check_plot(path)
    matplotlib = need("matplotlib", why=WHY)
    Figure = need("matplotlib.figure", why=WHY).Figure
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in any script
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        buffer, kind = io.BytesIO(), target.suffix[1:].lower()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    write_atomic(target, buffer.getvalue())


def plot_sensitivity(found: Sensitivity, path: str | os.PathLike[str]) -> Path:
    """Every layer's SQNR alone, and what freeing it gains, in the order of execution."""
    names = found.layers
    only = [key for key in LOOKS if _levels(found, names, key)]
    gains = _gains(found, names)
    panels = [bool(only), bool(gains)]
    height = max(2.8, 0.19 * len(names) + 1.4)
    with _figure(path, 5.2 + 3.2 * sum(panels), height) as figure:
        axes = figure.subplots(1, max(sum(panels), 1), sharey=True, squeeze=False)[0]
        if only:
            _draw_only(axes[0], found, names, only)
        if gains:
            _draw_gains(axes[-1], gains)
        short = labels({row.layer: row.op for row in found.rows if row.layer})
        axes[0].set_yticks(range(len(names)), [short[name] for name in names], fontsize=7)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
    return Path(path)


def _draw_only(
    axes: Any, found: Sensitivity, names: Sequence[str], only: list[tuple[int, int]]
) -> None:
    for key in only:
        color, marker, label = LOOKS[key]
        points = _levels(found, names, key)
        x, y = [v for _, v in points], [k for k, _ in points]
        axes.plot(x, y, marker, color=color, markersize=4, linestyle="none", label=label)
    axes.set(xlabel="SQNR of the outputs, dB, only this quantized (right is better)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)


def _draw_gains(axes: Any, gains: dict[tuple[int, int], list[tuple[int, float]]]) -> None:
    height = 0.8 / len(gains)
    for n, ((w, a), points) in enumerate(gains.items()):
        color = BUT_LOOKS.get(w, ("#555555", "o"))[0]
        y = [k - 0.4 + height * (n + 0.5) for k, _ in points]
        light = 1.0 if a == 8 else 0.5
        axes.barh(
            y, [g for _, g in points], height, color=color, alpha=light, label=f"w{w}a{a} elsewhere"
        )
    axes.axvline(0, color="#555555", linewidth=0.8)
    axes.set(xlabel="dB gained by leaving this layer float")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=8)


def _levels(
    found: Sensitivity, names: Sequence[str], key: tuple[int, int]
) -> list[tuple[int, float]]:
    """(layer's place, dB); levels without noise have no place on the axis."""
    points = []
    for k, name in enumerate(names):
        row = found.find(name, ONLY, weights=key[0], activations=key[1])
        if row is not None and math.isfinite(row.sqnr_db):
            points.append((k, row.sqnr_db))
    return points


def _gains(
    found: Sensitivity, names: Sequence[str]
) -> dict[tuple[int, int], list[tuple[int, float]]]:
    place = {name: k for k, name in enumerate(names)}
    gains: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for row in (r for r in found.rows if r.scope == ALL_BUT):
        gain = freed(found, row)
        if gain is not None:
            gains.setdefault((row.weights, row.activations), []).append((place[row.layer], gain))
    return gains


def plot_found(found: Found, path: str | os.PathLike[str]) -> Path:
    """Measured SQNR by size, with forecast and greedy beside it."""
    points = [p for p in found.points if math.isfinite(p.sqnr_db)]
    with _figure(path, 7.2, 4.4) as figure:
        axes = figure.add_subplot()
        unit, name = (1e6, "MB") if found.base.size >= 1e6 else (1e3, "kB")
        x = [p.forecast.size / unit for p in points]
        measured = [p.sqnr_db for p in points]
        axes.plot(x, measured, "o-", color="#0072b2", label="measured", linewidth=1.6)
        forecast = [p.forecast.sqnr_db for p in points]
        axes.plot(x, forecast, "--", color="#0072b2", label="forecast", linewidth=1, alpha=0.7)
        greedy = [(a, p.greedy_db) for a, p in zip(x, points, strict=True) if p.greedy_db]
        if greedy:
            label = "forecast, greedy choice"
            axes.plot(*zip(*greedy, strict=True), ":", color="#d55e00", label=label, linewidth=1.4)
        here = (found.measured.size / unit, found.measured.sqnr_db)
        if math.isfinite(here[1]):
            axes.plot(*here, "*", color="#d55e00", markersize=14, label="the recipe's file")
        for p, a in zip(points, x, strict=True):
            if p.label and p.label != "found":
                axes.annotate(
                    p.label, (a, p.sqnr_db), xytext=(6, -12), textcoords="offset points", fontsize=8
                )
        _goals(axes, found, unit)
        axes.set(xlabel=f"file size, {name}", ylabel="SQNR of the outputs, dB (higher is better)")
        axes.margins(x=0.08, y=0.12)
        axes.legend(frameon=False, fontsize=8)
    return Path(path)


def _goals(axes: Any, found: Found, unit: float) -> None:
    """The budgets as lines."""
    if found.goal.max_size is not None:
        limit = found.goal.max_size
        axes.axvline(limit / unit, color="#555555", linewidth=0.9)
        axes.annotate(
            f"at most {size(round(limit))}",
            (limit / unit, 0.02),
            xycoords=("data", "axes fraction"),
            xytext=(3, 0),
            textcoords="offset points",
            fontsize=8,
            color="#555555",
        )
    if found.goal.min_sqnr is not None:
        axes.axhline(found.goal.min_sqnr, color="#555555", linewidth=0.9)
