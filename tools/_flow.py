"""The chart of docs/guide/choosing.md: questions on the left, recipes on the right."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from tfq_ext._files import write_atomic
from tfq_ext._optional import need

# (question, answer "yes" leads to, in which words)
STEPS = (
    ("Samples of real input?", "no", "Must it be integer?\n  yes: --no-data     no: fp16, dynamic"),
    ("For a GPU delegate alone?", "yes", "fp16"),
    ("Hardware with 16-bit activations?", "yes", "int16x8"),
    ("Only seconds to spare?", "yes", "fast"),
    ("int8: does it keep what you need?\ntfq evaluate", "yes", "int8: ship it by tfq validate"),
    (
        "Where is it lost?\ntfq compare",
        "one tensor",
        "mend it: calibrator, ReLU6,\nconcatenation, preprocessing",
    ),
    ("best: does it keep what you need?", "yes", "best"),
    ("Do a few layers lose it?\ntfq sensitivity", "yes", "tfq search: more bits for those"),
    ("Training is left", "", "tfq.qat.quantize_aware"),
)
SMALLER = (
    ("Too large at 8 bits?", "a little", "mixed: 4 bits where they do no harm"),
    ("", "by half", "int4; if it loses too much,\nquantize_aware(weight_bits=4)"),
)
ASK, GET, INK = "#e8f1f8", "#fdf1e0", "#222222"
STEP, HEIGHT = 1.0, 0.66


def draw_flow(path: Path) -> None:
    """Write the chart as an SVG, whose text can be searched."""
    matplotlib = need("matplotlib", why="Figures")
    made = need("matplotlib.figure", why="Figures")
    rows = [*STEPS, None, *SMALLER]
    style = {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "tfq"}
    with matplotlib.rc_context(style):
        drawn = made.Figure(figsize=(7.2, 0.56 * len(rows)))
        axes = drawn.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 10), ylim=(-len(rows) * STEP + 0.4, 0.6))
        axes.axis("off")
        for k, row in enumerate(rows):
            if row is not None:
                _row(axes, -k * STEP, row, last=k + 1 == len(rows) or not (rows[k + 1] or ("",))[0])
        buffer = io.BytesIO()
        drawn.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    write_atomic(path, buffer.getvalue())


def _row(axes: Any, y: float, row: tuple[str, str, str], *, last: bool) -> None:
    question, answer, leads = row
    arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.9}
    if question:
        _box(axes, 0.15, y, 3.9, question, ASK)
        if not last:
            axes.annotate("", (2.1, y - STEP + HEIGHT / 2), (2.1, y - HEIGHT / 2), arrowprops=arrow)
    _box(axes, 5.5, y, 4.3, leads, GET)
    start = (4.05, y) if question else (2.1, y + STEP - HEIGHT / 2)
    if question:
        axes.annotate("", (5.5, y), start, arrowprops=arrow)
    else:
        bend = {**arrow, "connectionstyle": "angle,angleA=-90,angleB=180,rad=0"}
        axes.annotate("", (5.5, y), start, arrowprops=bend)
    axes.text(4.78, y + 0.06, answer, ha="center", va="bottom", fontsize=8, color=INK)


def _box(axes: Any, x: float, y: float, width: float, text: str, color: str) -> None:
    patches = need("matplotlib.patches", why="Figures")
    shape = patches.FancyBboxPatch(
        (x, y - HEIGHT / 2),
        width,
        HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.12",
        facecolor=color,
        edgecolor="#8a8a8a",
        linewidth=0.8,
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8.5, color=INK)
