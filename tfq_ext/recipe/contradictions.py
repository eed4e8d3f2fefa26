"""What a recipe may not say at once; every check returns sentences, none when all is well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tfq_ext.recipe.rule import OP_FIELDS, TENSOR_FIELDS

if TYPE_CHECKING:
    from tfq_ext.recipe.model import Recipe

_CALIBRATION = ("activations", "calibrator", "output_calibrator", "hold_back", "strict")
_REPAIR = ("bias", "statistics", "equalize", "absorb", "distill", "at_least", "search")

# Mode -> fields that it never reads. Setting one is an error, not a note: who writes
# `calibrator` next to fp16 expects something to happen.
UNREAD: dict[str, tuple[str, ...]] = {
    "static": ("weights.symmetric",),
    "dynamic": ("weights.symmetric", *_REPAIR, *_CALIBRATION),
    "weight_only": ("weights.symmetric", *_REPAIR, *_CALIBRATION),
    "fp16": ("weights", *_REPAIR, *_CALIBRATION),
    "simulate": ("strict", "distill", "at_least", "search"),
}
_WHY = {
    "static": "kernels take symmetric weights only; use mode = 'simulate'",
    "dynamic": "activation ranges are found at run time",
    "weight_only": "activations stay float",
    "fp16": "it stores weights as float16 and quantizes nothing",
    "simulate": "its file is float throughout",
}
UNREAD_IN_RULES: dict[str, tuple[str, ...]] = {
    "static": (),
    "dynamic": ("activation_bits", *TENSOR_FIELDS),
    "weight_only": ("activation_bits", *TENSOR_FIELDS),
    "fp16": (*OP_FIELDS[1:], *TENSOR_FIELDS),
    "simulate": ("activation_bits",),
}
_WHY_RULES = {**_WHY, "simulate": "all activations have the width that `activations` states"}
# (mode, activations) -> types that the graph's inputs and outputs may have.
IO_TYPES: dict[tuple[str, str], tuple[str, ...]] = {
    ("static", "int8"): ("float32", "int8", "uint8"),
    ("static", "int16"): ("float32", "int16"),
}


def _unread_fields(recipe: Recipe) -> Iterator[str]:
    default = type(recipe).model_construct()
    for path in UNREAD[recipe.mode]:
        value = _at(recipe, path)
        if value != _at(default, path):
            yield (
                f"{path} = {_show(value)} has no effect with mode = {recipe.mode!r} "
                f"({_WHY[recipe.mode]}); remove one of the two."
            )


def _unread_rules(recipe: Recipe) -> Iterator[str]:
    for index, rule in enumerate(recipe.rules):
        for name in rule.stated(UNREAD_IN_RULES[recipe.mode]):
            yield (
                f"rules[{index}].{name} has no effect with mode = {recipe.mode!r} "
                f"({_WHY_RULES[recipe.mode]}); remove one of the two."
            )


def _activations(recipe: Recipe) -> Iterator[str]:
    if recipe.mode != "static":
        return
    if recipe.activations.name is None:
        yield (
            f"activations = {_show(recipe.activations)} has no kernels; allowed with mode = "
            "'static': 'int8', 'int16'. Any other grid needs mode = 'simulate'."
        )
    for index, rule in enumerate(recipe.rules):
        if rule.activation_bits not in (None, 8, 16):
            yield (
                f"rules[{index}].activation_bits: got {rule.activation_bits}; allowed with "
                "mode = 'static': 8, 16."
            )


def _io_types(recipe: Recipe) -> Iterator[str]:
    grid = recipe.activations.name or ""
    allowed = IO_TYPES.get((recipe.mode, grid), ("float32",))
    with_grid = f" and activations = {grid!r}" if recipe.mode == "static" else ""
    for name in ("input_type", "output_type"):
        if (value := getattr(recipe, name)) not in allowed:
            yield (
                f"{name}: got {value!r}; allowed with mode = {recipe.mode!r}{with_grid}: "
                f"{', '.join(map(repr, allowed))}."
            )


def _float_output(recipe: Recipe) -> Iterator[str]:
    if recipe.output_calibrator == "float" and recipe.output_type != "float32":
        yield (
            "output_calibrator = 'float' keeps the output unquantized, but output_type = "
            f"{recipe.output_type!r}; use output_type = 'float32'."
        )


def _search(recipe: Recipe) -> Iterator[str]:
    if recipe.search is None or recipe.mode != "static":
        return
    if recipe.activations.name == "int16":
        yield "search chooses widths around 8-bit activations; use activations = 'int8'."
    if recipe.at_least is not None:
        yield (
            f"at_least = {recipe.at_least!r} may swap the file for another one, which search "
            "has not measured; remove one of the two."
        )
    if recipe.distill:
        yield (
            f"distill = {recipe.distill} would learn anew for every file that search makes; "
            "distill with the recipe that it writes."
        )
    if recipe.strict and "float" in recipe.search.choices:
        yield (
            "strict = true forbids float ops, but search.choices has 'float'; use "
            "choices = ['w4', 'w8']."
        )


_NEEDS_SAMPLES: dict[str, tuple[object, str]] = {  # field -> (value, what to do without samples)
    "bias": ("match", "use bias = 'analytic'"),
    "equalize": ("try", "use 'on' or 'off'"),
    "calibrator": ("auto", "use calibrator = 'minmax'"),
    "output_calibrator": ("auto", "use output_calibrator = 'minmax'"),
}
_COMPARES = "compares on samples, and statistics = 'norms' has none"


def _without_samples(recipe: Recipe) -> Iterator[str]:
    """What statistics = "norms" cannot do, and what only it can."""
    if recipe.statistics == "samples" or recipe.mode != "static":
        if recipe.absorb:
            yield "absorb = True needs statistics = 'norms' and equalize = 'on'."
        return
    if not recipe.needs_ranges:
        return  # the mode does not read the field, which is said already
    for name, (value, advice) in _NEEDS_SAMPLES.items():
        if getattr(recipe, name) == value:
            yield f"{name} = {value!r} {_COMPARES}: {advice}."
    if recipe.distill:
        yield f"distill = {recipe.distill} learns from samples, and statistics = 'norms' has none."
    for name in ("at_least", "search"):
        if getattr(recipe, name) is not None:
            yield f"{name} {_COMPARES}: leave it out."
    for index, rule in enumerate(recipe.rules):
        if rule.calibrator == "auto":
            yield f"rules[{index}].calibrator = 'auto' {_COMPARES}: use 'minmax'."
    if recipe.absorb and recipe.equalize != "on":
        yield "absorb = True is the last step of equalizing: set equalize = 'on'."


CHECKS: tuple[Callable[[Recipe], Iterator[str]], ...] = (
    _unread_fields,
    _unread_rules,
    _activations,
    _io_types,
    _float_output,
    _search,
    _without_samples,
)


def contradictions(recipe: Recipe) -> list[str]:
    """Every contradiction in the recipe, one sentence each."""
    return [sentence for check in CHECKS for sentence in check(recipe)]


def _at(recipe: Recipe, path: str) -> Any:
    value: Any = recipe
    for part in path.split("."):
        value = getattr(value, part)
    return value


def _show(value: Any) -> str:
    if hasattr(value, "model_dump"):
        return repr(value.model_dump(exclude_defaults=True))
    return repr(value)
