"""`tfq validate` and `tfq vectors` as people run them."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.cli import main
from tfq_ext.validation.gate import GATES

EXAMPLE = Path(__file__).parents[2] / "tools" / "ci_example"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("validate")
    model, x = residual(), images(32)
    (place / "float.tflite").write_bytes(model.to_bytes())
    tfq.quantize(
        model.to_bytes(), x, recipe={"base": "int8", "calibrator": "minmax"}, show_progress=False
    ).save(place / "int8.tflite")
    np.savez(place / "test.npz", image=x, y=np.arange(32) % 5)
    return place


def run(*words, code=0):
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.output


def both(folder):
    return (
        "validate", folder / "int8.tflite", "--reference", folder / "float.tflite",
        "--data", folder / "test.npz", "--runs", 3, "--workers", 1,
    )  # fmt: skip


def test_a_file_alone_passes_if_it_runs(folder):
    out = run("validate", folder / "int8.tflite", "--runs", 3)
    assert "it runs; no other gate was set" in out
    assert "nothing to compare with: give --reference and --data" in out


def test_gates_decide_the_exit_code(folder):
    assert "may ship: all 3 gates" in run(
        *both(folder), "--max-size", "1MB", "--gate", "float_ops=0"
    )
    assert "do not ship: size failed" in run(*both(folder), "--max-size", "1kB", code=1)
    out = run("validate", folder / "int8.tflite", "--max-drop", "1%", "--runs", 3, code=2)
    assert "cannot judge: top1_drop" in out
    assert "give --data" in out


def test_every_report_is_written(folder, tmp_path):
    words = [
        "--html", tmp_path / "r.html", "--junit", tmp_path / "r.xml",
        "--markdown", tmp_path / "r.md",
        "--report", tmp_path / "r.json", "--model-explorer", tmp_path / "nodes",
    ]  # fmt: skip
    run(*both(folder), *words, "--max-size", "1kB", code=1)
    assert "Do not ship" in (tmp_path / "r.html").read_text()
    assert ElementTree.parse(tmp_path / "r.xml").find(".//failure") is not None
    assert "do not ship" in (tmp_path / "r.md").read_text()
    assert json.loads((tmp_path / "r.json").read_text())["exit_code"] == 1
    assert (tmp_path / "nodes" / "sqnr_db.json").is_file()


def test_json_is_all_that_stdout_gets(folder):
    done = CliRunner().invoke(main, [*map(str, both(folder)), "--json"])
    table = json.loads(done.stdout)
    assert table["passed"] is True
    assert table["accuracy"]["n"] == 32


def test_a_settings_file_and_an_option_that_wins_over_it(folder, tmp_path):
    config = tmp_path / "tfq.toml"
    config.write_text(
        f'[gates]\nsize = "1kB"\n[validate]\nreference = "{folder / "float.tflite"}"\nruns = 3\n'
        '[lint]\nsuppress = [{id = "no-metadata", reason = "none needed"}]\n'
    )
    out = run("validate", folder / "int8.tflite", "--config", config, code=1)
    assert "1 finding suppressed" in out or "suppressed by the config" in out
    run("validate", folder / "int8.tflite", "--config", config, "--max-size", "1MB")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--gate", "sice=1"], "Did you mean 'size'"),
        (["--gate", "size=heavy"], "is no bound"),
        (["--max-size", "1MB", "--gate", "size=1MB"], "given twice"),
        (["--html", "/nowhere/r.html"], "There is no folder"),
        (["--config", "/nowhere/tfq.toml"], "Cannot read"),
        (["--stop-early"], "set top1_drop"),
        (["--signature", "none"], "no signature 'none'"),
        (["--data", "/nowhere/x.npz"], "no such file"),
        (["--task", "guessing"], "guessing"),
    ],
)
def test_mistakes_are_told_in_a_sentence(folder, words, told):
    out = run("validate", folder / "int8.tflite", "--runs", 2, *words, code=2)
    assert told in out
    assert "Traceback" not in out


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1c\0\0\0TFL3" + bytes(40)])
def test_what_is_no_model_is_bad_input(tmp_path, content):
    (tmp_path / "bad.tflite").write_bytes(content)
    out = run("validate", tmp_path / "bad.tflite", code=2)
    assert out.startswith("error:")


def test_the_model_is_not_overwritten(folder):
    target = folder / "int8.tflite"
    assert "not overwritten" in run("validate", target, "--html", target, code=2)


def test_gates_are_listed():
    out = run("validate", "--gates")
    assert all(name in out for name in GATES)


def test_vectors_there_and_back(folder, tmp_path):
    model, zipped = folder / "int8.tflite", tmp_path / "v.zip"
    run("vectors", model, "--data", folder / "test.npz", "--count", 4, "-o", zipped)
    assert "4 of 4 vectors equal" in run("vectors", model, "--replay", zipped)
    other = folder / "float.tflite"
    assert "another file" in run("vectors", other, "--replay", zipped, code=2)


def test_the_example_for_ci_says_nothing_unknown(tmp_path):
    from tfq_ext.validation.catalogue import catalogue
    from tfq_ext.validation.gate import load_config
    from tfq_ext.validation.lint.config import load

    assert load_config(EXAMPLE / "tfq.toml").gates["float_ops"] == 0
    assert load(EXAMPLE / "tfq.toml", catalogue()).suppress
    workflow = (EXAMPLE / "validate-model.yml").read_text()
    for option in ("--config", "--html", "--junit", "--markdown"):
        assert option in workflow


def test_the_pytest_helper(folder, tmp_path):
    from tfq_ext.testing import assert_ships

    page = tmp_path / "r.html"
    found = assert_ships(folder / "int8.tflite", gates={"size": "1MB"}, runs=2, html=page)
    assert found.passed
    with pytest.raises(AssertionError, match="do not ship: size failed"):
        assert_ships(folder / "int8.tflite", gates={"size": "1kB"}, runs=2, html=page)
    assert "Do not ship" in page.read_text()
