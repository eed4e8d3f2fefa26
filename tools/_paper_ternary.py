"""FGQ's trade: the larger the group that shares a magnitude, the fewer multiplications and bytes,
and the further from float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import _figures as figures
from _paper import (
    Cells,
    Claim,
    Found,
    Grid,
    Lab,
    Picture,
    Published,
    Row,
    decibels,
    kilobytes,
    percent,
    settled,
)
from _paper_half import lost
from _paper_networks import Network
from _paper_sim import FLOAT, judged, level, recipes

from tfq_ext.recipe import Recipe
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.weights import layers

GROUPS = (4, 8, 16, 64)
ALPHA_BITS = 8  # of a group's magnitude
SLOW = "bundled"  # 26 layers on data; left out of a quick run
SLACK_DB = 1.0  # SQNR may rise by so much from one group size to the next larger one


def recipe(rounding: str) -> dict[str, Any]:
    """The first and last layer in 8 bits, as FGQ has them; biases matched stand for its new
    BatchNorm statistics."""
    rules = [
        {"position": "first", "rounding": "nearest"},
        {"position": "last", "rounding": "nearest"},
    ]
    ranges = {"calibrator": "percentile:99.99", "output_calibrator": "mse"}
    weights = {"rounding": rounding}
    return {"base": "int8", **ranges, "bias": "match", "weights": weights, "rules": rules}


FORMS: dict[str, Any] = {
    "w8": recipe("nearest"),
    **{f"fgq:{n}": recipe(f"fgq:{n}") for n in GROUPS},
    "twn": recipe("twn"),
}


def run(lab: Lab, published: Published) -> Found:
    """Every group size on every network."""
    wanted = {n: FORMS[n] for n in ("w8", "fgq:4", "fgq:16", "twn")}
    chosen = wanted if lab.quick else FORMS
    grids, found = [], {}
    small = (n for n in lab.networks.values() if not (n.large or (lab.quick and n.name == SLOW)))
    for network in small:
        rows = judged(lab, network, recipes(network, chosen))
        found[network.name] = rows
        grids.append(_table(network, rows))
    caption = "SQNR of the logits against float by the number of weights that share a magnitude."
    picture = Picture("groups", caption, partial(_draw, found))
    return Found(tuple(grids), tuple(_claims(found)), (picture,))


def _table(network: Network, rows: Mapping[str, Row]) -> Grid:
    weights = _weights(network)
    header: Cells = ("weights", "packed, kB", "file, kB", "zipped, kB", "multiplications")
    header += ("top-1, %", "lost, points (95 %)", "same class, %", "SQNR, dB")
    cells = []
    for name, row in rows.items():
        packed, products = _ideal(name, weights)
        cells.append(
            (
                *(name, kilobytes(packed), kilobytes(row["bytes"]), kilobytes(row["zipped"])),
                *(percent(products), percent(row["top1"]), lost(row)),
                *(percent(row["agreement"]), decibels(row["sqnr_db"])),
            )
        )
    note = (
        f"Packed: weights alone, by hand: 2 bits a ternary weight and {ALPHA_BITS} a magnitude, "
        "8 bits in the first and last layer; 32 for float. Multiplications: share of float's in "
        "the ternary layers, one for each group of N; twn: one a channel."
    )
    return Grid(f"{network.name}: {network.about}", header, tuple(cells), (note,))


def _weights(network: Network) -> list[tuple[int, int, int]]:
    """(channels out, kernel positions, channels in) of every layer with weights, in order."""
    model = network.pivot.model
    found = []
    for layer in layers(model, op_choices(model, Recipe()).ops):
        shape = layer.graph.shape(int(layer.op.inputs[layer.fact.weight]))
        channels = shape[layer.fact.axis]
        found.append((channels, layer.taps, prod(shape) // channels // layer.taps))
    return found


def _ideal(name: str, weights: list[tuple[int, int, int]]) -> tuple[float, float | None]:
    """(bytes of packed weights, share of multiplications that stay) by the group size."""
    sizes = [prod(shape) for shape in weights]
    if name in (FLOAT, "w8"):
        return sum(sizes) * (4 if name == FLOAT else 1), None
    middle = weights[1:-1]
    groups = sum(_groups(name, *shape) for shape in middle)
    inner = sum(sizes[1:-1])
    packed = (2 * inner + ALPHA_BITS * groups) / 8 + sizes[0] + sizes[-1]
    return packed, groups / inner


def _groups(name: str, channels: int, taps: int, inputs: int) -> int:
    """How many magnitudes a layer has; a depthwise kernel groups its positions."""
    if name == "twn":
        return channels
    n = int(name.partition(":")[2])
    length, rows = (taps, 1) if inputs == 1 else (inputs, taps)
    return channels * rows * -(-length // n)


def _claims(found: Mapping[str, Mapping[str, Row]]) -> Iterator[Claim]:
    for name, rows in found.items():
        steps = [n for n in rows if n.startswith("fgq:")]
        levels = [level(rows[n]) for n in steps]
        shown = ", ".join(f"{n} {v:.1f}" for n, v in zip(steps, levels, strict=True))
        yield Claim(
            f"{name}: larger groups are no nearer to float (slack {SLACK_DB} dB)",
            f"{shown} dB",
            all(b <= a + SLACK_DB for a, b in pairwise(levels)),
            settled(name),
        )
        drop = rows["fgq:4"]["drop"][0]
        yield Claim(
            f"{name}: groups of 4, not trained, lose at most 4.2 points",
            f"{100 * drop:+.1f} points",
            drop <= 0.042,
            must=False,
        )
        a, b = level(rows["fgq:4"]), level(rows["twn"])
        shown = f"fgq:4 {a:.1f} dB, twn {b:.1f} dB"
        text = f"{name}: groups of 4 are nearer to float than one a channel"
        yield Claim(text, shown, a > b, settled(name))


def _draw(found: Mapping[str, Mapping[str, Row]], figure: Any) -> None:
    axes = figure.add_subplot()
    series = {}
    for name, rows in found.items():
        sizes = [int(n[4:]) for n in rows if n.startswith("fgq:")]
        series[name] = (sizes, [level(rows[f"fgq:{n}"]) for n in sizes])
    figures.lines(axes, series, "weights that share a magnitude", "SQNR of the logits, dB")
    axes.set_xscale("log", base=2)
    ticks = sorted({n for sizes, _ in series.values() for n in sizes})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    figures.legend(axes)
