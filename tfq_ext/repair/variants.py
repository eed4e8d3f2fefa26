"""One recipe, several ways: as it stands, equalized, by the preset that it must not lose to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tfq_ext.errors import RecipeError
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.beliefs import Belief, synthetic
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.data_free import believed
from tfq_ext.repair.equalize import Equalized, channel_maxima, equalize
from tfq_ext.repair.observe import observe
from tfq_ext.repair.watch import Watch, unwatched

ABSORBED = 3.0  # deviations; Nagel et al. 1906.04721 section 4.1.3
# One scale a channel: only activations gain. One scale a tensor: the weights need it.
UNSEEN: dict[bool, dict[str, Any]] = {
    True: {"balance": "both", "limit": 4.0},
    False: {"balance": "weights"},
}
# Channels under a cap grow up to it, and samples beyond what is believed are cut: with one scale a
# channel 19.5 dB at 3 times as far, 17.5 dB at once (EfficientNet-Lite0).
MARGIN = {True: 3.0, False: 1.0}
LIMIT = 4.0  # of a factor: MobileNetV2's activations alone 21.3 dB, at 2 20.5, without limit 20.7
Variant = tuple[str, Callable[[], Calibrated], Recipe]


def variants(
    calibrated: Calibrated, recipe: Recipe, *, threads: int = 2, watch: Watch = unwatched
) -> Iterator[Variant]:
    """(name, what to start from, recipe) of everything that is to be made and compared.

    The first one is made where nothing was held back to compare on.
    """
    plain = replace_steps(recipe)
    if calibrated.samples is None and calibrated.norms and recipe.equalize == "on":
        yield "equalized", lambda: equalized_unseen(calibrated, recipe), plain
        return
    possible = calibrated.samples is not None and calibrated.trained is None
    if recipe.equalize == "off" or not possible:
        yield "as it stands", lambda: calibrated, plain
    else:
        yield "equalized", lambda: equalized(calibrated, threads=threads, watch=watch), plain
        if recipe.equalize == "try":
            yield "not equalized", lambda: calibrated, plain
    if recipe.at_least is not None and possible:
        yield recipe.at_least, lambda: calibrated, _without_search(recipe.at_least)


def _without_search(name: str) -> Recipe:
    """That preset, which must be one file."""
    found = load_recipe(name)
    if found.search is not None:
        raise RecipeError(
            f"at_least: got {name!r}, which searches the widths of layers; allowed: a preset "
            "without search, such as 'fast'."
        )
    return found


def replace_steps(recipe: Recipe) -> Recipe:
    """The recipe of one variant."""
    return recipe.changed(equalize="off", absorb=False, at_least=None)


def equalized(calibrated: Calibrated, *, threads: int = 2, watch: Watch = unwatched) -> Calibrated:
    """Channels scaled, and everything observed again."""
    model, kept, apart = calibrated.pivot.model, calibrated.samples, calibrated.held_back
    assert kept is not None
    maxima = channel_maxima(model, watch(kept, label="channels"), threads=threads)
    done = equalize(model, relu6="up", maxima=maxima, balance="activations", limit=LIMIT)
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
