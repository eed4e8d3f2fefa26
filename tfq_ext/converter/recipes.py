"""From a mode and the attributes around it to the Recipe that quantize() follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfq_ext.converter.modes import Asked
from tfq_ext.recipe import Recipe, Rule, load_recipe

# Attribute of the plain converter -> what it changes in a recipe that has integer weights.
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "_experimental_disable_per_channel": {"weights": {"per_channel": False}},
    "_experimental_disable_per_channel_quantization_for_dense_layers": {
        "rules": [Rule(op="FULLY_CONNECTED", per_channel=False).model_dump(exclude_none=True)]
    },
}


def build(
    base: str | Path | Mapping[str, Any] | Recipe,
    settings: Any,
    asked: Asked,
    *,
    calibrator: str | None = None,
    rounding: str | None = None,
    strict: bool | None = None,
) -> Recipe:
    """`base` with everything on top that the converter's attributes say.

    Args:
        base: as `quantize(recipe=...)` takes it.
        settings: the plain converter, for `_experimental_disable_per_channel` and the like.
        asked: input and output types, where they are not float32.
        calibrator, rounding, strict: the attributes of those names; None leaves the recipe's.

    Raises:
        RecipeError: they contradict each other, or the recipe.
    """
    recipe = load_recipe(base)
    over: dict[str, Any] = {"base": recipe}
    if recipe.mode != "fp16":
        for name, change in _ATTRIBUTES.items():
            if getattr(settings, name, False):
                over |= change
    if rounding is not None:
        over["weights"] = {**over.get("weights", {}), "rounding": rounding}
    if calibrator is not None:
        over["calibrator"] = calibrator
    if strict is not None and recipe.mode == "static":
        over["strict"] = strict
    for name in ("input_type", "output_type"):
        if (wanted := getattr(asked, name)) != "float32":
            over[name] = wanted
    return load_recipe(over)
