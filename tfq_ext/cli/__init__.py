"""The command line. Importing this module imports click and nothing else, so that --help is quick.

Each verb lives in a module of its own, imported when it runs; VERBS holds the line that the list
of commands shows.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module

import click

from tfq_ext import __version__
from tfq_ext.cli.errors import EXIT_CODES, reported

VERBS = {
    "quantize": "Quantize a float model into a verified .tflite.",
    "export": "Write a trained QAT model's integers into a .tflite.",
    "sensitivity": "Show what each layer costs in 4 and 8 bits.",
    "search": "Find how many bits each layer needs under a budget; writes a recipe.",
    "audit": "Show which ranges TFLiteConverter would record wrongly, and what that costs.",
    "validate": "May a .tflite ship? Every check, every gate, one exit code.",
    "evaluate": "Measure .tflite files side by side: accuracy, agreement, SQNR, size.",
    "inspect": "Show what is in a .tflite: sizes, ops, what is integer and what is not.",
    "lint": "Hold a .tflite against the rules for files that work and are fast.",
    "compare": "Show in which layer a .tflite loses what its float model had.",
    "bench": "Time .tflite files in turns, op by op, and say why one is slow.",
    "delegates": "Run the GPU delegate against the CPU; show what XNNPACK takes.",
    "vectors": "Write inputs with the outputs to expect, to replay on a phone.",
    "demo": "Try everything on a bundled model and real images, offline.",
    "recipes": "List the recipes, or print one as TOML.",
}

EPILOG = f"""\b
Examples:
  tfq demo
  tfq quantize model.keras --data images/ -o model.tflite
  tfq validate model.tflite --reference model.keras --data images/ --max-drop 0.5%
  tfq recipes int8 > my.toml

{EXIT_CODES}"""


class LazyGroup(click.Group):
    """Commands by name from VERBS; errors become sentences and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs, in the order in which people meet them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module; it has a command of the verb's name."""
        if cmd_name not in VERBS:
            return None
        command = getattr(import_module(f"tfq_ext.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The verb; one that is not there is answered with the nearest that is."""
        close = [] if args[0] in VERBS else get_close_matches(args[0], VERBS, n=1)
        if close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; what it raises is told in one sentence on stderr."""
        with reported(ctx):
            return super().invoke(ctx)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tfq")
def main() -> None:
    """Choose the integers of a .tflite better than TFLiteConverter, and prove it on the file.

    `tfq VERB --help` explains each command, with examples.
    """
