"""A calibrated model with its channels scaled between layers, observed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tfq_ext._table import Table
from tfq_ext.recipe import Recipe
from tfq_ext.repair.beliefs import Belief, synthetic
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.data_free import believed
from tfq_ext.repair.equalize import Equalized, channel_peaks, equalize
from tfq_ext.repair.observe import observe
from tfq_ext.repair.watch import Watch, unwatched

ABSORBED = 3.0  # deviations; Nagel et al. 1906.04721 section 4.1.3
# One scale a channel: only activations gain. One scale a tensor: the weights need it.
UNSEEN: dict[bool, dict[str, Any]] = {
    True: {"balance": "both", "limit": 4.0},
    False: {"balance": "weights"},
}
# Channels under a cap grow up to it, and samples beyond what is believed are cut: with one scale a
# channel 3 times as far was better than once on EfficientNet-Lite0. That was before padding counted
# in means; not measured again since.
MARGIN = {True: 3.0, False: 1.0}
# Activations alone on MobileNetV2, dB: limit 4 21.3, 2 20.5, none 20.7. But weights at 8 bits then
# fall from 33.8 to 28.9: of both, a share of .75 for activations gives 22.9, 1 22.6, .6 22.9.
BALANCE: dict[str, Any] = {"relu6": "up", "balance": "both", "share": 0.75, "limit": 4.0}
# How far a channel may go, see `Peaks.reach`. EfficientNet-Lite0 has channels that fire in a few
# images; scaled up to their maximum so far they are cut in others.
STYLES: Table[float] = Table("style of equalization", {"carefully": 0.9, "boldly": 1.0})


def equalized(
    calibrated: Calibrated,
    style: str = "carefully",
    *,
    threads: int = 2,
    watch: Watch = unwatched,
) -> Calibrated:
    """Channels scaled in one of STYLES, and everything observed again."""
    return in_styles(calibrated, (style,), threads=threads, watch=watch)[style]


def in_styles(
    calibrated: Calibrated,
    styles: Iterable[str] = tuple(STYLES),
    *,
    threads: int = 2,
    watch: Watch = unwatched,
) -> dict[str, Calibrated]:
    """Style -> the same scaled so; one look at the channels serves all. Itself: nothing moved."""
    kept = calibrated.samples
    assert kept is not None
    model = calibrated.pivot.model
    peaks = channel_peaks(model, watch(kept, label="channels"), threads=threads)
    reach = {style: peaks.reach(STYLES[style]) for style in styles}
    return {style: _scaled(calibrated, maxima, threads, watch) for style, maxima in reach.items()}


def _scaled(
    calibrated: Calibrated, maxima: Mapping[str, np.ndarray], threads: int, watch: Watch
) -> Calibrated:
    kept, apart = calibrated.samples, calibrated.held_back
    assert kept is not None
    done = equalize(calibrated.pivot.model, maxima=maxima, **BALANCE)
    if not done.links:
        return calibrated
    stats = observe(done.model, watch(kept, label="observing"), threads=threads)
    judged = None
    if apart is not None:
        judged = observe(done.model, watch(apart, label="observing"), threads=threads)
        stats = stats.merge(judged)
    pivot = replace(calibrated.pivot, model=done.model)
    rewritten = {**calibrated.rewritten, "equalize": sorted(done.factors)}
    norms = following(calibrated.norms, done)
    return replace(
        calibrated, pivot=pivot, rewritten=rewritten, stats=stats, judged=judged, norms=norms
    )


def equalized_unseen(calibrated: Calibrated, recipe: Recipe) -> Calibrated:
    """The same by what is believed of the channels; then, if asked for, high biases absorbed."""
    model, norms = calibrated.pivot.model, calibrated.norms
    per_channel = recipe.weights.per_channel
    maxima = {
        name: np.maximum(-belief.reach[0], belief.reach[1]) * MARGIN[per_channel]
        for name, belief in believed(calibrated).tensors.items()
    }
    done = equalize(
        model,
        relu6="up",
        maxima=maxima,
        extremes=_extremes(norms) if recipe.absorb else None,
        **UNSEEN[per_channel],
    )
    if not (done.links or done.absorbed):
        return calibrated
    rewritten = {
        **calibrated.rewritten,
        "equalize": sorted(done.factors),
        "absorb": sorted(done.absorbed),
    }
    pivot = replace(calibrated.pivot, model=done.model)
    moved = replace(calibrated, pivot=pivot, rewritten=rewritten, norms=following(norms, done))
    return replace(moved, stats=synthetic(done.model, believed(moved)))


def _extremes(norms: Mapping[str, Belief]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What channels hardly ever leave, before their activation."""
    return {
        name: (b.mean - ABSORBED * b.deviation, b.mean + ABSORBED * b.deviation)
        for name, b in norms.items()
    }


def following(norms: Mapping[str, Belief], done: Equalized) -> dict[str, Belief]:
    """Statistics of the equalized network: divided as its channels were, less what was absorbed."""
    return {
        name: belief.changed(1.0 / done.factors.get(name, 1.0), -done.absorbed.get(name, 0.0))
        for name, belief in norms.items()
    }
