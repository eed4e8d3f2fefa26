"""`tfq export`: a trained QAT model to the .tflite that holds its integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES
from tfq_ext.cli.quantize import IO_TYPES, tell

EPILOG = f"""\b
Examples:
  tfq export qat.keras -o model.tflite
  tfq export qat.keras --data samples.npy --input-type uint8 -o model.tflite

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="PATH",
    help="Samples for results inside a layer that training does not see; else those stay float.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The .tflite to write.  [default: MODEL.tflite, here]",
)
@click.option("--input-type", type=IO_TYPES, default="float32", help="What the file takes.")
@click.option("--output-type", type=IO_TYPES, default="float32", help="What the file gives.")
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="pkg.mod:Class",
    help="A class that a Keras file needs; repeat for several.",
)
@options.threads
@options.as_json
@options.verbose
def export(
    model: Path,
    data: str | None,
    output: Path | None,
    custom_objects: tuple[str, ...],
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write the integers that a QAT MODEL (.keras) was trained on into a .tflite.

    MODEL was saved by Keras from what tfq_ext.qat.quantize_aware returned. The file is read back:
    every integer, scale and zero point is the trained one.
    """
    inputs = [str(model), *([data] if data else [])]
    target = options.check_target(output or Path(f"{model.stem}.tflite"), inputs=inputs)
    from tfq_ext.emit.quiet import quiet

    with quiet():  # TensorFlow's banner
        from tfq_ext.qat.saved import load_model
        from tfq_ext.qat.to_file import export as export_model

    result = export_model(load_model(model, custom_objects), data, **chosen)
    result.save(target)
    tell(result, target, as_json)
