"""Widths as rules of a recipe, so that `tfq quantize --recipe` makes the same file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tfq_ext.recipe import OpChoice, Recipe
from tfq_ext.recipe.match import REGEX
from tfq_ext.repair.planning import op_choices
from tfq_ext.search.materials import FOUR_BIT_SCALE
from tfq_ext.search.units import FLOAT, Unit, Width
from tfq_ext.tflite.read import Model

_GLOB = "*?["


def to_recipe(
    pivot: Model,
    recipe: Recipe,
    units: tuple[Unit, ...],
    choice: Mapping[str, Width],
    *,
    limit: int | None = None,
) -> Recipe:
    """The recipe with a rule for every op that differs from it.

    A rule for "a" also matches a part of the fused name "a;b": rules for fused names come later
    and say what those ops have, for later rules win.

    Args:
        pivot: float model.
        recipe: what the search started from; its own rules stay in front.
        units, choice: who has which width.
        limit: number of samples, if the caller gave one: it decides the ranges too.
    """
    wanted = {op: choice[unit.name] for unit in units for op in unit.ops}
    weighted = {op for unit in units if unit.weight for op in unit.ops[:1]}
    original = op_choices(pivot, recipe).ops
    rules: list[dict[str, Any]] = []
    for fused in (False, True):
        present = op_choices(pivot, _with(recipe, rules, limit)).ops
        for op in (op for op in wanted if (";" in op) == fused):
            scale = original[op].weight_scale
            if wanted[op].weights == 4 and scale == "max":
                scale = FOUR_BIT_SCALE
            settings = _differences(present[op], wanted[op], scale if op in weighted else "")
            if found := dict(settings):
                rules.append({"tensor": pattern(op), **found})
    return _with(recipe, rules, limit)


def _with(recipe: Recipe, rules: list[dict[str, Any]], limit: int | None) -> Recipe:
    fields = {} if limit is None else {"limit": limit}
    return recipe.changed(rules=[*recipe.to_dict()["rules"], *rules], **fields)


def _differences(present: OpChoice, width: Width, scale: str) -> Iterator[tuple[str, Any]]:
    """Fields that a rule must set; `scale` is "" for an op without weights."""
    if width == FLOAT:
        if not present.keep_float:
            yield "keep_float", True
        return
    if present.keep_float:
        yield "keep_float", False
    if present.activation_bits != width.activations:
        yield "activation_bits", width.activations
    if scale and present.weight_bits != width.weights:
        yield "weight_bits", width.weights
    if scale and present.weight_scale != scale:
        yield "weight_scale", scale


def pattern(name: str) -> str:
    """A glob that matches this name only: `[*]` for a star, and so on."""
    escaped = "".join(f"[{c}]" if c in _GLOB else c for c in name)
    return f"[r]{escaped[1:]}" if name.startswith(REGEX) else escaped
