"""`tfq validate`: may this file ship? Every check, every gate, one exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES

EPILOG = f"""\b
Examples:
  tfq validate model.tflite
  tfq validate int8.tflite --reference model.keras --data images/ \\
      --preprocess resize=256,crop=224,scale=1/127.5,mean=1 --max-drop 0.5% --html report.html
  tfq validate int8.tflite --reference float.tflite --data test.npz --max-latency 5ms
  tfq validate int8.tflite --gate float_ops=0 --gate size=4MB --gate runtime=2.14.0
  tfq validate int8.tflite --config tfq.toml --junit gates.xml --markdown summary.md
  tfq validate --gates

{EXIT_CODES}"""

CONFIG = "tfq.toml"  # used without --config where it lies in the current folder
# Options that are gates of their own, for the bounds that people set most.
SHORT = {
    "max_drop": ("top1_drop", "PERCENT", "At most so much top-1 accuracy lost, say 0.5%."),
    "min_agreement": ("agreement", "PERCENT", "At least so many samples with the same class."),
    "max_size": ("size", "BYTES", "At most so large, say 4MB."),
    "max_latency": ("latency", "TIME", "At most so long a run on this machine, say 5ms."),
}


def _gate_options(command: Any) -> Any:
    for key, (gate, unit, text) in reversed(SHORT.items()):
        flag = f"--{key.replace('_', '-')}"
        command = click.option(flag, key, metavar=unit, help=f"{text}  (gate {gate})")(command)
    return command


def _outputs(command: Any) -> Any:
    path = click.Path(path_type=Path)
    for flag, text in reversed(
        (
            ("--html", "Write the report as one self-contained page."),
            ("--junit", "Write the gates as JUnit XML."),
            ("--markdown", "Write a summary for a pull request."),
            ("--report", "Write everything as JSON."),
        )
    ):
        command = click.option(flag, type=path, metavar="FILE", help=text)(command)
    return command


@click.command(epilog=EPILOG)
@click.argument("model", required=False)
@click.option("--reference", metavar="MODEL", help="The float model that it was made from.")
@options.data_options
@options.task_options
@click.option(
    "--gate",
    "gate",
    multiple=True,
    metavar="NAME=BOUND",
    help="Any bound; repeat for several. --gates lists them.",
)
@_gate_options
@click.option("--gates", "list_gates", is_flag=True, help="List the gates and leave.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="TOML: gates, settings, lint.  [default: tfq.toml here, if there is one]",
)
@click.option("--bit-exact", is_flag=True, default=None, help="Check against integer arithmetic.")
@click.option("--gpu", is_flag=True, default=None, help="Run the GPU delegate in fp32 and fp16.")
@click.option("--target", metavar="VERSION", help="Oldest TFLite that must run it, say 2.14.0.")
@click.option("--threads", type=click.IntRange(min=1), help="LiteRT threads.  [default: 1]")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: by the cores]")
@click.option("--runs", type=click.IntRange(min=1), help="Timed runs.  [default: 50]")
@click.option(
    "--stop-early", is_flag=True, default=None, help="End once the gate on top-1 is decided."
)
@click.option("--label-offset", type=int, help="Added to every label (1: class 0 is background).")
@click.option("--seed", type=click.IntRange(min=0), help="Of everything random.  [default: 0]")
@click.option(
    "--custom-objects",
    multiple=True,
    metavar="pkg.mod:Class",
    help="A class that a Keras reference needs; repeat for several.",
)
@_outputs
@click.option(
    "--model-explorer",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write per-node data for Google's Model Explorer, one file a metric.",
)
@options.as_json
@options.verbose
def validate(
    model: str | None, list_gates: bool, gate: tuple[str, ...], as_json: bool, **chosen: Any
) -> None:
    """Inspect, lint, run, measure and time MODEL (any .tflite), and say whether it may ship.

    Without samples the file itself is judged; with --data and --reference also its accuracy and
    every layer's error. It runs in child processes: a file that crashes is a finding.
    """
    if list_gates:
        _list()
        return
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    gates = _gates(gate, {key: chosen.pop(key) for key in SHORT})
    paths = {key: chosen.pop(key) for key in ("html", "junit", "markdown", "report")}
    folder = chosen.pop("model_explorer")
    inputs = ("reference", "data", "labels", "config")
    sources = [model, *(str(chosen[k]) for k in inputs if chosen[k])]
    targets = [path for path in paths.values() if path is not None]
    for path in targets:
        options.check_target(path, inputs=sources)
    if len(set(targets)) < len(targets):
        raise click.UsageError("Two reports cannot go to one file.")
    chosen.pop("verbose", None)
    chosen["custom_objects"] = chosen["custom_objects"] or None
    if chosen["config"] is None and Path(CONFIG).is_file():
        chosen["config"] = Path(CONFIG)
    if as_json:
        chosen["show_progress"] = False

    import tfq_ext

    with _progress(quiet=as_json) as announce:
        result = tfq_ext.validate(model, gates=gates, announce=announce, **chosen)
    _write(result, paths, folder)
    _tell(result, {**paths, "model explorer": folder}, as_json)
    raise click.exceptions.Exit(result.exit_code)


def _gates(pairs: tuple[str, ...], short: dict[str, Any]) -> dict[str, object]:
    """--gate NAME=BOUND and the options that are gates, as one table."""
    from tfq_ext.errors import RecipeError

    table: dict[str, object] = {
        SHORT[key][0]: value for key, value in short.items() if value is not None
    }
    for pair in pairs:
        name, equals, bound = pair.partition("=")
        if not equals:
            bound = "true"
        if name in table:
            raise RecipeError(f"Gate {name} is given twice; keep one.")
        table[name] = {"true": True, "false": False}.get(bound.lower(), bound)
    return table


@contextmanager
def _progress(quiet: bool) -> Iterator[Any]:
    """A function that shows what is being done, on stderr, while it is done."""
    from rich.status import Status

    from tfq_ext.report.console import stderr

    console = stderr()

    @contextmanager
    def announce(label: str) -> Iterator[None]:
        if quiet or not console.is_terminal:
            yield
            return
        with Status(label, console=console):
            yield

    yield announce


def _write(result: Any, paths: dict[str, Path | None], folder: Path | None) -> None:
    from tfq_ext._files import write_text
    from tfq_ext.report.validation import WRITERS

    for kind, path in paths.items():
        if path is not None:
            write_text(path, WRITERS[kind](result))
    if folder is not None:
        from tfq_ext.report.validation.explorer import model_explorer

        options.make_folder(folder)
        for name, text in model_explorer(result).items():
            write_text(folder / name, text)


def _tell(result: Any, paths: dict[str, Path | None], as_json: bool) -> None:
    if as_json:
        click.echo(result.to_json())
        return
    from tfq_ext.report.console import stdout
    from tfq_ext.report.validation.text import view

    stdout().print(view(result))
    for kind, path in paths.items():
        if path is not None:
            stdout().print(f"{kind}: {path}", soft_wrap=True)


def _list() -> None:
    from tfq_ext.report.console import stdout
    from tfq_ext.report.validation.text import gate_list

    stdout().print(gate_list())
