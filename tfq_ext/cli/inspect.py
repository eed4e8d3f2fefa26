"""`tfq inspect`: what is in a .tflite."""

from __future__ import annotations

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq inspect model.tflite
  tfq inspect model.tflite --op 'CONV*'
  tfq inspect model.tflite --name '*block_3*' --ops --tensors
  tfq inspect model.tflite --weights --op DEPTHWISE_CONV_2D
  tfq inspect model.tflite --accumulator 16
  tfq inspect model.tflite --json > model.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("file")
@click.option("--op", metavar="GLOB", help="Only these ops: CONV_2D, '*CONV*'; case is ignored.")
@click.option("--name", metavar="GLOB", help="Only ops and tensors of such a name.")
@click.option("--ops", is_flag=True, help="The ops one by one.")
@click.option("--tensors", is_flag=True, help="The tensors one by one.")
@click.option("--weights", is_flag=True, help="Range, spread, dead channels and zeros by weight.")
@click.option("--all", "everything", is_flag=True, help="All three tables, and no row left out.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Rows of each short table.",
)
@click.option(
    "--accumulator",
    type=click.IntRange(2, 64),
    metavar="BITS",
    help="Only this: whether each integer layer's sums fit so many bits, whatever the input.",
)
@options.as_json
@options.verbose
def inspect(
    file: str,
    op: str | None,
    name: str | None,
    ops: bool,
    tensors: bool,
    weights: bool,
    everything: bool,
    top: int,
    accumulator: int | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Show what is in FILE, a .tflite of any origin, without running it.

    How large it is and what takes the room; which ops compute in integers, which in floats and
    why; multiply-accumulates (MACs), parameters and memory; the TFLite release that it needs;
    inputs, outputs, signatures, metadata and files packed behind the model.
    """
    if accumulator is not None:
        _accumulators(file, accumulator, (op, name), as_json)
        return
    from tfq_ext.validation.inspection import inspect as look

    found = look(file)
    if as_json:
        click.echo(found.to_json(op, name))
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.inspect_text import View, show

    top = 10**9 if everything else top
    view = View(ops or everything, tensors or everything, weights or everything, op, name, top)
    show(found, stdout(), view)


def _accumulators(
    file: str, bits: int, globs: tuple[str | None, str | None], as_json: bool
) -> None:
    from dataclasses import asdict
    from fnmatch import fnmatchcase

    from tfq_ext.repair.accumulators import accumulators

    op, name = globs
    rows = [
        row
        for row in accumulators(file, bits)
        if fnmatchcase(row.op, (op or "*").upper()) and fnmatchcase(row.tensor, name or "*")
    ]
    if as_json:
        from tfq_ext.report.machine import dumps

        layers = [{**asdict(row), "fits": row.fits} for row in rows]
        click.echo(dumps({"accumulator_bits": bits, "layers": layers}))
        return
    from tfq_ext.report.accumulator_text import show_accumulators
    from tfq_ext.report.console import stdout

    show_accumulators(rows, bits, stdout())


command = inspect
