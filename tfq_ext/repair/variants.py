"""One recipe, several ways: as it stands, equalized, by the preset that it must not lose to."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tfq_ext.errors import RecipeError
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.scaled import equalized, equalized_unseen, in_styles
from tfq_ext.repair.sketch import promising
from tfq_ext.repair.watch import Watch, unwatched

STANDING = "as it stands"
Variant = tuple[str, Callable[[], Calibrated], Recipe]


def variants(
    calibrated: Calibrated,
    recipe: Recipe,
    judge: Callable[[bytes], float] | None = None,
    *,
    threads: int = 2,
    watch: Watch = unwatched,
) -> Iterator[Variant]:
    """(name, what to start from, recipe) of everything that is to be made and compared.

    The first one is made where nothing was held back to compare on.

    Args:
        calibrated, recipe: what is wanted.
        judge: how near a file is to float on the held-back samples, dB; None: there are none.
        threads, watch: as elsewhere.
    """
    plain = replace_steps(recipe)
    if calibrated.samples is None and calibrated.norms and recipe.equalize == "on":
        yield "equalized", lambda: equalized_unseen(calibrated, recipe), plain
        return
    possible = calibrated.samples is not None and calibrated.trained is None
    wanted = recipe.equalize if possible else "off"
    ways = {STANDING: calibrated}
    if wanted == "on":
        ways = {"equalized": equalized(calibrated, threads=threads, watch=watch)}
    elif wanted == "try" and judge is not None:
        for style, way in in_styles(calibrated, threads=threads, watch=watch).items():
            if way is not calibrated:
                ways[f"equalized {style}"] = way
        ways = {name: ways[name] for name in promising(ways, plain, judge)}
    for name, way in ways.items():
        yield name, lambda way=way: way, plain  # type: ignore[misc]
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
