"""`tfq lint`: hold a .tflite against the table of rules, or explain the rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tfq_ext.cli import options
from tfq_ext.cli.errors import EXIT_CODES, GATE

CONFIG = "tfq.toml"  # used without --config where it lies in the current folder
GRADES = ("info", "warning", "error")
EPILOG = f"""\b
Examples:
  tfq lint model.tflite
  tfq lint model.tflite --target 2.14.0 --fail-on warning
  tfq lint int8.tflite --data images/ --preprocess scale=1/127.5,mean=1 --reference float.tflite
  tfq lint model.tflite --all --severity warning
  tfq lint --rules
  tfq lint --rules shared-grid

\b
A project's exceptions stand in {CONFIG}, each with its reason:
  [lint]
  target = "2.14.0"
  suppress = [
    {{ id = "float-op", op = "ARG_MAX", reason = "runs on the CPU on purpose" }},
  ]

{EXIT_CODES}"""


@click.command(epilog=EPILOG)
@click.argument("model", required=False)
@options.data_options
@click.option(
    "--reference",
    metavar="FLOAT",
    help="Float .tflite of the same network, run on the same samples.",
)
@click.option(
    "--config",
    type=click.Path(dir_okay=False),
    help=f"TOML file with a [lint] table.  [default: {CONFIG}, if there is one]",
)
@click.option("--target", metavar="VERSION", help="Runtime that must run the file, like 2.14.0.")
@click.option(
    "--severity",
    type=click.Choice(GRADES),
    default="info",
    show_default=True,
    help="Show findings from this severity on.",
)
@click.option(
    "--fail-on",
    type=click.Choice(GRADES),
    default="error",
    show_default=True,
    help="Exit with 1 for a finding from this severity on.",
)
@click.option("--all", "every", is_flag=True, help="List each finding, not one line a rule.")
@click.option("--rules", is_flag=True, help="List the rules; with an ID, explain that one.")
@options.as_json
@options.verbose
def lint(
    model: str | None,
    rules: bool,
    severity: str,
    fail_on: str,
    every: bool,
    as_json: bool,
    verbose: bool,
    **chosen: Any,
) -> None:
    """Say what is wrong with MODEL, any .tflite, why it matters and what to do.

    The file is read, not run, unless --data is given: then it runs in a process of its own, and
    rules about values (saturation, wasted range) are judged too.
    """
    if rules:
        _explain(model, as_json)
        return
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
    _check(chosen)
    from tfq_ext.report.console import stdout
    from tfq_ext.validation.lint import lint as run

    chosen["config"] = chosen["config"] or (CONFIG if Path(CONFIG).is_file() else None)
    if chosen["limit"] is None:
        del chosen["limit"]
    report = run(model, show_progress=not as_json, **chosen)
    if as_json:
        click.echo(report.to_json())
    else:
        from tfq_ext.report.lint_text import show

        show(report, stdout(), severity=severity, every=every)
    if report.fails(fail_on):
        raise click.exceptions.Exit(GATE)


def _check(chosen: dict[str, Any]) -> None:
    """Find out before the work what cannot go together."""
    if chosen["data"] is None:
        for name in ("preprocess", "limit", "reference"):
            if chosen[name] is not None:
                raise click.UsageError(f"--{name} has no use without --data.")


def _explain(rule: str | None, as_json: bool) -> None:
    from dataclasses import asdict

    from tfq_ext.report.console import stdout
    from tfq_ext.report.lint_text import show_rule, show_rules
    from tfq_ext.report.machine import dumps
    from tfq_ext.validation.lint import LINT_RULES, known_rules

    table = known_rules()
    if rule is not None:
        entry = table[rule]
        needs = LINT_RULES[rule].needs if rule in LINT_RULES else ""
        if as_json:
            click.echo(dumps(asdict(entry) | {"needs": needs}))
        else:
            show_rule(entry, needs, stdout())
    elif as_json:
        click.echo(dumps([asdict(entry) for entry in table.values()]))
    else:
        show_rules(table, stdout())


command = lint
