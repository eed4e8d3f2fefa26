"""`tfq export`: a saved QAT model to its file."""

import json

import pytest
from click.testing import CliRunner

from tfq_ext.cli import main

pytestmark = pytest.mark.tf


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    keras = pytest.importorskip("keras")
    import numpy as np

    from tfq_ext import qat

    x = keras.Input((6, 6, 2), name="x")
    y = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(x)
    data = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
    model = qat.quantize_aware(keras.Model(x, y), data, weight_bits=4)
    path = tmp_path_factory.mktemp("qat") / "qat.keras"
    model.save(path)
    return path, qat.export(model).content


def run(*words):
    return CliRunner().invoke(main, ["export", *map(str, words)])


def test_the_file_is_that_of_export(saved, tmp_path):
    path, content = saved
    done = run(path, "-o", tmp_path / "out.tflite")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out.tflite").read_bytes() == content
    assert "4-bit weights and activation ranges as trained" in done.output


def test_integers_in_and_json(saved, tmp_path):
    done = run(saved[0], "--input-type", "int8", "--json", "-o", tmp_path / "out.tflite")
    told = json.loads(done.stdout)
    assert told["recipe"]["input_type"] == "int8"
    assert told["account"]["float_ops"] == []


def test_what_is_no_qat_model_is_refused(tmp_path):
    keras = pytest.importorskip("keras")
    plain = tmp_path / "plain.keras"
    x = keras.Input((3,))
    keras.Model(x, keras.layers.Dense(2)(x)).save(plain)
    for path, said in ((plain, "has no quantizers"), (tmp_path / "none.keras", "cannot be loaded")):
        done = run(path, "-o", tmp_path / "out.tflite")
        assert done.exit_code == 2
        assert said in done.output
