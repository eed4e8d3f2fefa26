"""`tfq quantize`: any float model to a verified .tflite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq quantize model.keras --data images/ --preprocess scale=1/127.5,mean=1
  tfq quantize model.tflite --data samples.npz --limit 200 -o small.tflite
  tfq quantize saved_model/ --data x.npy --recipe int16x8 --strict
  tfq quantize model.keras --recipe dynamic
  tfq quantize model.keras --no-data --input-range=-1,1
  tfq quantize model.keras --data x.npy --recipe my.toml --set weights.bits=4
  tfq quantize model.keras --data x.npy --recipe mixed --recipe-output widths.toml

{EXIT_CODES}"""

IO_TYPES = click.Choice(["float32", "int8", "uint8", "int16"])


@click.command(epilog=EPILOG)
@click.argument("model")
@options.data_options
@click.option(
    "--no-data",
    is_flag=True,
    help="Choose ranges by the BatchNormalization layers of a Keras model: --recipe data-free.",
)
@click.option(
    "--input-range",
    multiple=True,
    metavar="[NAME=]MIN,MAX",
    help="What the float inputs hold, for --no-data; repeat for several.",
)
@click.option("--recipe", default="int8", show_default=True, help="Name (tfq recipes) or file.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The .tflite to write.  [default: MODEL.RECIPE.tflite, here]",
)
@click.option("--calibrator", metavar="NAME", help="Such as auto, minmax, mse, percentile:99.99.")
@click.option("--relu6", type=click.Choice(["keep", "relu"]), help="relu drops the caps at 6.")
@click.option("--strict/--no-strict", default=None, help="An op that stays float is an error.")
@click.option("--input-type", type=IO_TYPES, help="What the file takes.")
@click.option("--output-type", type=IO_TYPES, help="What the file gives.")
@click.option("--seed", type=click.IntRange(min=0), help="Of everything random.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change any field of the recipe; repeat for several.",
)
@options.model_options
@options.threads
@options.checkpoint
@options.as_json
@click.option(
    "--recipe-output",
    type=click.Path(path_type=Path),
    help="Write the recipe as .toml or .json; of mixed, with the widths that it found.",
)
@click.option("--report", type=click.Path(path_type=Path), help="Write the account as JSON too.")
@options.verbose
def quantize(
    model: str,
    no_data: bool,
    input_range: tuple[str, ...],
    recipe: str,
    output: Path | None,
    report: Path | None,
    recipe_output: Path | None,
    settings: tuple[str, ...],
    as_json: bool,
    **chosen: Any,
) -> None:
    """Quantize a float MODEL into a verified .tflite.

    MODEL is a .keras or .h5 file, a SavedModel folder, or a float .tflite of any origin. The file
    is read back after writing: every integer, scale and zero point is the chosen one.
    """
    if no_data:
        recipe = unseen_recipe(recipe, chosen["data"])
    wanted = changed_recipe(recipe, settings, chosen)
    inputs = [model, *([chosen["data"]] if chosen["data"] else [])]
    target = options.check_target(output or default_output(model, recipe), inputs=inputs)
    for more in (report, recipe_output):
        if more is not None:
            options.check_target(more, inputs=[*inputs, str(target)])
    if recipe_output is not None and recipe_output.suffix.lower() not in (".toml", ".json"):
        raise click.UsageError(f"{recipe_output}: a recipe file ends in .toml or .json.")
    options.check_data(chosen["data"], wanted, recipe)

    import tfq_ext

    result = tfq_ext.quantize(
        model,
        recipe=wanted,
        input_range=parse_input_range(input_range),
        custom_objects=chosen.pop("custom_objects") or None,
        signatures=chosen.pop("signatures") or None,
        **chosen,
    )
    result.save(target)
    if recipe_output is not None:
        result.recipe.save(recipe_output)
    if report is not None:
        from tfq_ext._files import write_atomic

        write_atomic(report, f"{result.to_json()}\n".encode())
    tell(result, target, as_json)


RECIPE_FIELDS = ("calibrator", "relu6", "strict", "input_type", "output_type", "seed")


def changed_recipe(recipe: str, settings: tuple[str, ...], chosen: dict[str, Any]) -> Any:
    """The recipe with --set and the options that are fields of it; takes those out of `chosen`."""
    from tfq_ext.errors import RecipeError
    from tfq_ext.recipe import load_recipe

    table = options.parse_settings(settings)
    for name in RECIPE_FIELDS:
        value = chosen.pop(name)
        if value is not None and name in table:
            raise RecipeError(f"{name} is given by --set and by an option of its own; keep one.")
        if value is not None:
            table[name] = value
    return load_recipe({**table, "base": load_recipe(recipe)}) if table else load_recipe(recipe)


def unseen_recipe(recipe: str, data: str | None) -> str:
    """The recipe that --no-data means: data-free, or the one that is named and needs no data.

    Raises:
        DataError: data, or a recipe that needs some, beside --no-data.
    """
    from tfq_ext.errors import DataError
    from tfq_ext.recipe import load_recipe

    if data is not None:
        raise DataError(f"--no-data and --data {data} contradict each other; keep one.")
    source = click.get_current_context().get_parameter_source("recipe")
    if source is ParameterSource.DEFAULT:
        return "data-free"
    if load_recipe(recipe).needs_data:
        raise DataError(
            f"Recipe {recipe!r} chooses by samples and --no-data gives none: leave --recipe out, "
            "or say statistics = 'norms' in a recipe of your own (base = 'data-free')."
        )
    return recipe


def parse_input_range(texts: tuple[str, ...]) -> Any:
    """ "MIN,MAX", or one "NAME=MIN,MAX" an input, as `quantize(input_range=...)` takes them.

    Raises:
        DataError: something else.
    """
    from tfq_ext.errors import DataError

    ranges: dict[str, tuple[float, float]] = {}
    for text in texts:
        name, _, ends = text.rpartition("=")
        try:
            low, high = (float(end) for end in ends.split(","))
        except ValueError:
            raise DataError(
                f"--input-range takes MIN,MAX or NAME=MIN,MAX (--input-range=-1,1), got {text!r}."
            ) from None
        if name in ranges or (ranges and "" in (name, *ranges)):
            raise DataError("--input-range: give one MIN,MAX for all, or one NAME=MIN,MAX each.")
        ranges[name] = (low, high)
    return ranges.get("", ranges) or None


def default_output(model: str, recipe: str) -> Path:
    """MODEL.RECIPE.tflite in the working directory."""
    stem = Path(model).resolve().name if Path(model).is_dir() else Path(model).stem
    return Path(f"{stem}.{Path(recipe).stem if Path(recipe).is_file() else recipe}.tflite")


def tell(result: Any, target: Path, as_json: bool) -> None:
    """The account: a plain one for people, all of it for machines."""
    if as_json:
        from tfq_ext.report.machine import dumps

        click.echo(dumps({"output": str(target), **result.to_dict()}))
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.tables import account_view

    stdout().print(account_view(result, target))
