"""Options of the verbs that measure layers: `tfq sensitivity` and `tfq search`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tfq_ext.cli import options

F = TypeVar("F", bound=Callable[..., Any])


_OPTIONS = (
    click.option(
        "--evaluation",
        metavar="PATH",
        help="Samples that measure.  [default: some of --data, those held back first]",
    ),
    click.option("--labels", metavar="PATH", help="Of --evaluation: .npy, .txt or .csv."),
    click.option(
        "--task", help="classification, regression or segmentation.  [default: by labels]"
    ),
    click.option("--output", metavar="NAME", help="Output to judge.  [default: the first]"),
    click.option(
        "--label-offset",
        type=int,
        default=0,
        help="Added to every label (1: class 0 is background).",
    ),
    click.option(
        "--measure-on",
        type=click.IntRange(min=1),
        default=32,
        show_default=True,
        help="Measure on at most so many samples.",
    ),
    click.option("--recipe", default="int8", show_default=True, help="Name or file to start from."),
)


def measuring_options(command: F) -> F:
    """What is quantized, and on what samples it is measured."""
    for option in reversed((options.data_options, *_OPTIONS)):
        command = option(command)
    return command


def machine_options(command: F) -> F:
    """--signature, --batch, --custom-objects, --threads, --checkpoint, --json, --verbose."""
    for option in reversed(
        (
            options.model_options,
            options.threads,
            options.checkpoint,
            options.as_json,
            options.verbose,
        )
    ):
        command = option(command)
    return command


def prepared(chosen: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Keywords for the library: empty repeatable options are None, JSON shows no bars."""
    for name in ("custom_objects", "signatures"):
        chosen[name] = chosen[name] or None
    if quiet:
        chosen["show_progress"] = False
    return chosen


def check_targets(model: str, chosen: dict[str, Any], *targets: Path | None) -> None:
    """Find out before the work that data are missing, or that something cannot be written.

    Raises:
        DataError, OutputError: so it is.
    """
    from tfq_ext.recipe import load_recipe

    options.check_data(chosen["data"], load_recipe(chosen["recipe"]), chosen["recipe"])
    inputs = [model, *(str(chosen[k]) for k in ("data", "evaluation", "labels") if chosen[k])]
    if Path(chosen["recipe"]).is_file():
        inputs.append(chosen["recipe"])
    for target in targets:
        if target is not None:
            options.check_target(target, inputs=inputs)
