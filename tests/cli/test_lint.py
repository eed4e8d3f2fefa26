"""`tfq lint`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from lint_build import Build, dense

from tfq_ext.cli import main
from tfq_ext.validation.lint import LINT_RULES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """good.tflite, bad.tflite (an error), meh.tflite (a warning), x.npy; we stand in it."""
    monkeypatch.chdir(tmp_path)
    files = {
        "good": dense(),
        "bad": dense(shape=(1, 192, 192, 3), y=(193.0, 0), scales=[1, 2, 1.5, 1]),
        "meh": dense(codes=np.full((4, 3), -128)),
    }
    for name, subject in files.items():
        (tmp_path / f"{name}.tflite").write_bytes(subject.model.to_bytes())
    x = np.random.default_rng(0).uniform(-5, 6, (8, 4, 4, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    return tmp_path


def typed(*arguments, columns=100):
    return CliRunner(env={"COLUMNS": str(columns)}).invoke(main, ["lint", *map(str, arguments)])


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert result.exit_code == 0
    assert "tfq lint --rules shared-grid" in result.output
    assert "Exit codes" in result.output


@pytest.mark.parametrize(
    ("name", "fail_on", "code"),
    [
        ("good", "error", 0),
        ("good", "warning", 0),
        ("good", "info", 1),
        ("meh", "error", 0),
        ("meh", "warning", 1),
        ("bad", "error", 1),
        ("bad", "warning", 1),
    ],
)
def test_exit_codes(folder, name, fail_on, code):
    assert typed(f"{name}.tflite", "--fail-on", fail_on).exit_code == code


@pytest.mark.parametrize("columns", [80, 120])
def test_no_line_is_wider_than_the_terminal(folder, columns):
    result = typed("bad.tflite", columns=columns)
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "bad.tflite: 1 error" in result.stdout
    assert "absurd-scale" in result.stdout
    assert "-> Quantize again" in result.stdout


def test_severity_hides_and_says_so(folder):
    shown, hidden = typed("good.tflite"), typed("good.tflite", "--severity", "warning")
    assert "no-signature" in shown.stdout
    assert "no-signature" not in hidden.stdout
    assert "notes not shown" in hidden.stdout


def test_all_lists_each_finding(folder):
    b = Build()
    x = b.tensor((1, 8), "int8", 0.1, name="x")
    for k in range(3):
        y = b.tensor((1, 8), "int8", 0.2 + k, name=f"y{k}")
        b.op("RESHAPE", [x], [y])
        x = y
    (folder / "three.tflite").write_bytes(b.end([0], [x]).model.to_bytes())
    short, full = typed("three.tflite"), typed("three.tflite", "--all")
    assert "shared-grid (3)" in short.stdout
    assert short.stdout.count("RESHAPE #") == 1
    assert full.stdout.count("RESHAPE #") == 3


def test_json_is_all_of_stdout(folder):
    result = typed("bad.tflite", "--json")
    plain = json.loads(result.stdout)
    assert result.exit_code == 1
    assert plain["worst"] == "error"
    assert {f["rule"] for f in plain["findings"]} >= {"absurd-scale", "no-signature"}


def test_the_config_of_the_folder_is_used(folder):
    (folder / "tfq.toml").write_text(
        '[lint]\nsuppress = [{ id = "absurd-scale", reason = "depth in millimetres" }]\n'
    )
    result = typed("bad.tflite")
    assert result.exit_code == 0
    assert "suppressed absurd-scale (1): depth in millimetres" in result.stdout
    (folder / "other.toml").write_text("")
    assert typed("bad.tflite", "--config", "other.toml").exit_code == 1


def test_mistakes_are_one_sentence_and_exit_2(folder):
    (folder / "tfq.toml").write_text('[lint]\nsuppress = [{ id = "absurd", reason = "x" }]\n')
    result = typed("good.tflite")
    assert result.exit_code == 2
    assert "Did you mean 'absurd-scale'" in result.stderr
    (folder / "tfq.toml").unlink()
    for arguments, told in (
        (("none.tflite",), "none.tflite"),
        (("good.tflite", "--target", "new"), "2.11.0"),
        (("good.tflite", "--reference", "good.tflite"), "--data"),
        (("good.tflite", "--data", "none.npy"), "none.npy"),
        ((), "MODEL"),
    ):
        result = typed(*arguments)
        assert result.exit_code == 2, arguments
        assert told in result.stderr
        assert "Traceback" not in result.output


def test_data_runs_the_file(folder):
    result = typed("good.tflite", "--data", "x.npy")
    assert result.exit_code == 0, result.output
    assert "8 samples run" in result.stdout
    clipped = np.load("x.npy") * 9
    np.save("far.npy", clipped)
    assert "input-clipped" in typed("good.tflite", "--data", "far.npy").stdout


def test_rules_are_listed_and_explained():
    listed = typed("--rules", columns=120)
    assert listed.exit_code == 0
    for name in LINT_RULES:
        assert name in listed.stdout
    one = typed("--rules", "bias-scale")
    rule = LINT_RULES["bias-scale"].rule
    for words in ("error", "why", rule.remedy[:30], rule.source[:30]):
        assert words in one.stdout
    assert json.loads(typed("--rules", "bias-scale", "--json").stdout)["id"] == "bias-scale"
    missed = typed("--rules", "bias-scal")
    assert missed.exit_code == 2
    assert "Did you mean 'bias-scale'" in missed.stderr


def test_names_in_a_model_cannot_steer_the_terminal(folder):
    b = Build()
    x = b.tensor((1, 8), "float32", name="x")
    y = b.tensor((1, 8), "float32", name="\x1b[31m[bold]y\nz")
    b.op("CUSTOM", [x], [y], custom=b"Evil\x1b[2J\n[red]")
    (folder / "evil.tflite").write_bytes(b.end([x], [y]).model.to_bytes())
    for extra in ((), ("--all",)):
        result = typed("evil.tflite", *extra)
        assert result.exit_code == 0
        assert "\x1b" not in result.stdout
        assert "[bold]" in result.stdout
