"""BatchNorm in training (corrected, frozen, naive, folded before), and ReLU against ReLU6."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import _figures as figures
import numpy as np
from _paper import Claim, Found, Grid, Lab, Picture, Published, Row, percent
from _paper_sim import by_recipe
from _paper_trained import TOP_1, Outcome, bench_results, cell, line_up, read, title_id
from _paper_tune import WAYS, Ground
from _qat_plan import FLOAT

from tfq_ext._optional import need
from tfq_ext.validation.accuracy import evaluate

FOLDINGS = ("", "-naive", "-unfrozen", "-static")
NAMES = ("corrected and frozen", "naive", "corrected, never frozen", "folded before training")
ROWS = 64  # images of a batch whose statistics move the weights


def run(lab: Lab, published: Published) -> Found:
    """Accuracy by way of folding, and how far two batches' weights are apart."""
    grids, claims = [], []
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
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False, fontsize=8)


def relu(lab: Lab, published: Published) -> Found:
    """The same network with ReLU and with ReLU6: trained so, and with the cap taken off."""
    grids, claims = [], []
    pairs = list(_pairs(lab))
    if pairs:
        header = ("network", "training", "ReLU6", "ReLU")
        rows = tuple((name, a.method, cell(a), cell(b)) for name, a, b in pairs)
        grids.append(Grid(TOP_1, header, rows))
        for name, a, b in pairs:
            if a.lost and b.lost:
                apart = b.lost[0] - a.lost[0]
                text = f"{name}, {a.method}: ReLU loses no more than ReLU6 (slack 1 point)"
                shown = f"ReLU6 lost {a.drop}, ReLU {b.drop} points"
                claims.append(Claim(text, shown, apart <= 0.01, must=False))
    for network in lab.networks.values():
        row = lab.known("relu", network.id, partial(_uncapped, network))
        grids.append(_uncapped_table(network.name, row))
    return Found(tuple(grids), tuple(claims))


def _pairs(lab: Lab) -> Iterator[tuple[str, Outcome, Outcome]]:
    """(network, with ReLU6, with ReLU) for every method that both have."""
    for method in (FLOAT, "w8", "w4"):
        found = {one.network: one for one in read(lab, method)}
        for name, one in found.items():
            other = found.get(name.replace(", CIFAR", ", ReLU, CIFAR"))
            if other and ", ReLU" not in name:
                yield name, one, other


def _uncapped(network: Any) -> Row:
    """SQNR and agreement with float of int8, with the network's caps and without."""
    files = {
        FLOAT: network.pivot.model.to_bytes(),
        "ReLU6": by_recipe(network, "int8-minmax"),
        "ReLU": by_recipe(network, {"base": "int8-minmax", "relu6": "relu"}),
    }
    found = evaluate(files, network.judges(), reference=FLOAT, threads=2)
    return {
        name: {"top1": one.top1, "agreement": one.agreement, "sqnr_db": one.sqnr_db}
        for name, one in found.items()
        if name != FLOAT
    }


def _uncapped_table(name: str, row: Row) -> Grid:
    rows = tuple(
        (how, percent(r["top1"]), percent(r["agreement"]), f"{r['sqnr_db']:.1f}")
        for how, r in row.items()
    )
    header = ("activation", "top-1, %", "same class as float with its caps, %", "SQNR, dB")
    return Grid(f"{name}: `int8-minmax`, its caps taken off without training", header, rows)
