"""The one place where exceptions become a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from tfq_ext.errors import StrictError, TfqError, TfqWarning

EXIT_CODES = """\b
Exit codes:
  0    all is well
  1    a gate or strictness failed (an op stayed float, a limit was missed)
  2    bad input: model, data, recipe, option, a missing package; or not all could be judged
  3    a fault of tfq itself; please report it
  130  interrupted"""

GATE, BAD_INPUT, FAULT, INTERRUPTED = 1, 2, 3, 130
VERBOSE, CHECKPOINT = "tfq.verbose", "tfq.checkpoint"  # keys of ctx.meta

Sentence = Callable[[BaseException, click.Context], str]


def _message(error: BaseException, ctx: click.Context) -> str:
    return f"error: {error}"


def _of_system(error: BaseException, ctx: click.Context) -> str:
    assert isinstance(error, OSError)
    where = f"{error.filename}: " if error.filename else ""
    return f"error: {where}{error.strerror or error}."


def _fault(error: BaseException, ctx: click.Context) -> str:
    hint = "" if ctx.meta.get(VERBOSE) else " --verbose shows the traceback;"
    return (
        f"error: tfq failed in a way that it should not ({type(error).__name__}: {error})."
        f"{hint} please report it with the command and, if you can, the model."
    )


def _interrupted(error: BaseException, ctx: click.Context) -> str:
    if CHECKPOINT not in ctx.meta:
        return "Interrupted; nothing was written."
    checkpoint: Path | None = ctx.meta[CHECKPOINT]
    if checkpoint is None:
        resumable = CHECKPOINT in ctx.meta  # the verb has the option
        hint = " With --checkpoint PATH a run can be resumed." if resumable else ""
        return f"Interrupted; nothing was written.{hint}"
    if not Path(f"{checkpoint}.json").exists():
        return "Interrupted before the first statistics were kept; nothing was written."
    return (
        f"Interrupted; no model was written. The statistics so far are in {checkpoint}.npz: "
        "the same command goes on from there."
    )


# Asked from the top; the first that fits speaks.
_KINDS: tuple[tuple[type[BaseException], int, Sentence], ...] = (
    (StrictError, GATE, _message),
    (TfqError, BAD_INPUT, _message),
    (KeyboardInterrupt, INTERRUPTED, _interrupted),
    (OSError, BAD_INPUT, _of_system),
    (Exception, FAULT, _fault),
)
_CLICKS_OWN = (click.exceptions.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)


def say(text: str) -> None:
    """A message on stderr, broken between words where it meets a terminal."""
    if sys.stderr.isatty():
        width = max(shutil.get_terminal_size().columns, 20)
        fill = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False)
        text = "\n".join(fill(line) for line in text.splitlines())
    click.echo(text, err=True)


@contextmanager
def reported(ctx: click.Context) -> Iterator[None]:
    """Run a verb with warnings as plain lines and errors as sentences; exits the context."""
    try:
        with plain_warnings(ctx):
            yield
    except _CLICKS_OWN:
        raise
    except BaseException as error:
        for kind, code, sentence in _KINDS:
            if isinstance(error, kind):
                if code == FAULT and ctx.meta.get(VERBOSE):
                    import traceback

                    click.echo(traceback.format_exc(), err=True, nl=False)
                say(sentence(error, ctx))
                raise click.exceptions.Exit(code) from None
        raise


@contextmanager
def plain_warnings(ctx: click.Context) -> Iterator[None]:
    """TfqWarning as one line on stderr; other packages' warnings only with --verbose.

    Sets the variables that silence TensorFlow's start-up banner, which is printed before Python
    code could ask it not to.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    def show(message: Warning | str, category: type[Warning], *rest: object) -> None:
        if issubclass(category, TfqWarning) or ctx.meta.get(VERBOSE):
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", TfqWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
