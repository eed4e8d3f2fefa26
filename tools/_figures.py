"""One look for the figures of all tools: Okabe and Ito's colours, with a marker, a dash and a hatch
each, so that a figure printed in grey, or seen by eyes that tell few colours apart, can be read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfq_ext._files import write_atomic
from tfq_ext._optional import need

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
}
DPI = 120
Points = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class Look:
    """How one series is drawn, in every figure alike."""

    color: str
    marker: str
    dash: str
    hatch: str


LOOKS = (
    Look("#0072b2", "o", "-", ""),
    Look("#d55e00", "s", "--", "///"),
    Look("#009e73", "^", "-.", "..."),
    Look("#cc79a7", "v", ":", "xxx"),
    Look("#e69f00", "D", "-", "\\\\\\"),
    Look("#56b4e9", "P", "--", "+++"),
    Look("#555555", "X", "-.", "ooo"),
)


@contextmanager
def figure(path: Path, width: float = 7.2, height: float = 3.6) -> Iterator[Any]:
    """A figure (inches) that is written as a PNG when the block ends."""
    matplotlib = need("matplotlib", why="Plots")
    made = need("matplotlib.figure", why="Plots")
    with matplotlib.rc_context(STYLE):
        drawn = made.Figure(figsize=(width, height), layout="constrained")
        yield drawn
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    write_atomic(path, buffer.getvalue())


def bars(
    axes: Any, groups: Sequence[str], series: Mapping[str, Sequence[float | None]], label: str
) -> None:
    """Groups of bars beside each other; None leaves a gap.

    Args:
        axes: to draw on.
        groups: names along the x axis.
        series: name -> one value a group.
        label: of the y axis, with the unit.
    """
    width = 0.8 / max(len(series), 1)
    for k, (name, values) in enumerate(series.items()):
        look = LOOKS[k % len(LOOKS)]
        at = [x - 0.4 + width * (k + 0.5) for x, v in enumerate(values) if v is not None]
        tall = [v for v in values if v is not None]
        style = {"edgecolor": "white", "linewidth": 0.4}
        axes.bar(at, tall, width, color=look.color, hatch=look.hatch, label=name, **style)
    turned = max(map(len, groups), default=0) * len(groups) > 70
    axes.set_xticks(range(len(groups)), groups)
    axes.tick_params("x", rotation=30 if turned else 0)
    for text in axes.get_xticklabels() if turned else ():
        text.set_horizontalalignment("right")
    axes.set_ylabel(label)
    axes.grid(visible=False, axis="x")


def lines(axes: Any, series: Mapping[str, Points], x: str, y: str) -> None:
    """Points joined by lines.

    Args:
        axes: to draw on.
        series: name -> (x, y).
        x, y: labels of the axes, with units.
    """
    for k, (name, (across, up)) in enumerate(series.items()):
        look = LOOKS[k % len(LOOKS)]
        marker = look.marker if len(across) <= 40 else ""
        style = {"color": look.color, "linestyle": look.dash, "markersize": 5}
        axes.plot(np.asarray(across), np.asarray(up), marker=marker, label=name, **style)
    axes.set(xlabel=x, ylabel=y)


def legend(axes: Any, columns: int = 3) -> None:
    """Above the axes, where it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0)}
        axes.legend(ncols=columns, frameon=False, fontsize=8, **place)


def shared_legend(figure: Any, axes: Any, columns: int = 4) -> None:
    """One above all panels, of the series in one of them."""
    handles, labels = axes.get_legend_handles_labels()
    place = {"loc": "outside upper center", "frameon": False, "fontsize": 8}
    figure.legend(handles, labels, ncols=columns, **place)
