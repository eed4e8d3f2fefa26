"""`tfq inspect`, as typed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from one_op import Net, X
from small_nets import residual

from tfq_ext.cli import main

HOSTILE = "[red]\x1b[2Jname\nline2<script>alert(1)</script>"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("inspect") / "net.tflite"
    path.write_bytes(residual().to_bytes())
    return path


def typed(*arguments, columns=80):
    env = {"COLUMNS": str(columns)}
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)], env=env)


def test_the_first_screen_answers_the_questions(path):
    result = typed(path)
    assert result.exit_code == 0, result.output
    for said in (
        "net.tflite: float32",
        "0 of 6 ops",
        "TFLite 1.6.0 or later, for MEAN version 1",
        "float32 weights",
        "CONV_2D x2",
        "nothing in the file",
    ):
        assert said in result.stdout
    assert len(result.stdout.splitlines()) < 50
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_it_keeps_to_the_terminal(path, columns):
    result = typed(path, "--all", columns=columns)
    assert max(map(len, result.stdout.splitlines())) <= columns


def test_filters_show_what_fits_and_nothing_else(path):
    result = typed(path, "--op", "conv*", "--name", "br*")
    assert "Ops one by one: 1 of 6" in result.stdout
    assert "branch" in result.stdout
    assert "Weights: 1 of 4" in result.stdout
    assert "Its channels, along axis 0" in result.stdout
    assert "Where the bytes are" not in result.stdout


def test_a_filter_that_fits_nothing_says_so(path):
    result = typed(path, "--op", "lstm")
    assert result.exit_code == 0
    assert "None of 6 fits." in result.stdout


def test_the_long_tables_are_asked_for(path):
    assert "Tensors: " not in typed(path).stdout
    whole = typed(path, "--all").stdout
    for title in ("Ops one by one: 6 of 6", "Tensors: ", "Weights: 4 of 4"):
        assert title in whole


def test_top_shortens_and_says_so(path):
    assert "and 4 more" in typed(path, "--top", "1").stdout


def test_machines_get_json_and_nothing_else(path):
    values = json.loads(typed(path, "--json").stdout)
    assert values["kind"] == "float32"
    assert sum(values["parts"].values()) == path.stat().st_size
    assert {row["code"] for row in values["ops"]} >= {"CONV_2D", "MEAN"}


def test_filters_hold_for_machines_too(path):
    values = json.loads(typed(path, "--json", "--op", "conv_2d", "--name", "branch").stdout)
    assert [row["tensor"] for row in values["ops"]] == ["branch"]
    assert [row["tensor"] for row in values["weights"]] == ["w2"]
    assert [row["name"] for row in values["tensors"]] == ["branch"]
    assert values["op_counts"]["CONV_2D"] == 2
    assert sum(values["parts"].values()) == path.stat().st_size


def test_names_are_text(tmp_path):
    net = Net()
    net.input(HOSTILE, X((1, 8)))
    net.op("ABS", HOSTILE + "2", HOSTILE)
    net.model.graphs[0].tree.name = HOSTILE.encode()
    model = net.done(HOSTILE + "2")
    model.tree.description = HOSTILE.encode()
    path = tmp_path / "x.tflite"
    path.write_bytes(model.to_bytes())
    result = typed(path, "--all", columns=200)
    assert result.exit_code == 0, result.output
    assert "\x1b" not in result.stdout
    assert "[red]?[2Jname?line2<script>" in result.stdout


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "Cannot read"), (b"", "empty"), (b"PK\x03\x04" * 9, "not a .tflite")],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path, content, said):
    path = tmp_path / "bad.tflite"
    if content is not None:
        path.write_bytes(content)
    result = typed(path)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_nothing_slow_is_imported(path):
    """A second of imports is what `tfq inspect` would lose its point by."""
    code = (
        "import sys\nfrom tfq_ext.cli import main\n"
        f"try: main(['inspect', {str(path)!r}])\nexcept SystemExit: pass\n"
        "print(sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.replace("'", "").strip("[]\n").split(", "))
    slow = {"tensorflow", "keras", "numba", "scipy", "pydantic", "ai_edge_litert.interpreter"}
    assert loaded.isdisjoint(slow)
    assert "net.tflite" in done.stdout


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert "tfq inspect model.tflite --op 'CONV*'" in result.output
    assert "Exit codes" in result.output
