"""`tfq audit`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from planned_files import planned, seen
from small_nets import images, residual

from tfq_ext.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit")
    (path / "float.tflite").write_bytes(residual().to_bytes())
    np.save(path / "x.npy", images(24))
    return path


def typed(*arguments):
    return CliRunner().invoke(main, ["audit", *map(str, arguments)])


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert result.exit_code == 0
    assert "tfq audit int8.tflite --reference model.keras" in result.output
    assert "Exit codes" in result.output


def test_a_missing_model_is_one_sentence_and_exit_code_2(folder):
    result = typed(folder / "none.tflite", "--data", folder / "x.npy")
    assert result.exit_code == 2
    assert "none.tflite" in result.stderr
    assert "Traceback" not in result.output


def test_an_integer_file_alone_is_told_what_is_missing(folder, tmp_path):

    from tfq_ext.emit.emitters import emit

    model = residual()
    path = tmp_path / "int8.tflite"
    path.write_bytes(emit("patched", model, planned(model, seen(model)[1])[1]).content)
    result = typed(path, "--data", folder / "x.npy")
    assert result.exit_code == 2
    assert "--reference" in result.stderr


@pytest.mark.tf
def test_people_get_a_report_and_the_next_command(folder):
    pytest.importorskip("tensorflow")
    result = typed(folder / "float.tflite", "--data", folder / "x.npy", "--fast")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("TFLiteConverter ")
    assert "Where the noise comes from" in result.stdout


@pytest.mark.tf
def test_machines_get_json_and_nothing_else_on_stdout(folder):
    pytest.importorskip("tensorflow")
    result = typed(folder / "float.tflite", "--data", folder / "x.npy", "--fast", "--json")
    assert result.exit_code == 0, result.output
    values = json.loads(result.stdout)
    assert values["samples"] + values["judges"] == 24
    assert {row["tensor"] for row in values["tensors"]} >= {"branch", "sum", "logits"}
