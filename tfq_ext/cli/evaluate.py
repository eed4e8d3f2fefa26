"""`tfq evaluate`: several files on the same data, one line each."""

from __future__ import annotations

from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import BAD_INPUT, EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq evaluate int8.tflite --reference model.keras --data test.npz
  tfq evaluate int8.tflite int4.tflite half.tflite --reference float.tflite --data test.npz
  tfq evaluate int8.tflite --data images/ --preprocess scale=1/127.5,mean=1 --limit 500
  tfq evaluate *.tflite --reference model.keras --data test.npz --json > files.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("models", nargs=-1, required=True)
@click.option("--reference", metavar="MODEL", help="The float model that they were made from.")
@options.data_options
@options.task_options
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: by the cores]")
@click.option("--label-offset", type=int, default=0, help="Added to every label.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of everything random.",
)
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="pkg.mod:Class",
    help="A class that a Keras reference needs; repeat for several.",
)
@options.threads
@options.as_json
@options.verbose
def evaluate(
    models: tuple[str, ...], data: str | None, as_json: bool, verbose: bool, **chosen: Any
) -> None:
    """Measure MODELS (any .tflite files) on the same samples, beside the float reference.

    One line a file: size, the task's main metric with its interval, what was lost against the
    reference, how often both give the same answer, SQNR of the output. `tfq validate` looks at
    one of them closely.
    """
    if data is None:
        raise click.UsageError("Missing option '--data'.")
    from tfq_ext.validation.side_by_side import evaluate as measure

    chosen["show_progress"] = False if as_json else None
    found = measure(models, data, **chosen)
    if as_json:
        click.echo(found.to_json())
    else:
        from tfq_ext.report.console import stdout
        from tfq_ext.report.evaluation_text import view

        console = stdout()
        console.print(view(found, console.width))
    if any(row.failed for row in found.rows):
        raise click.exceptions.Exit(BAD_INPUT)


command = evaluate
