"""`tfq demo`: float, TFLiteConverter's files and ours, on bundled real images, offline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

if TYPE_CHECKING:
    from tfq_ext.cli.contest import Contest, Step

EPILOG = f"""\b
Examples:
  tfq demo
  tfq demo --out /tmp/demo --limit 500
  tfq demo --json > demo.json

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="tfq-demo",
    show_default=True,
    help="Folder for the files; made if it is not there.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=10),
    help="At most so many test images, and calibration images.  [default: 3000 and 256]",
)
@options.threads
@options.as_json
@options.verbose
def demo(out: Path, limit: int | None, threads: int, as_json: bool, verbose: bool) -> None:
    """Try everything on a bundled model and real images, offline, in under two minutes.

    A small MobileNet-style classifier of Fashion-MNIST is quantized by TFLiteConverter and by tfq
    from the same samples; every file is measured on the same test images. Needs TensorFlow.
    """
    from tfq_ext.cli import contest

    start = time.perf_counter()
    options.make_folder(out)
    with steps(contest.STEPS) as step:
        done = contest.run(out, limit, threads, step)
    seconds = time.perf_counter() - start
    if as_json:
        from dataclasses import asdict

        from tfq_ext.report.machine import dumps

        rows = [asdict(row) for row in done.rows]
        gates = [asdict(gate) for gate in done.validation.gates]
        click.echo(dumps({"seconds": seconds, "rows": rows, "gates": gates}))
        return
    tell(done, out, seconds)


@contextmanager
def steps(total: int) -> Iterator[Step[Any]]:
    """A function that does one step after another, and shows which on stderr."""
    from rich.status import Status

    from tfq_ext.report.console import stderr

    console = stderr()
    done = 0

    def step(label: str, work: Callable[[], Any]) -> Any:
        nonlocal done
        done += 1
        start = time.perf_counter()
        with Status(f"{done:>2}/{total}  {label}", console=console):
            result = work()
        console.print(f"{done:>2}/{total}  {label}: {time.perf_counter() - start:.1f} s")
        return result

    yield step


def tell(done: Contest, folder: Path, seconds: float) -> None:
    """The table, what it shows, where the files are, what to try next."""
    from rich.padding import Padding

    from tfq_ext.cli.contest import PREPROCESS, ROLES
    from tfq_ext.report.comparison import LEGEND, comparison_table, sentences
    from tfq_ext.report.console import stdout

    console = stdout()
    n = done.rows[0].accuracy.n
    console.print(f"\nFashion-MNIST, {n} test images that nothing was calibrated on:\n")
    console.print(comparison_table(done.rows))
    console.print(f"\n{LEGEND}\n", style="dim")
    for sentence in sentences(done.rows, ROLES):
        console.print(Padding(sentence, (0, 0, 0, 2)))
    _tell_verdict(done)
    console.print(f"\nThe files are in {folder} ({seconds:.0f} s in all). Next:")
    data = f"--data {done.samples} --preprocess {PREPROCESS}"
    for command in (
        f"tfq audit {done.model} {data}",
        f"tfq quantize {done.model} {data} --recipe int8",
        f"tfq compare {folder / 'float.tflite'} {done.shipped} {data}",
        "tfq quantize YOUR_MODEL --data YOUR_SAMPLES",
    ):
        console.print(f"  {command}", soft_wrap=True)


def _tell_verdict(done: Contest) -> None:
    """May our int8 file ship? The gates, and where the page is."""
    from rich.padding import Padding

    from tfq_ext.report.console import stdout
    from tfq_ext.report.validation import facts
    from tfq_ext.report.validation.text import gate_table

    console = stdout()
    console.print(f"\ntfq validate {done.shipped.name}: {facts.verdict(done.validation)}.\n")
    console.print(Padding(gate_table(done.validation.gates), (0, 0, 0, 2)))
    console.print(
        "  Measured anew, in processes of its own; where classes tie the first counts, as in apps.",
        style="dim",
    )
    console.print(f"\nWhy, in pictures: {done.report}", soft_wrap=True)
