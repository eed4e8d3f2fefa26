"""evaluate(): each row is what measure() says of that file alone; a bad file is a row too."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_models import dense_model, quantized_io_model

import tfq_ext as tfq
from tfq_ext.cli import main
from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.zipped import zipped_size
from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.naming import named

RNG = np.random.default_rng(5)
N, C, D = 60, 5, 6
W = RNG.normal(size=(C, D)).astype(np.float32)
X = RNG.normal(size=(N, D)).astype(np.float32)
LABELS = (X @ W.T).argmax(1)
LABELS[:6] = (LABELS[:6] + 1) % C  # six labels made wrong
FLOAT = dense_model(W)
INT8 = quantized_io_model(W, ("int8", 0.05, 3), ("int8", 0.1, -5))
COARSE = quantized_io_model(W, ("int8", 0.2, 0), ("int8", 0.4, 0))
BROKEN = b"\x1c\0\0\0TFL3" + bytes(60)


def got(models, data=(X, LABELS), **options):
    return tfq.evaluate(models, data, **{"workers": 1, "show_progress": False} | options)


@pytest.fixture(scope="module")
def found():
    return got({"int8": INT8, "coarse": COARSE, "broken": BROKEN}, reference=FLOAT)


def test_each_row_is_what_measure_says(found):
    for name, content in {"int8": INT8, "coarse": COARSE}.items():
        row = found[name]
        alone = measure(content, (X, LABELS), reference=FLOAT, workers=1, show_progress=False)
        assert row.accuracy.metrics == alone.metrics
        assert (row.accuracy.sqnr_db, row.accuracy.agreement) == (alone.sqnr_db, alone.agreement)
        assert (row.size_bytes, row.zipped_bytes) == (len(content), zipped_size(content))
    assert found["int8"].accuracy.sqnr_db > found["coarse"].accuracy.sqnr_db
    assert found.reference_bytes == len(FLOAT)


def test_a_bad_file_is_a_row_and_the_others_go_on(found):
    assert found["broken"].accuracy is None
    assert found["broken"].failed in " ".join(str(found).split())
    assert [row.name for row in found.rows] == ["int8", "coarse", "broken"]
    with pytest.raises(KeyError, match="there are int8, coarse, broken"):
        found["absent"]


def test_the_table_has_the_numbers(found):
    lines = str(found).splitlines()
    assert lines[0] == f"{N} samples, classification"
    reference, int8 = (next(x for x in lines if x.startswith(n)) for n in ("reference", "int8"))
    assert "90.0" in reference  # 54 of 60
    accuracy = found["int8"].accuracy
    assert f"{100 * accuracy.agreement:.1f}" in int8
    assert f"{accuracy.sqnr_db:.1f}" in int8


def test_as_json(found):
    told = json.loads(found.to_json())
    assert told["rows"][2]["accuracy"] is None
    assert told["rows"][0]["accuracy"]["n"] == N
    assert told["reference_bytes"] == len(FLOAT)


def test_without_reference_and_without_labels():
    alone = got(FLOAT)
    assert alone["model"].accuracy.metric("top1").candidate == 0.9
    assert "agrees" not in str(alone)
    unlabelled = got(INT8, X, reference=FLOAT)
    assert not unlabelled["model"].accuracy.metrics
    assert "SQNR dB" in str(unlabelled)


def test_a_bad_file_in_front_stops_nothing_without_a_reference_either():
    found = got({"broken": BROKEN, "float": FLOAT})
    assert found["broken"].failed
    assert found["float"].accuracy.metric("top1").candidate == 0.9
    with pytest.raises(ModelError, match="damaged"):
        got({"broken": BROKEN})


def test_a_generator_of_samples_serves_every_file():
    rows = got({"a": INT8, "b": INT8}, (x[None] for x in X), reference=FLOAT).rows
    assert rows[0].accuracy.sqnr_db == rows[1].accuracy.sqnr_db
    assert rows[0].accuracy.n == N


def test_errors_help():
    with pytest.raises(DataError, match="at least one"):
        got({})
    with pytest.raises(DataError, match="broken: "):
        got({"broken": BROKEN}, reference=FLOAT)
    with pytest.raises(ModelError, match="reference"):
        got(INT8, reference=BROKEN)


def test_files_without_names_are_called_as_on_disk():
    paths = ["a/x.tflite", "b/x.tflite", "y.tflite", "c/x.tflite"]
    assert list(named(paths)) == ["x.tflite", "x.tflite (2)", "y.tflite", "x.tflite (3)"]
    assert named("a/x.tflite") == {"x.tflite": "a/x.tflite"}
    assert named(FLOAT) == {"model": FLOAT}


@pytest.fixture
def folder(tmp_path):
    for name, content in {"float": FLOAT, "int8": INT8, "broken": BROKEN}.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    np.savez(tmp_path / "test.npz", x=X, y=LABELS)
    return tmp_path


def typed(folder, *words):
    common = ["--reference", str(folder / "float.tflite"), "--data", str(folder / "test.npz")]
    return CliRunner().invoke(main, ["evaluate", *map(str, words), *common, "--workers", "1"])


def test_the_verb(folder):
    done = typed(folder, folder / "int8.tflite")
    assert done.exit_code == 0, done.output
    assert "int8.tflite" in done.output
    told = json.loads(typed(folder, folder / "int8.tflite", "--json").stdout)
    assert told["rows"][0]["name"] == "int8.tflite"


def test_the_verb_says_what_failed(folder):
    done = typed(folder, folder / "int8.tflite", folder / "broken.tflite")
    assert done.exit_code == 2
    assert "int8.tflite" in done.output
    assert "broken.tflite: " in done.output


def test_the_verb_needs_data(folder):
    done = CliRunner().invoke(main, ["evaluate", str(folder / "int8.tflite")])
    assert done.exit_code == 2
    assert "--data" in done.output
