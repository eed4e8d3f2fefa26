"""`tfq bench`: how fast a .tflite is, against others, and where its time goes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from tfq_ext._terminal import watched
from tfq_ext.cli import options
from tfq_ext.cli.errors import BAD_INPUT, EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq bench int8.tflite
  tfq bench int8.tflite --against float.tflite --threads 1,2
  tfq bench int8.tflite --kernels xnnpack,builtin --seconds 20
  tfq bench int8.tflite --against float.tflite --json > bench.json

Ratios are to the first --against. Files take turns, so that a slow moment hits all alike; each
runs in a process of its own.

{EXIT_CODES}"""


def _numbers(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    try:
        found = tuple(int(word) for word in value.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 1:
        raise click.BadParameter(f"{value!r} is no list of numbers over 0, such as 1,2,4.")
    return found


def _words(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in value.split(",") if word.strip())


@click.command(epilog=EPILOG)
@click.argument("model")
@click.option(
    "--against", multiple=True, metavar="FILE", help="Another .tflite; repeat for several."
)
@click.option(
    "--threads",
    default="1",
    show_default=True,
    metavar="N,N",
    callback=_numbers,
    help="Numbers of LiteRT threads.",
)
@click.option(
    "--kernels",
    default="xnnpack",
    show_default=True,
    metavar="SET,SET",
    callback=_words,
    help="Of xnnpack (the default on phones), builtin, reference.",
)
@click.option(
    "--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Timed runs."
)
@click.option(
    "--warmup", type=click.IntRange(min=0), default=5, show_default=True, help="Runs thrown away."
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=20.0,
    show_default=True,
    help="Stop the runs of one kernel set after so long.",
)
@click.option(
    "--profile/--no-profile", default=True, show_default=True, help="Time each op, and say why."
)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Show so many ops; --json has them all.",
)
@click.option("--signature", metavar="KEY", help="What to run.  [default: the first subgraph]")
@click.option(
    "--data",
    metavar="PATH",
    help="Samples; the first one is fed.  [default: noise, 1 for open dimensions]",
)
@click.option("--preprocess", metavar="TEXT", help="What to do to 8-bit images of --data.")
@options.as_json
@options.verbose
def bench(
    model: str,
    against: tuple[str, ...],
    top: int,
    as_json: bool,
    data: str | None,
    preprocess: str | None,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Time MODEL, against other files if you like, and show where the time goes and why.

    Median, 90th percentile and bootstrap intervals, time to load, first run, memory; the time of
    each op, which of them XNNPACK ran, what splits the graph; and in words why a quantized file
    is not faster.
    """
    from tfq_ext.validation.latency import bench as measure
    from tfq_ext.validation.naming import named

    models = named([model, *against])
    baseline = list(models)[1 if against else 0]
    inputs = _sample(model, data, preprocess, chosen["signature"])
    with _progress(as_json) as on_round:
        report = measure(models, baseline=baseline, inputs=inputs, on_round=on_round, **chosen)
    if as_json:
        click.echo(report.to_json())
    else:
        from tfq_ext.report.bench_text import show
        from tfq_ext.report.console import stdout

        show(report, stdout(), top=top)
    if any(all(row.failed for row in report.rows if row.name == name) for name in models):
        raise click.exceptions.Exit(BAD_INPUT)  # a file that could not be timed at all


def _sample(model: str, data: str | None, preprocess: str | None, signature: str | None) -> Any:
    """The first sample's inputs; None without data."""
    if data is None:
        return None
    from tfq_ext.errors import DataError
    from tfq_ext.samples import open_samples
    from tfq_ext.tflite.inputs import real_specs
    from tfq_ext.tflite.read import Model

    specs = real_specs(Model.load(model))
    if signature is not None:
        specs = [spec for spec in specs if spec.signature == signature] or specs
    for sample in open_samples(data, specs, preprocess=preprocess, limit=1, shuffle=False):
        return sample.inputs
    raise DataError(f"--data {data} holds no sample.")


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on stderr while rounds go on, where somebody looks."""
    if quiet or not watched(sys.stderr):
        yield None
        return
    from rich.progress import Progress

    from tfq_ext.report.console import stderr

    with Progress(console=stderr(), transient=True) as bar:
        task = bar.add_task("rounds", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


command = bench
