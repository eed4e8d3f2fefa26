"""SQNR of every channel's weights before and after BatchNorm is folded into them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import _figures as figures
import numpy as np
from _paper import Claim, Found, Grid, Lab, Picture, Published, Row
from _paper_networks import Network

from tfq_ext import rewrite
from tfq_ext.rounding import to_rows, weight_params
from tfq_ext.spec import INT8_WEIGHT

POOR = 20.0  # dB; a channel below has lost all but three bits
SLACK_DB = 3.0  # of a channel's SQNR by one scale a channel; folding multiplies it by a constant
WAYS = ("before, layer", "after, layer", "before, channel", "after, channel")
AXES = {"Conv2D": 3, "DepthwiseConv2D": 2}  # channels of a Keras kernel


def run(lab: Lab, published: Published) -> Found:
    """Tables and curves of every network that has a BatchNorm."""
    found = {
        n.name: lab.known("folded", n.name, partial(_measured, n)) for n in lab.networks.values()
    }
    header = ("network", "channels", "median, dB", "worst 5 %, dB", f"below {POOR:g} dB, %")
    rows = tuple(
        (f"{name}: {way}", *_cells(np.asarray(row[way])))
        for name, row in found.items()
        for way in WAYS
    )
    grid = Grid("SQNR of a channel's weights in 8 bits, symmetric", header, rows)
    caption = (
        "SQNR of each channel's weights in 8 bits, channels in order; folding pulls the left end "
        "down where a layer has one scale."
    )
    size = (3.4 * max(len(found), 2), 3.4)
    picture = Picture("channels", caption, partial(_draw, found), size)
    return Found((grid,), tuple(_claims(found)), (picture,))


def _cells(levels: np.ndarray) -> tuple[str, ...]:
    low = float(np.percentile(levels, 5))
    poor = 100 * float(np.mean(levels < POOR))
    return f"{levels.size}", f"{np.median(levels):.1f}", f"{low:.1f}", f"{poor:.1f}"


def _measured(network: Network) -> Row:
    """Way -> SQNR of every channel of every convolution whose BatchNorm was folded, dB, sorted."""
    before = {layer.name: layer for layer in _convolutions(network.keras)}
    folded = rewrite.fold_batch_norm(network.keras).model
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for after in _convolutions(folded):
        first, second = (np.asarray(x.kernel, np.float32) for x in (before[after.name], after))
        if first.shape == second.shape and np.array_equal(first, second):
            continue  # no BatchNorm behind it
        axis = AXES[type(after).__name__]
        for name, kernel in (("before", first), ("after", second)):
            for way, one in (("layer", None), ("channel", 0)):
                found[f"{name}, {way}"] += _levels(to_rows(kernel, axis), one)
    return {way: sorted(round(v, 2) for v in values) for way, values in found.items()}


def _convolutions(model: Any) -> Iterator[Any]:
    return (layer for layer in model.layers if type(layer).__name__ in AXES)


def _levels(rows: np.ndarray, axis: int | None) -> list[float]:
    r"""\( 10 \log_{10} \sum w^2 / \sum (w - \hat w)^2 \) of every channel, float32[C, n], dB.

    Channels that are 0 throughout have no SQNR. Source: Krishnamoorthi 1806.08342, appendix A.
    """
    back = weight_params(rows, INT8_WEIGHT.on(axis)).fake_quant(rows)
    signal = np.square(rows, dtype=np.float64).sum(axis=1)
    noise = np.square(rows - back, dtype=np.float64).sum(axis=1)
    alive = signal > 0
    floor = signal[alive] * 1e-12  # 120 dB: a channel on the grid has no noise
    return [float(v) for v in 10 * np.log10(signal[alive] / np.maximum(noise[alive], floor))]


def _claims(found: Mapping[str, Row]) -> Iterator[Claim]:
    for name, row in found.items():
        low = {way: float(np.percentile(row[way], 5)) for way in WAYS}
        poor = {way: 100 * float(np.mean(np.asarray(row[way]) < POOR)) for way in WAYS}
        yield Claim(
            f"{name}: by layer, folding leaves more channels below {POOR:g} dB",
            f"{poor['before, layer']:.1f} % before, {poor['after, layer']:.1f} % after",
            poor["after, layer"] > poor["before, layer"],
            must=False,
        )
        apart = abs(low["before, channel"] - low["after, channel"])
        yield Claim(
            f"{name}: by channel, folding changes nothing (slack {SLACK_DB:g} dB)",
            f"{low['before, channel']:.1f} dB before, {low['after, channel']:.1f} dB after",
            apart <= SLACK_DB,
        )
        yield Claim(
            f"{name}: folded, one scale a channel is better for the worst 5 % of the channels",
            f"{low['after, channel']:.1f} dB, by layer {low['after, layer']:.1f} dB",
            low["after, channel"] > low["after, layer"],
        )


def _draw(found: Mapping[str, Row], figure: Any) -> None:
    axes = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axis, (name, row) in zip(axes, found.items(), strict=True):
        count = len(row[WAYS[0]])
        share = 100 * np.arange(count) / max(count - 1, 1)
        series = {way: (share.tolist(), row[way]) for way in WAYS}
        figures.lines(axis, series, f"{name}: channels, %", "SQNR, dB" if axis is axes[0] else "")
    figures.shared_legend(figure, axes[0], 4)
