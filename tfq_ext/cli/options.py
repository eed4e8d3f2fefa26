"""Options that several verbs have, and checks of what they were given."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tfq_ext.cli.errors import CHECKPOINT, VERBOSE
from tfq_ext.errors import DataError, OutputError, RecipeError, TfqWarning

if TYPE_CHECKING:
    from tfq_ext.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])


def _remember(key: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        ctx.meta[key] = value
        return value

    return callback


verbose = click.option(
    "--verbose",
    is_flag=True,
    callback=_remember(VERBOSE),
    is_eager=True,
    help="Let the converter's messages and tracebacks through.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on stdout, for machines."
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Threads for LiteRT and the statistics.",
)
checkpoint = click.option(
    "--checkpoint",
    type=click.Path(path_type=Path),
    callback=_remember(CHECKPOINT),
    help="Keep statistics in PATH.npz and PATH.json; a run that was interrupted goes on from them.",
)


def data_options(command: F) -> F:
    """--data, --preprocess and --limit."""
    for option in reversed(
        (
            click.option(
                "--data",
                metavar="PATH",
                help="Representative samples: .npy, .npz, folder of images, TFRecord file or "
                "pattern. 100 samples are usual.",
            ),
            click.option(
                "--preprocess",
                metavar="TEXT",
                help="What to do to 8-bit images, for example "
                "resize=256,crop=224,scale=1/127.5,mean=1.",
            ),
            click.option(
                "--limit",
                type=click.IntRange(min=1),
                help="Use at most so many samples, drawn with the seed.",
            ),
        )
    ):
        command = option(command)
    return command


def task_options(command: F) -> F:
    """--labels, --task, --metric, --output and --signature: what is judged, and how."""
    for option in reversed(
        (
            click.option(
                "--labels",
                metavar="PATH",
                help="One label a sample: .npy, .txt or .csv.  [default: y or labels in the .npz, "
                "or the folders of the images]",
            ),
            click.option(
                "--task",
                help="classification, regression or segmentation.  [default: by the labels]",
            ),
            click.option("--metric", metavar="module:function", help="A measure of your own."),
            click.option(
                "--output", metavar="NAME", help="The output to judge.  [default: the first]"
            ),
            click.option("--signature", help="The signature to run.  [default: the first]"),
        )
    ):
        command = option(command)
    return command


def model_options(command: F) -> F:
    """--signature, --batch and --custom-objects."""
    for option in reversed(
        (
            click.option(
                "--signature", "signatures", multiple=True, help="Keep only this signature."
            ),
            click.option("--batch", type=click.IntRange(min=1), help="Fix an open batch size."),
            click.option(
                "--custom-objects",
                multiple=True,
                metavar="pkg.mod:Class",
                help="A class that a Keras file needs; repeat for several.",
            ),
        )
    ):
        command = option(command)
    return command


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`weights.bits=4` and the like as a nested table; values are TOML, or else plain text.

    Raises:
        RecipeError: a setting without "=", or two that contradict each other.
    """
    import tomllib

    table: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not (key.strip() and equals):
            raise RecipeError(f"--set takes FIELD=VALUE (weights.bits=4), got {setting!r}.")
        try:
            parsed = tomllib.loads(f"{key} = {value}")
        except tomllib.TOMLDecodeError:
            try:
                parsed = tomllib.loads(f"{key} = {_quoted(value)}")
            except tomllib.TOMLDecodeError as error:
                raise RecipeError(f"--set {setting}: cannot be read: {error}.") from None
        _merge(table, parsed, setting)
    if "base" in table:
        raise RecipeError("--set base=... is what --recipe is for.")
    return table


def _quoted(text: str) -> str:
    import json

    return json.dumps(text.strip())


def _merge(into: dict[str, Any], more: dict[str, Any], setting: str) -> None:
    for key, value in more.items():
        below = into.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            _merge(below, value, setting)
        elif key in into:
            raise RecipeError(f"--set {setting}: {key} is set twice.")
        else:
            into[key] = value


def check_target(path: Path, *, inputs: Sequence[str] = ()) -> Path:
    """Find out before the work, not after it, that a file cannot be written.

    Raises:
        OutputError: no such folder, not writable, a folder itself, or one of the inputs.
    """
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"There is no folder {folder} to write {path.name} to. Make it first.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder. Give the name of a file in it.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise OutputError(f"{path} cannot be written (permission denied). Choose another place.")
    for source in inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise OutputError(f"{path} is an input; it is not overwritten. Give another name (-o).")
    return path


def make_folder(path: Path) -> None:
    """The folder, and its parents.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Cannot make the folder {path}: {error.strerror}.") from None


def check_data(data: str | None, recipe: Recipe, name: str) -> None:
    """Find out before the conversion that the samples are missing.

    Raises:
        DataError: the recipe needs data and none were given, or the path leads nowhere.
    """
    if not recipe.needs_data:
        if data is not None:
            text = f"Recipe {name!r} needs no data; {data} is not read."
            warnings.warn(text, TfqWarning, stacklevel=2)
        return
    if data is None:
        raise DataError(
            f"Recipe {name!r} chooses activation ranges, so it needs representative samples: give "
            "--data; 100 samples are usual. Without data use --no-data (Keras models with "
            "BatchNormalization), or --recipe dynamic, weight_only or fp16."
        )
    if not (Path(data).exists() or glob.glob(data)):
        raise DataError(f"--data {data}: there is no such file, folder or pattern.")
