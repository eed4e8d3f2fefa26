"""Every kind of error: exit code, one sentence on stderr, no traceback."""

import warnings
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tfq_ext import errors
from tfq_ext.cli import LazyGroup
from tfq_ext.cli.errors import _KINDS, CHECKPOINT, VERBOSE


def ran(work, **meta):
    """What a group with one verb that calls `work` says and returns."""

    class Group(LazyGroup):
        def get_command(self, ctx, cmd_name):
            @click.command()
            @click.pass_context
            def verb(ctx):
                ctx.meta.update(meta)
                work()

            return verb

    return CliRunner().invoke(Group("tfq"), ["verb"])


def raising(error):
    def work():
        raise error

    return work


KNOWN = [
    entry
    for entry in vars(errors).values()
    if isinstance(entry, type) and issubclass(entry, errors.TfqError)
]


@pytest.mark.parametrize("kind", KNOWN)
def test_our_errors_are_one_line(kind):
    result = ran(raising(kind("What came, what to do.")))
    assert result.stderr == "error: What came, what to do.\n"
    assert result.stdout == ""
    assert result.exit_code == (1 if kind is errors.StrictError else 2)


def test_the_table_of_kinds_asks_narrow_kinds_first():
    kinds = [kind for kind, _, _ in _KINDS]
    for k, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[k + 1 :])


def test_errors_of_the_system_name_the_file():
    result = ran(Path("/no/such/file").read_bytes)
    assert result.exit_code == 2
    assert result.stderr == "error: /no/such/file: No such file or directory.\n"


def test_a_fault_of_ours_asks_for_a_report_and_hides_the_traceback():
    result = ran(lambda: {}["x"])
    assert result.exit_code == 3
    assert "KeyError: 'x'" in result.stderr
    assert "report" in result.stderr
    assert "--verbose" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_verbose_shows_the_traceback():
    result = ran(lambda: {}["x"], **{VERBOSE: True})
    assert result.exit_code == 3
    assert result.stderr.startswith("Traceback")


def test_interruption_without_and_with_a_checkpoint(tmp_path):
    plain = ran(raising(KeyboardInterrupt()))
    assert plain.exit_code == 130
    assert "nothing was written" in plain.stderr
    early = ran(raising(KeyboardInterrupt()), **{CHECKPOINT: tmp_path / "s"})
    assert "before the first statistics" in early.stderr
    (tmp_path / "s.json").write_text("{}")
    kept = ran(raising(KeyboardInterrupt()), **{CHECKPOINT: tmp_path / "s"})
    assert str(tmp_path / "s.npz") in kept.stderr
    assert "goes on from there" in kept.stderr


def test_our_warnings_are_plain_lines_and_others_are_hidden():
    def work():
        for _ in range(2):
            warnings.warn("Look at that.", errors.TfqWarning, stacklevel=1)
        warnings.warn("somebody's own business", DeprecationWarning, stacklevel=1)

    assert ran(work).stderr == "warning: Look at that.\n" * 2
    assert "somebody's own business" in ran(work, **{VERBOSE: True}).stderr


def test_a_wrong_option_is_bad_input():
    result = CliRunner().invoke(LazyGroup("tfq"), ["recipes", "--nonsense"])
    assert result.exit_code == 2
    assert "No such option" in result.stderr
