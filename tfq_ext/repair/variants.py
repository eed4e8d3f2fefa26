"""One recipe, several ways: as it stands, equalized, by the preset that it must not lose to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tfq_ext.errors import RecipeError
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.equalize import channel_maxima, equalize
from tfq_ext.repair.observe import observe
from tfq_ext.repair.watch import Watch, unwatched

LIMIT = 4.0  # of a factor: MobileNetV2's activations alone 21.3 dB, at 2 20.5, without limit 20.7
Variant = tuple[str, Callable[[], Calibrated], Recipe]


def variants(
    calibrated: Calibrated, recipe: Recipe, *, threads: int = 2, watch: Watch = unwatched
) -> Iterator[Variant]:
    """(name, what to start from, recipe) of everything that is to be made and compared.

    The first one is made where nothing was held back to compare on.
    """
    plain = replace_steps(recipe)
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
    return recipe.changed(equalize="off", at_least=None)


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
    return replace(calibrated, pivot=pivot, rewritten=rewritten, stats=stats, judged=judged)
