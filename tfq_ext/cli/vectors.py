"""`tfq vectors`: inputs with the output bytes to expect, to replay on the phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq vectors model.tflite --data test.npz -o vectors.zip
  tfq vectors model.tflite --count 4
  tfq vectors model.tflite --replay vectors.zip --kernels reference

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option("--data", metavar="PATH", help="Samples.  [default: seeded noise]")
@click.option("--preprocess", metavar="TEXT", help="What to do to 8-bit images.")
@click.option(
    "--count", type=click.IntRange(min=1), default=8, show_default=True, help="How many samples."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the choice."
)
@click.option(
    "--kernels",
    type=click.Choice(["xnnpack", "builtin", "reference"]),
    default="xnnpack",
    show_default=True,
    help="Whose output is expected.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The .zip to write.  [default: MODEL.vectors.zip, here]",
)
@click.option(
    "--replay", metavar="FILE", help="Run vectors again and compare, instead of making some."
)
@click.option(
    "--tolerance",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="With --replay: codes that a quantized output may be off.",
)
@options.as_json
@options.verbose
def vectors(
    model: str,
    replay: str | None,
    output: Path | None,
    tolerance: int,
    as_json: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Write inputs with the output bytes of MODEL to expect, or replay them.

    The .zip holds manifest.json and the tensors' bytes as the file stores them: copy them into the
    input buffers on the device, run, and compare the output buffers.
    """
    if replay is not None:
        _replay(model, replay, chosen["kernels"], tolerance, as_json)
        return
    target = options.check_target(output or Path(f"{Path(model).stem}.vectors.zip"), inputs=[model])
    from tfq_ext._files import write_atomic
    from tfq_ext.report.words import size
    from tfq_ext.validation.vectors import make_vectors

    content = make_vectors(model, **chosen)
    write_atomic(target, content)
    if as_json:
        from tfq_ext.report.machine import dumps

        made = {"file": str(target), "bytes": len(content), "kernels": chosen["kernels"]}
        click.echo(dumps(made))
    else:
        click.echo(
            f"{target}: up to {chosen['count']} vectors, {size(len(content))}, kernels "
            f"{chosen['kernels']}.\nOn the phone: copy K/input_I.bin into input I, run, compare "
            f"output J with K/output_J.bin.\nHere: tfq vectors {model} --replay {target}"
        )


def _replay(model: str, path: str, kernels: str, tolerance: int, as_json: bool) -> None:
    from dataclasses import asdict

    from tfq_ext.report.machine import dumps
    from tfq_ext.validation.vectors import replay

    done = replay(model, path, kernels=kernels)
    good = done.max_lsb <= tolerance and (done.max_error == 0 or done.equal == done.vectors)
    if as_json:
        click.echo(dumps({"passed": good, **asdict(done)}))
    else:
        click.echo(f"{done.equal} of {done.vectors} vectors equal, byte for byte ({kernels}).")
        if done.where:
            worst = f"{done.max_lsb} codes" if done.max_lsb else f"{done.max_error:.3g}"
            click.echo(f"Greatest difference: {worst}, {done.where}.")
    if not good:
        raise click.exceptions.Exit(1)
