"""The recipes that have a name."""

from __future__ import annotations

from typing import NamedTuple

from tfq_ext._table import Table
from tfq_ext.recipe.fields import ActivationGrid, Search, WeightGrid
from tfq_ext.recipe.model import Recipe


class Preset(NamedTuple):
    """A recipe and the line that describes it."""

    description: str
    recipe: Recipe


FAST = Recipe(calibrator="percentile:99.99", output_calibrator="mse")
GPTQ = WeightGrid(scale="output", rounding="gptq")
GPTQ_4 = WeightGrid(bits=4, scale="output", rounding="gptq")
PRESETS: Table[Preset] = Table(
    "recipe",
    {
        "int8": Preset(
            "8-bit integers throughout; each range chosen by the error it causes. The default.",
            Recipe(),
        ),
        "int16x8": Preset(
            "16-bit activations, 8-bit weights: close to float, slower than int8.",
            Recipe(activations=ActivationGrid(bits=16)),
        ),
        "fast": Preset(
            "int8 in seconds: ranges from their distributions alone.",
            FAST,
        ),
        "best": Preset(
            "int8 in minutes: weights by GPTQ, channels equalized if that helps; never below fast.",
            Recipe(weights=GPTQ, equalize="try", at_least="fast"),
        ),
        "int4": Preset(
            "4-bit weights by GPTQ, then distilled: half of int8's bytes, slower on CPU. Minutes.",
            Recipe(weights=GPTQ_4, bias="match", distill=20, at_least="int4-fast"),
        ),
        "int4-fast": Preset(
            "4-bit weights by GPTQ, biases matched. A minute, without TensorFlow.",
            FAST.changed(weights=GPTQ_4.model_dump(), bias="match"),
        ),
        "mixed": Preset(
            "4-bit weights where that costs little: 3 dB below 8 bits at most, or 30 dB. Minutes.",
            FAST.changed(
                weights=GPTQ.model_dump(), search=Search(max_loss=3.0, enough=30.0).model_dump()
            ),
        ),
        "int4-nearest": Preset(
            "4-bit weights to the nearest code: for comparison.",
            Recipe(weights=WeightGrid(bits=4, scale="mse"), bias="keep"),
        ),
        "data-free": Preset(
            "int8 from a Keras model's BatchNormalization statistics. Needs no data. Seconds.",
            Recipe(statistics="norms", calibrator="minmax"),
        ),
        "fp16": Preset(
            "float16 weights, float arithmetic: half the bytes of float32. Needs no data.",
            Recipe(mode="fp16"),
        ),
        "dynamic": Preset(
            "8-bit weights, activations quantized at run time. Needs no data.",
            Recipe(mode="dynamic"),
        ),
        "weight_only": Preset(
            "8-bit weights, float arithmetic: a quarter of the bytes. Needs no data.",
            Recipe(mode="weight_only"),
        ),
        "int8-minmax": Preset(
            "int8 with exact min/max ranges, no clipping: for comparison.",
            Recipe(calibrator="minmax", output_calibrator="minmax", bias="keep"),
        ),
        "int8-per-tensor": Preset(
            "int8 with one scale per weight tensor: for comparison, and for old accelerators.",
            Recipe(weights=WeightGrid(per_channel=False)),
        ),
    },
)


class PresetRow(NamedTuple):
    """One row of `tfq recipes`."""

    name: str
    mode: str
    weights: str
    activations: str
    calibrator: str
    needs_data: bool
    description: str


def describe_presets() -> tuple[PresetRow, ...]:
    """Every preset as a row of short texts; "-" where the mode does not read a field."""
    return tuple(_row(name, preset) for name, preset in PRESETS.items())


def _row(name: str, preset: Preset) -> PresetRow:
    recipe = preset.recipe
    return PresetRow(
        name=name,
        mode=recipe.mode,
        weights=_weights(recipe),
        activations=(recipe.activations.name or "-") if recipe.needs_ranges else "-",
        calibrator=recipe.calibrator if recipe.needs_ranges else "-",
        needs_data=recipe.needs_data,
        description=preset.description,
    )


def _weights(recipe: Recipe) -> str:
    """Grid of the weights; each that a search may choose."""
    if recipe.mode == "fp16":
        return "float16"
    channels = "per channel" if recipe.weights.per_channel else "per tensor"
    if recipe.search is None:
        return f"int{recipe.weights.bits} {channels}"
    words = {"w4": "int4", "w8": "int8", "float": "float"}
    names = [words[choice] for choice in recipe.search.choices if choice in words]
    return f"{' or '.join(names)}, {channels}"
