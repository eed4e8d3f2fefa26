"""--help: quick because nothing heavy is imported, and complete."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from tfq_ext import __version__
from tfq_ext.cli import VERBS, main
from tfq_ext.cli.errors import EXIT_CODES

HEAVY = ("tensorflow", "keras", "numpy", "rich", "ai_edge_litert", "numba", "scipy", "pydantic")
PROBE = """
import sys
from tfq_ext.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print([name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["quantize", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    code = PROBE.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stderr == ""


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there_with_examples_and_exit_codes(verb):
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert f"  tfq {verb}" in result.stdout
    for line in EXIT_CODES.splitlines()[1:]:
        assert line.strip() in result.stdout
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    undocumented = [p.name for p in command.params if isinstance(p, click.Option) and not p.help]
    assert undocumented == []


def test_the_group_lists_every_verb():
    text = CliRunner().invoke(main, ["--help"]).stdout
    assert all(f"  {verb} " in text for verb in VERBS)


def test_version():
    assert CliRunner().invoke(main, ["--version"]).stdout == f"tfq, version {__version__}\n"


def test_an_unknown_verb():
    result = CliRunner().invoke(main, ["quantise"])
    assert result.exit_code == 2
    assert "No such command 'quantise'. Did you mean 'quantize'?" in result.stderr


def test_a_verb_like_no_other_gets_no_guess():
    result = CliRunner().invoke(main, ["zzz"])
    assert result.exit_code == 2
    assert "No such command 'zzz'" in result.stderr
    assert "Did you mean" not in result.stderr


@pytest.mark.parametrize("verb", ["evaluate", "compare"])
def test_a_seed_below_zero_is_refused(verb):
    result = CliRunner().invoke(main, [verb, "a.tflite", "b.tflite", "--seed", "-1"])
    assert result.exit_code == 2
    assert "-1 is not in the range x>=0" in result.stderr
