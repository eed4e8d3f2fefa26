"""`tfq compare`, as typed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from planned_files import integer
from small_nets import images, residual

from tfq_ext.cli import main
from tfq_ext.validation.comparison import labels
from tfq_ext.validation.comparison.labels import LONGEST, printable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("compare")
    model = residual()
    (path / "float.tflite").write_bytes(model.to_bytes())
    (path / "int8.tflite").write_bytes(integer(model).to_bytes())
    np.save(path / "x.npy", images(6))
    return path


def typed(*arguments):
    return CliRunner().invoke(main, ["compare", *map(str, arguments)])


def test_help_has_examples_and_exit_codes():
    result = typed("--help")
    assert result.exit_code == 0
    assert "tfq compare float.tflite int8.tflite --data samples.npz" in result.output
    assert "Exit codes" in result.output


def test_people_get_a_table(folder):
    result = typed(
        folder / "float.tflite", folder / "int8.tflite", "--data", folder / "x.npy", "--top", 3
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Output against the reference: ")
    assert "Layers, worst first" in result.stdout
    assert "by name" in result.stdout


def test_machines_get_json(folder):
    result = typed(
        *(folder / "float.tflite", folder / "int8.tflite", "--data", folder / "x.npy"),
        *("--json", "--no-own", "--limit", 2),
    )
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert read["samples"] == 2
    assert all(r["own_sqnr_db"] is None for r in read["rows"] if r["op"] != "input")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.tflite", "int8.tflite", "--data", "x.npy"), "none.tflite"),
        (("float.tflite", "x.npy", "--data", "x.npy"), "not a .tflite"),
        (("float.tflite", "int8.tflite"), "--data"),
        (("float.tflite", "int8.tflite", "--data", "none.npy"), "none.npy"),
        (("float.tflite", "int8.tflite", "--data", "x.npy", "--signature", "no"), "'no'"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(folder, arguments, said):
    places = [a if a.startswith("-") or "." not in a else folder / a for a in arguments]
    result = typed(*places)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_labels_are_short_distinct_and_printable():
    names = {
        "net/bn_1/add_1;net/b16_proj/convolution;net/bn_1/sub": "CONV_2D",
        "net/relu/Relu6;net/b2_dw/depthwise;net/pad/Pad": "DEPTHWISE_CONV_2D",
        "net/add_9/Add": "ADD",
        "net/add_8/Add": "ADD",
        "logits/int8": "FULLY_CONNECTED",
        "bad\x1b[31m\nname": "RELU",
        "y" * 200: "MUL",
    }
    found = labels.labels(names)
    assert list(found.values())[:5] == ["b16_proj", "b2_dw", "add_9", "add_8", "logits"]
    assert found["bad\x1b[31m\nname"] == "bad?[31m?name"
    assert len(set(found.values())) == len(names)
    assert all(len(v) <= LONGEST for v in found.values())
    assert printable("é") == "é"
