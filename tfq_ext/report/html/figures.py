"""Plots as inline SVG whose colours are the page's, so that they follow light and dark.

matplotlib draws with stand-in colours; each is then replaced by a variable of the style sheet.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.report import words
from tfq_ext.report.html import rows
from tfq_ext.report.validation import facts
from tfq_ext.validation.verdict import NotChecked, Validation

WHY = "The HTML report's plots"
# Stand-ins that nothing else draws with -> variables of page.css.
INK, FAINT, FIRST, SECOND, THIRD, BAD, PAGE = (f"#01020{k}" for k in range(1, 8))
VARIABLES = {
    INK: "var(--ink)",
    FAINT: "var(--rule)",
    FIRST: "var(--first)",
    SECOND: "var(--second)",
    THIRD: "var(--third)",
    BAD: "var(--fail)",
    PAGE: "var(--page)",
}
WIDTH = 9.2  # inches at 72 dots: the width of the text
TOP_DB = 80.0  # levels above are drawn here: nobody can tell them apart
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
}


def draw(v: Validation) -> dict[str, str]:
    """Name -> SVG of every plot that the data allow."""
    found = {}
    for name, plot in PLOTS.items():
        svg = plot(v)
        if svg:
            found[name] = svg
    return found


@contextmanager
def _figure(name: str, width: float, height: float) -> Iterator[tuple[Any, Callable[[], str]]]:
    """A figure, and the function that turns it into SVG."""
    matplotlib = need("matplotlib", why=WHY)
    Figure = need("matplotlib.figure", why=WHY).Figure
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, lambda: _svg(figure, name)


def _svg(figure: Any, name: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' id="[a-z_0-9]*_\d+"', "", text)  # figure_1 and the like repeat in every plot
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1)
    for stand_in, variable in VARIABLES.items():
        text = text.replace(stand_in, variable)
    return re.sub(r"font: ([^;\"]*?)'?sans-serif'?[^;\"]*", r"font: \1sans-serif", text)


def layer_error(v: Validation) -> str:
    """Own and accumulated SQNR of every matched layer, in the order of the network."""
    if isinstance(v.comparison, NotChecked) or not v.comparison.rows:
        return ""
    layers = v.comparison.rows
    x = np.arange(len(layers))
    own = _levels([row.own_sqnr_db for row in layers])
    total = _levels([row.sqnr_db for row in layers])
    with _figure("layer error", WIDTH, 3.1) as (figure, svg):
        axes = figure.add_subplot()
        axes.plot(x, total, color=SECOND, linewidth=2, label="in the file: all errors up to here")
        axes.plot(
            x, own, "o", color=FIRST, markersize=4, label="alone: fed with the reference's values"
        )
        axes.set(xlabel="op, in the order of the network", ylabel="SQNR, dB (higher is better)")
        axes.set_xlim(-1, len(layers))
        axes.grid(axis="x", visible=False)
        for rank, row in enumerate(rows.layers(v)):
            k = next((i for i, other in enumerate(layers) if other is row), None)
            height = math.nan if k is None else own[k] if not math.isnan(own[k]) else total[k]
            if not math.isnan(height):
                axes.annotate(
                    str(rank + 1), (k, height), xytext=(0, -11), textcoords="offset points",
                    fontsize=8, ha="center", weight="bold",
                )  # fmt: skip
        axes.legend(loc="upper right", frameon=False, fontsize=8, ncols=2)
        low = np.nanmin(np.concatenate([own, total, [20.0]]))
        high = np.nanmax(np.concatenate([own, total, [20.0]]))
        axes.set_ylim(min(low, 0) - 8, high + 12)
        return svg()


def _levels(values: list[float | None]) -> np.ndarray:
    table = [math.nan if x is None else min(x, TOP_DB) for x in values]
    return np.array(table, np.float64)


def histograms(v: Validation) -> str:
    """Reference values of the worst layers, with the ends of the candidate's grid."""
    if isinstance(v.comparison, NotChecked):
        return ""
    shown = [row for row in v.comparison.worst(6) if row.histogram and row.grid is not None]
    if not shown:
        return ""
    columns = min(3, len(shown))
    lines = math.ceil(len(shown) / columns)
    with _figure("ranges", WIDTH, 2.0 * lines + 0.3) as (figure, svg):
        for k, row in enumerate(shown):
            _histogram(figure.add_subplot(lines, columns, k + 1), row)
        return svg()


def _histogram(axes: Any, row: Any) -> None:
    counts = np.asarray(row.histogram, np.float64)
    low, high = row.range
    edges = np.linspace(low, high if high > low else low + 1, len(counts) + 1)
    tall = np.log10(1 + counts)
    axes.stairs(tall, edges, fill=True, color=FIRST)
    first, last = row.grid
    for end in (first, last):
        axes.axvline(end, color=BAD, linewidth=1.2, linestyle="--")
    reach = max(high, last) - min(low, first)
    axes.set_xlim(min(low, first) - 0.04 * reach, max(high, last) + 0.04 * reach)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.tick_params(labelsize=7)
    axes.set_title(f"{row.op} {words.short(row.tensor, 26)}", fontsize=8, loc="left")


def timeline(v: Validation) -> str:
    """Every op's time along one run, by where it ran."""
    profile = rows.profile_of(v)
    if profile is None or not profile.available or not profile.ops:
        return ""
    ops = sorted(profile.ops, key=lambda op: op.index)
    start = np.concatenate([[0.0], np.cumsum([op.ms for op in ops])])
    if not start[-1] > 0:
        return ""
    with _figure("op timeline", WIDTH, 1.5) as (figure, svg):
        axes = figure.add_subplot()
        _bars(axes, ops, start)
        axes.set(
            xlim=(0, start[-1]), ylim=(0, 2.2), xlabel=f"ms of one run ({facts.ms(start[-1])})"
        )
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, fontsize=8, ncols=4)
        return svg()


def _bars(axes: Any, ops: list[Any], start: np.ndarray) -> None:
    """One bar an op, coloured by where it ran; names of those that take long."""
    places = list(dict.fromkeys(op.where for op in ops))
    colours = dict(zip(places, (FIRST, SECOND, THIRD, INK), strict=False))
    for place in places:
        spans = [(start[k], op.ms) for k, op in enumerate(ops) if op.where == place]
        colour = colours.get(place, INK)
        axes.broken_barh(
            spans, (0, 1), facecolors=colour, label=place or "?", edgecolor=PAGE, linewidth=0.5
        )
    for k, op in enumerate(ops):
        if op.ms > 0.04 * start[-1]:
            name = op.op.replace("_2D", "").lower()
            axes.text(
                start[k] + op.ms / 2, 1.08, name, fontsize=7, rotation=40, ha="left", va="bottom"
            )


PLOTS: dict[str, Callable[[Validation], str]] = {
    "layer_error": layer_error,
    "histograms": histograms,
    "timeline": timeline,
}
