"""`tfq compare`: where a .tflite loses against the float model that it was made from."""

from __future__ import annotations

from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq compare float.tflite int8.tflite --data samples.npz
  tfq compare model.keras int8.tflite --data images/ --preprocess scale=1/127.5,mean=1 --limit 50
  tfq compare float.tflite int8.tflite --data x.npy --top 30 --by-order
  tfq compare float.tflite int8.tflite --data x.npy --json > compare.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("reference")
@click.argument("candidate")
@options.data_options
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Of the subset that --limit takes.",
)
@click.option("--signature", metavar="KEY", help="The one to run.  [default: the first]")
@click.option(
    "--own/--no-own",
    default=True,
    show_default=True,
    help="Also run every op alone on exact inputs, which tells the culprit from the victims.",
)
@click.option(
    "--top", type=click.IntRange(min=0), default=10, show_default=True, help="Show so many layers."
)
@click.option("--all", "everything", is_flag=True, help="Show every layer and unmatched tensor.")
@click.option("--by-order", is_flag=True, help="In the order of execution, not worst first.")
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="pkg.mod:Class",
    help="A class that a Keras file needs; repeat for several.",
)
@options.threads
@options.as_json
@options.verbose
def compare(
    reference: str,
    candidate: str,
    top: int,
    everything: bool,
    by_order: bool,
    as_json: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Hold every tensor of CANDIDATE against REFERENCE and say which layer loses, and why.

    REFERENCE is the float model: .tflite, or .keras, .h5, SavedModel folder. CANDIDATE is any
    .tflite that was made from it, by whatever tool. Both run in a child process.
    """
    from tfq_ext.validation.comparison import compare as run

    found = run(reference, candidate, **chosen)
    if as_json:
        click.echo(found.to_json())
        return
    from tfq_ext.report.compare_text import show
    from tfq_ext.report.console import stdout

    show(found, stdout(), top=top, in_order=by_order, everything=everything)


command = compare
