"""quantize_each(): several recipes for one model, which is converted and observed once."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import RecipeError
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.data_free import InputRange
from tfq_ext.result import Result
from tfq_ext.samples import Preprocess

AnyRecipe = str | Path | Mapping[str, Any] | Recipe


def quantize_each(
    model: object,
    data: object = None,
    *,
    recipes: Mapping[str, AnyRecipe] | Sequence[AnyRecipe],
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    input_range: InputRange | None = None,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    verbose: bool = False,
    show_progress: bool | None = None,
    **fields: Any,
) -> dict[str, Result]:
    """Quantize a model by several recipes: for each the bytes that `quantize` gives.

    The model is converted once, and the samples are observed once for all recipes that ask the
    same of them (ranges by "auto" hold samples back; ReLU for ReLU6 is another network).

    Args:
        model, data: as for `quantize`; so preprocess, limit, input_range, signatures, batch,
            custom_objects, threads, verbose, show_progress. Data are read several times: give a
            callable in place of a generator.
        recipes: name -> recipe, each as `quantize` takes it; or preset names.
        **fields: of every recipe, laid over it.

    Returns:
        name -> Result, in the order given; `evaluate` takes {name: result.content}.

    Raises:
        RecipeError: no recipe, or one that is wrong; before any work.
        ModelError, DataError, StrictError, EmissionError: as `quantize`.
    """
    wanted = {name: _with(recipe, fields) for name, recipe in _named(recipes).items()}
    pivot = to_float(
        model, signatures=signatures, batch=batch, custom_objects=custom_objects, verbose=verbose
    )
    seen: dict[Hashable, Calibrated] = {}
    results = {}
    for name, recipe in wanted.items():
        asked = _asked(recipe)
        if asked not in seen:
            seen[asked] = calibrate(
                pivot,
                data,
                recipe,
                preprocess=preprocess,
                limit=limit,
                input_range=input_range,
                threads=threads,
                show_progress=show_progress,
            )
        results[name] = finish(seen[asked], recipe, threads=threads, show_progress=show_progress)
    return results


def _named(recipes: Mapping[str, AnyRecipe] | Sequence[AnyRecipe]) -> dict[str, AnyRecipe]:
    if isinstance(recipes, str):
        recipes = [recipes]
    named = (
        dict(recipes)
        if isinstance(recipes, Mapping)
        else {str(recipe): recipe for recipe in recipes}
    )
    if not named:
        raise RecipeError("quantize_each() needs at least one recipe, got none.")
    return named


def _with(recipe: AnyRecipe, fields: Mapping[str, Any]) -> Recipe:
    read = load_recipe(recipe)
    return load_recipe({"base": read, **fields}) if fields else read


def _asked(recipe: Recipe) -> Hashable:
    """What observation depends on: recipes alike in this may share one."""
    return (
        recipe.mode if recipe.needs_data else "",
        recipe.digest() if recipe.is_unseen else "",  # rules may give ranges of inputs
        recipe.needs_data,
        recipe.relu6,
        recipe.activations.bits == 16,
        recipe.limit,
        recipe.seed,
        recipe.hold_back,
        recipe.uses_auto,
        bool(recipe.distill),
    )
