"""Recipes: what decides how a model is quantized, as data."""

from tfq_ext.recipe.fields import ActivationGrid, Search, WeightGrid
from tfq_ext.recipe.load import load_recipe
from tfq_ext.recipe.model import OpChoice, Recipe, TensorChoice
from tfq_ext.recipe.presets import PRESETS, Preset, PresetRow, describe_presets
from tfq_ext.recipe.rule import Rule

__all__ = [
    "ActivationGrid",
    "OpChoice",
    "PRESETS",
    "Preset",
    "PresetRow",
    "Recipe",
    "Rule",
    "Search",
    "TensorChoice",
    "WeightGrid",
    "describe_presets",
    "load_recipe",
]
