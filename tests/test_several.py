"""quantize_each(): the bytes of quantize, from one conversion and few observations."""

import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext
from tfq_ext import several
from tfq_ext.errors import RecipeError
from tfq_ext.recipe import load_recipe

CONTENT = residual(spread=30.0).to_bytes()
DATA = images(30)
RECIPES = {
    "fast": "fast",
    "mse": {"base": "fast", "calibrator": "mse"},
    "auto": "int8",
    "unbiased": {"base": "int8", "bias": "keep"},
    "half": "fp16",
    "wide": "int16x8",
}


def test_each_is_what_quantize_gives_alone(monkeypatch):
    looks, kept = [], several.calibrate

    def counting(pivot, data, recipe, **options):
        looks.append(recipe)
        return kept(pivot, data, recipe, **options)

    monkeypatch.setattr(several, "calibrate", counting)
    made = tfq_ext.quantize_each(CONTENT, DATA, recipes=RECIPES)
    assert list(made) == list(RECIPES)
    for name, recipe in RECIPES.items():
        assert made[name].content == tfq_ext.quantize(CONTENT, DATA, recipe=recipe).content, name
    assert len(looks) == 4, "fast and mse share one, auto and unbiased another"


def test_what_observation_depends_on_is_never_shared():
    """Without samples rules give the range of an input, so each recipe looks for itself."""
    free = [
        load_recipe({"base": "data-free", "rules": [{"tensor": "image", "range": ends}]})
        for ends in ([-1, 1], [-2, 2])
    ]
    apart = [*free, *(load_recipe(n) for n in ("fast", "int8", "int16x8", "fp16", "int4"))]
    assert len({several._asked(recipe) for recipe in apart}) == len(apart)


def test_names_and_fields():
    made = tfq_ext.quantize_each(CONTENT, DATA, recipes=["fast", "int8-minmax"], seed=3)
    assert list(made) == ["fast", "int8-minmax"]
    assert {result.recipe.seed for result in made.values()} == {3}
    assert list(tfq_ext.quantize_each(CONTENT, recipes="fp16")) == ["fp16"]


def test_mistakes_are_told_before_any_work():
    with pytest.raises(RecipeError, match="at least one"):
        tfq_ext.quantize_each(CONTENT, DATA, recipes={})
    with pytest.raises(RecipeError, match="Did you mean 'fast'"):
        tfq_ext.quantize_each("absent.tflite", DATA, recipes=["fst"])


def test_data_may_be_a_callable():
    made = tfq_ext.quantize_each(
        CONTENT, lambda: ({"image": x[None]} for x in DATA), recipes=["fast", "int16x8"]
    )
    alone = tfq_ext.quantize(CONTENT, np.asarray(DATA), recipe="fast")
    assert made["fast"].content == alone.content
