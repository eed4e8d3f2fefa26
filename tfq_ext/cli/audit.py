"""`tfq audit`: which ranges TFLiteConverter, or a finished file, has wrong, and what that costs."""

from __future__ import annotations

from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq audit model.keras --data images/ --preprocess scale=1/127.5,mean=1 --limit 150
  tfq audit float.tflite --data samples.npz --fast
  tfq audit int8.tflite --reference model.keras --data samples.npz
  tfq audit model.keras --data calibration.npy --evaluation test.npy --json > audit.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model")
@options.data_options
@click.option(
    "--reference",
    metavar="MODEL",
    help="If MODEL is an integer .tflite: the float model that it was made from.",
)
@click.option(
    "--evaluation",
    metavar="PATH",
    help="Samples that measure.  [default: a third of --data, which then calibrates nothing]",
)
@click.option(
    "--recipe", default="int8", show_default=True, help="A static 8-bit one, by name or file."
)
@click.option("--fast", is_flag=True, help="Leave out the file that tfq quantize would make.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Show so many tensors; --json has them all.",
)
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="pkg.mod:Class",
    help="A class that a Keras file needs; repeat for several.",
)
@options.threads
@options.as_json
@options.verbose
def audit(model: str, top: int, as_json: bool, **chosen: Any) -> None:
    """Show which ranges TFLiteConverter would record wrongly for MODEL, and what that costs.

    MODEL is a float model (.keras, .h5, SavedModel folder, float .tflite): TFLiteConverter's own
    calibrator sees the samples, and so do we, looking at every tensor. Or MODEL is a finished
    integer .tflite, and its grids are held against the ranges of --reference.
    """
    import tfq_ext

    chosen["custom_objects"] = chosen["custom_objects"] or None
    found = tfq_ext.audit(model, **chosen)
    if as_json:
        click.echo(found.to_json())
        return
    from tfq_ext.report.audit_text import show
    from tfq_ext.report.console import stdout

    show(found, stdout(), top=top)


command = audit
