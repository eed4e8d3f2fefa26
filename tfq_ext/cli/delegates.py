"""`tfq delegates`: the GPU delegate against the CPU, XNNPACK's share, the fp16 risk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq delegates model.tflite
  tfq delegates model.tflite --data images/ --preprocess resize=256,crop=224,scale=1/127.5,mean=1
  tfq delegates model.tflite --bisect
  tfq delegates model.tflite --no-gpu
  tfq delegates model.tflite --data samples.npz --json > delegates.json

{EXIT_CODES}

Here 1 means that the GPU is wrong, refuses the file, or dies; 2 also that it could not be judged,
for want of an adapter or of fp16. A driver in software (Mesa's llvmpipe) is enough:
tools/install_software_gpu.sh."""

PASSED, FAILED, UNDECIDED = 0, 1, 2


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option(
    "--data",
    metavar="PATH",
    help="Samples: .npy, .npz, folder of images, TFRecord file or pattern.  [default: noise]",
)
@click.option(
    "--preprocess",
    metavar="TEXT",
    help="What to do to 8-bit images, for example resize=256,crop=224,scale=1/127.5,mean=1.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Use at most so many samples, drawn with --seed.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Which samples; of the noise; which sums are emulated.",
)
@click.option("--signature", help="The signature to run.  [default: that of the first subgraph]")
@click.option("--no-gpu", is_flag=True, help="Only what the CPU can tell.")
@click.option(
    "--bisect", is_flag=True, help="If the GPU is wrong or dies, look for the first bad op."
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Show so many tensors and ops; --json has them all.",
)
@options.as_json
@options.verbose
def delegates(model: str, no_gpu: bool, top: int, as_json: bool, **chosen: Any) -> None:
    """Run MODEL (any .tflite) on the GPU delegate in fp32 and fp16, and compare with the CPU.

    Each run is a process of its own: what dies is reported. The first run on a GPU compiles
    shaders, which takes seconds to a minute. Without a GPU the fp16 risk is still told from the
    CPU: values past 65504, long sums, values that vanish.
    """
    from tfq_ext.validation.delegates import check_delegates

    chosen.pop("verbose", None)
    with _progress(as_json) as announce:
        report = check_delegates(model, gpu=not no_gpu, announce=announce, **chosen)
    if as_json:
        click.echo(report.to_json())
    else:
        from tfq_ext.report.console import stdout
        from tfq_ext.report.delegates_text import show

        show(report, stdout(), top=top)
    raise click.exceptions.Exit(exit_code(report))


def exit_code(report: Any) -> int:
    """FAILED before UNDECIDED: what is known to be bad stays so."""
    statuses = {row.status for row in report.gpu}
    if statuses & {"wrong", "died", "refused"}:
        return FAILED
    return UNDECIDED if "not checked" in statuses else PASSED


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done, on a terminal only."""
    from rich.status import Status

    from tfq_ext.report.console import stderr

    console = stderr()
    if quiet or not console.is_terminal:
        yield lambda text: None
        return
    with Status("", console=console) as status:
        yield status.update


command = delegates
