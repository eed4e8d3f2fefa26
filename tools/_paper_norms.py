"""BatchNorm in training: corrected and frozen, naive, never frozen, folded before."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import _figures as figures
import numpy as np
from _paper import Claim, Found, Grid, Lab, Picture, Published, Row, percent
from _paper_trained import TOP_1, Outcome, bench_results, cell, line_up, title_id
from _paper_tune import WAYS, Ground
from _qat_plan import FLOAT

from tfq_ext._optional import need

FOLDINGS = ("", "-naive", "-unfrozen", "-static")
NAMES = ("corrected and frozen", "naive", "corrected, never frozen", "folded before training")
ROWS = 64  # images of a batch whose statistics move the weights


def run(lab: Lab, published: Published) -> Found:
    """Accuracy by way of folding, and how far two batches' weights are apart."""
    grids: list[Grid] = []
    claims: list[Claim] = []
    for bits in ("w8", "w4"):
        lines = line_up(lab, (FLOAT, *(f"{bits}{suffix}" for suffix in FOLDINGS)))
        header = ("network", "float, fine-tuned", *NAMES)
        rows = tuple((key, *map(cell, row)) for key, row in lines)
        if rows:
            grids.append(Grid(f"{bits[1]}-bit weights: {TOP_1}", header, rows))
            claims += _no_worse(bits, lines)
    moved = {
        ground.network.name: lab.known("jitter", ground.id, partial(_jitter, ground))
        for ground in lab.grounds.values()
    }
    grids.append(_jitter_table(moved))
    claims += _steady(moved)
    traces = list(_traces(lab))
    pictures = () if not traces else (Picture("steps", STEPS, partial(_draw, traces), (7.2, 3.4)),)
    return Found(tuple(grids), tuple(claims), pictures)


STEPS = (
    "Test accuracy over the steps of fine-tuning, 8-bit weights, mean over seeds: corrected and "
    "frozen against the others (bench_qat's log)."
)


def _no_worse(bits: str, lines: list[tuple[str, list[Outcome | None]]]) -> Iterator[Claim]:
    for key, (_, ours, naive, *_) in lines:
        if ours and naive:
            apart = ours.accuracy - naive.accuracy
            text = (
                f"{key}, {bits[1]} bits: corrected and frozen no worse than naive (slack 1 point)"
            )
            yield Claim(text, f"{100 * apart:+.2f} points", apart >= -0.01, must=False)


def _jitter(ground: Ground) -> Row:
    """Shares of codes and of weights that differ between two batches, by way of folding."""
    from _qat_watch import batch_jitter

    build = need("tfq_ext.qat.build", why="training")
    batches = [ground.images[k * ROWS : (k + 1) * ROWS] for k in range(2)]
    found: Row = {}
    for mode in ("corrected", "naive"):
        recipe = WAYS["w8"].recipe()
        start = ground.images[:ROWS]
        how = {"recipe": recipe, "batch_norm": mode, "calibrator": "minmax"}
        model = build.quantize_aware(ground.network.keras, start, **how)
        codes, moved = batch_jitter(model, batches)
        found[mode] = [codes, moved]
    return found


def _jitter_table(moved: dict[str, Row]) -> Grid:
    rows = tuple(
        (name, mode, percent(codes, 4), percent(weights, 4))
        for name, row in moved.items()
        for mode, (codes, weights) in ((m, row[m]) for m in ("corrected", "naive"))
    )
    header = ("network", "folding", "codes that differ, %", "weights, % of their norm")
    note = (
        "Where each channel's scale follows its largest weight, the batch's variance falls out of "
        "the codes and moves the scales alone, so the second column is what jitters."
    )
    title = f"Weights of two batches of {ROWS} images, all variables held, BatchNorm in training"
    return Grid(title, header, rows, (note,))


def _steady(moved: dict[str, Row]) -> Iterator[Claim]:
    for name, row in moved.items():
        (codes, weights), (_, naive) = row["corrected"], row["naive"]
        yield Claim(
            f"{name}: corrected weights do not depend on the batch, naively folded ones do",
            f"{100 * weights:.4f} % of their norm, naive {100 * naive:.2f} %",
            codes == 0 and weights < 1e-6 < naive,
        )


def _traces(lab: Lab) -> Iterator[tuple[str, dict[str, tuple[list[int], np.ndarray]]]]:
    """(network, way of folding -> steps and accuracy) where the log of bench_qat has both."""
    results = bench_results(lab)
    if results is None:
        return
    for base in results.bases():
        found = {}
        for suffix, name in zip(FOLDINGS, NAMES, strict=True):
            ids = [
                f"{title_id(base)}-s{seed}.w8{suffix}"
                for seed in results.seeds(base, f"w8{suffix}")
            ]
            rows = [results.runs[i] for i in ids]
            if rows:
                trace = 100 * np.mean([row["trace"] for row in rows], axis=0)
                steps = [int(rows[0]["every"]) * (k + 1) for k in range(len(trace))]
                found[name] = (steps, trace)
        if len(found) > 1:
            yield f"{base.net} x {base.width:g}", found


def _draw(traces: list[Any], figure: Any) -> None:
    axes = figure.subplots(1, len(traces), squeeze=False)[0]
    for axis, (name, series) in zip(axes, traces, strict=True):
        figures.lines(axis, series, f"{name}: step", "test accuracy, %" if axis is axes[0] else "")
    figures.shared_legend(figure, axes[0], 2)
