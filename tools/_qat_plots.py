"""Accuracy over steps and moving codes, by way of folding; plot.png and plot.svg."""

from __future__ import annotations

from typing import Any

import numpy as np
from _figures import LOOKS, STYLE, Look
from _qat_plan import METHODS, Run
from _qat_queue import Job
from _qat_results import run_of

from tfq_ext._optional import need

Line = tuple[Look, str]
LINES: dict[str, Line] = {
    "": (LOOKS[0], "corrected and frozen"),
    "-naive": (LOOKS[1], "naive folding"),
    "-unfrozen": (LOOKS[3], "corrected, never frozen"),
    "-static": (LOOKS[2], "folded before training"),
}
BITS = ("w8", "w4")


def run(job: Job) -> list[str]:
    """Two panels a network and number of bits: accuracy, and codes changed by one step."""
    matplotlib = need("matplotlib", why="plots")
    matplotlib.use("Agg")
    plt = need("matplotlib.pyplot", why="plots")
    rows, jitter = job.log().rows("run"), job.log().rows("codes")
    panels = _panels(rows)
    if not panels:
        return ["plot: no watched runs; run the step finetune first"]
    with matplotlib.rc_context(STYLE):
        figure = _drawn(plt, rows, jitter, panels)
        for name in ("plot.png", "plot.svg"):
            metadata = {"Date": None} if "svg" in name else None
            figure.savefig(job.out / name, dpi=80, metadata=metadata)
        plt.close(figure)
    return []


def _drawn(
    plt: Any, rows: dict[str, Any], jitter: dict[str, Any], panels: list[tuple[Run, str]]
) -> Any:
    size = (11, 3.2 * len(panels))
    figure, axes = plt.subplots(len(panels), 2, figsize=size, squeeze=False)
    for (base, bits), (left, right) in zip(panels, axes, strict=True):
        for suffix, look in LINES.items():
            _accuracy(left, _of(rows, base, f"{bits}{suffix}"), look)
            _changes(right, _of(rows, base, f"{bits}{suffix}"), jitter, look)
        title = f"{base.net} x {base.width:g}, W{METHODS[bits].bits}A8"
        left.set(title=title, xlabel="step", ylabel="test accuracy, %")
        right.set(title="weight codes changed", xlabel="step", ylabel="% of codes, one step")
        for axis in (left, right):
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize="small")
    figure.tight_layout()
    return figure


def _panels(rows: dict[str, Any]) -> list[tuple[Run, str]]:
    found: dict[tuple[Run, str], None] = {}
    for name in rows:
        run = run_of(name)
        if run.method in BITS and _of(rows, run, f"{run.method}-naive"):
            base = Run(run.net, run.width, run.relu, 0)
            found[base, str(run.method)] = None
    return list(found)


def _of(rows: dict[str, Any], base: Run, method: str) -> list[dict[str, Any]]:
    """All seeds of a method on a network."""
    wanted = (base.net, base.width, base.relu, method)
    chosen = []
    for name, row in rows.items():
        run = run_of(name)
        if (run.net, run.width, run.relu, run.method) == wanted:
            chosen.append(row)
    return chosen


def _accuracy(axis: Any, rows: list[dict[str, Any]], look: Line) -> None:
    if not rows:
        return
    style, label = look
    traces = 100 * np.array([row["trace"] for row in rows])
    steps = rows[0]["every"] * np.arange(1, traces.shape[1] + 1)
    _line(axis, steps, traces.mean(axis=0), style, label)
    if len(traces) > 1:
        axis.fill_between(
            steps, traces.min(axis=0), traces.max(axis=0), color=style.color, alpha=0.15
        )


def _changes(axis: Any, rows: list[dict[str, Any]], jitter: dict[str, Any], look: Line) -> None:
    found = [row for row in rows if row["changed"]]
    if not found:
        return
    style, label = look
    steps = [step for step, _ in found[0]["changed"]]
    shares = 100 * np.array([[share for _, share in row["changed"]] for row in found])
    for row in found:
        if row["id"] in jitter:
            label = f"{label}; {100 * jitter[row['id']]['share']:.2g} % batch to batch"
            break
    _line(axis, steps, shares.mean(axis=0), style, label)


def _line(axis: Any, x: Any, y: Any, look: Look, label: str) -> None:
    axis.plot(x, y, color=look.color, marker=look.marker, linestyle=look.dash, label=label)
