"""`tfq sensitivity`: what quantizing each layer does to the outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import measuring
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq sensitivity model.tflite --data samples.npz
  tfq sensitivity model.keras --data images/ --preprocess scale=1/127.5,mean=1 --bits 4
  tfq sensitivity model.tflite --data x.npy --evaluation test.npz --plot layers.png
  tfq sensitivity model.tflite --data x.npy --checkpoint run --json > layers.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model")
@measuring.measuring_options
@click.option(
    "--bits",
    multiple=True,
    type=click.Choice(["8", "4"]),
    help="Of weights; repeat for both.  [default: 8 and 4]",
)
@click.option(
    "--activations",
    multiple=True,
    type=click.Choice(["8", "16"]),
    help="Bits of activations; repeat for both.  [default: 8]",
)
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(["only", "all but"]),
    help="Quantize only a layer, or all but it; repeat for both.  [default: both]",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it: .png, .svg or .pdf.")
@click.option(
    "--top", type=click.IntRange(min=0), default=20, show_default=True, help="Show so many layers."
)
@click.option("--all", "everything", is_flag=True, help="Show every layer.")
@click.option("--by-order", is_flag=True, help="In the order of execution, not worst first.")
@measuring.machine_options
def sensitivity(
    model: str,
    plot: Path | None,
    top: int,
    everything: bool,
    by_order: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Quantize each layer of MODEL alone, and all but it, and show what the outputs lose.

    SQNR in dB, KL divergence of the class probabilities, and with labels the task's metrics. An
    interrupted run goes on with --checkpoint.
    """
    measuring.check_targets(model, chosen, plot)
    if plot is not None:
        from tfq_ext.report.search_text.plots import check_plot

        check_plot(plot)
    for name in ("bits", "activations"):
        given = tuple(map(int, chosen.pop(name)))
        chosen |= {name: given} if given else {}
    if not chosen["scopes"]:
        del chosen["scopes"]
    import tfq_ext

    found = tfq_ext.sensitivity(model, **measuring.prepared(chosen, quiet=as_json))
    if plot is not None:
        found.plot(plot)
    if as_json:
        click.echo(found.to_json())
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.search_text import show_sensitivity

    show_sensitivity(found, stdout(), top=None if everything else top, in_order=by_order)
    if plot is not None:
        stdout().print(f"plot: {plot}", soft_wrap=True)
