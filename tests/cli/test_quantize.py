"""`tfq quantize` on small float files: what is written, said, refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from small_nets import images, residual

import tfq_ext
from tfq_ext.cli import main
from tfq_ext.recipe import load_recipe
from tfq_ext.tflite.read import Model


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with net.tflite and x.npy."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.tflite").write_bytes(residual().to_bytes())
    np.save(tmp_path / "x.npy", images(6))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["quantize", *arguments])


QUICK = ("net.tflite", "--data", "x.npy", "--recipe", "int16x8")  # needs no TensorFlow


def test_the_default_name_and_the_same_bytes_as_the_library(place):
    result = run(*QUICK)
    assert result.exit_code == 0, result.stderr
    found = (place / "net.int16x8.tflite").read_bytes()
    expected = tfq_ext.quantize("net.tflite", "x.npy", recipe="int16x8")
    assert found == expected.content
    assert "net.int16x8.tflite" in result.stdout
    assert "read back equal" in result.stdout
    assert result.stderr == ""


def test_the_recipe_that_was_followed_is_written(place):
    """Of mixed: with the widths that it found, and it makes the same file."""
    first = ("net.tflite", "--data", "x.npy", "-o", "a.tflite")
    found = run(*first, "--recipe", "mixed", "--recipe-output", "widths.toml")
    assert found.exit_code == 0, found.stderr
    assert "search: layers with weights:" in found.stdout.replace("\n", " ")
    assert load_recipe(place / "widths.toml").search is None
    again = run(*first[:3], "--recipe", "widths.toml", "-o", "b.tflite")
    assert again.exit_code == 0, again.stderr
    assert (place / "a.tflite").read_bytes() == (place / "b.tflite").read_bytes()


@pytest.mark.parametrize("path", ["widths.yaml", "net.tflite", "x.npy"])
def test_the_recipe_goes_into_a_recipe_file(place, path):
    before = {p.name: p.read_bytes() for p in place.iterdir()}
    done = run(*QUICK, "--recipe-output", path)
    assert done.exit_code == 2
    assert {p.name: p.read_bytes() for p in place.iterdir()} == before


def test_json_alone_on_stdout_and_in_the_report(place):
    result = run(*QUICK, "--json", "--report", "account.json", "-o", "o.tflite")
    printed = json.loads(result.stdout, parse_constant=pytest.fail)
    written = json.loads((place / "account.json").read_text(), parse_constant=pytest.fail)
    assert printed.pop("output") == "o.tflite"
    assert printed == written
    assert printed["account"]["bytes_after"] == (place / "o.tflite").stat().st_size
    assert load_recipe(printed["recipe"]) == load_recipe("int16x8")


def test_options_and_settings_reach_the_recipe(place):
    result = run(
        *QUICK,
        *("--set", "weights.scale=mse", "--set", "weights.per_channel=false"),
        *("--seed", "3", "--calibrator", "percentile:99.9", "--json"),
    )
    recipe = json.loads(result.stdout)["recipe"]
    assert recipe["weights"]["scale"] == "mse"
    assert recipe["weights"]["per_channel"] is False
    assert (recipe["seed"], recipe["calibrator"]) == (3, "percentile:99.9")


def test_a_recipe_file_names_the_output(place):
    (place / "mine.toml").write_text('base = "dynamic"\n')
    assert run("net.tflite", "--recipe", "mine.toml").exit_code == 0
    assert (place / "net.mine.tflite").exists()


def test_strict_is_exit_code_1_and_writes_nothing(place):
    rule = 'rules=[{op="ADD", keep_float=true}]'
    result = run(*QUICK, "--strict", "--set", rule)
    assert result.exit_code == 1, result.output
    assert "strict" in result.stderr
    assert "ADD sum" in result.stderr
    assert not (place / "net.int16x8.tflite").exists()
    lenient = run(*QUICK, "--no-strict", "--set", rule)
    assert lenient.exit_code == 0
    assert "stayed float because" in lenient.stdout


def test_data_that_are_not_needed_are_named_in_a_warning(place):
    result = run("net.tflite", "--data", "x.npy", "--recipe", "fp16")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: Recipe 'fp16' needs no data")


BAD = {
    "no data": (["net.tflite"], "give --data"),
    "data that are not there": (["net.tflite", "--data", "y.npy"], "no such file"),
    "model that is not there": (["no.keras", "--recipe", "fp16"], "There is no no.keras"),
    "unknown recipe": (["net.tflite", "--recipe", "int9"], "Did you mean 'int8'?"),
    "over the input": ([*QUICK, "-o", "net.tflite"], "is an input"),
    "over the data": ([*QUICK, "-o", "x.npy"], "is an input"),
    "report over the model": ([*QUICK, "--report", "net.tflite"], "is an input"),
    "no folder": ([*QUICK, "-o", "no/o.tflite"], "no folder no"),
    "a folder": ([*QUICK, "-o", "."], "is a folder"),
    "setting without value": ([*QUICK, "--set", "bits"], "FIELD=VALUE"),
    "setting of no field": ([*QUICK, "--set", "colour=red"], "no such field"),
    "setting twice": ([*QUICK, "--set", "seed=1", "--seed", "2"], "keep one"),
    "preprocess": ([*QUICK, "--preprocess", "zoom=2"], "zoom"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_exit_code_2_and_a_sentence(place, case):
    arguments, words = BAD[case]
    before = (place / "net.tflite").read_bytes()
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert (place / "net.tflite").read_bytes() == before


@pytest.mark.tf
def test_a_real_run_says_nothing_of_tensorflow_or_litert(place):
    """The whole process: banners of C++ libraries do not pass through Python."""
    arguments = ["net.tflite", "--data", "x.npy", "--calibrator", "minmax"]
    done = subprocess.run(
        [sys.executable, "-c", "from tfq_ext.cli import main; main()", "quantize", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "All 6 ops are integer." in done.stdout
    assert Model.parse((place / "net.int8.tflite").read_bytes()).graphs


def refused(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert not result.stdout
    return result.stderr


def test_without_data_a_tflite_is_refused_and_told_of_keras(place):
    said = refused("net.tflite", "--no-data", "--input-range", "-1,1")
    assert "Give the .keras file it was made of, or samples" in said
    assert "--no-data (Keras models" in refused("net.tflite")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data", "x.npy"), "contradict each other"),
        (("--recipe", "int4"), "leave --recipe out"),
        (("--input-range", "1"), "takes MIN,MAX or NAME=MIN,MAX"),
        (("--input-range", "0,1", "--input-range", "a=0,1"), "one NAME=MIN,MAX each"),
        (("--input-range", "a=0,1", "--input-range", "a=0,2"), "one NAME=MIN,MAX each"),
        (("--set", "bias=match"), "use bias = 'analytic'"),
        (("--set", "equalize=try"), "use 'on' or 'off'"),
    ],
)
def test_what_no_data_does_not_go_with(place, arguments, words):
    assert words in " ".join(refused("net.tflite", "--no-data", *arguments).split())


def test_a_recipe_that_needs_no_data_may_be_named_beside_it(place):
    assert run("net.tflite", "--no-data", "--recipe", "dynamic").exit_code == 0


@pytest.mark.tf
def test_a_keras_file_without_data(place):
    keras = pytest.importorskip("keras")
    from keras import layers as L

    keras.utils.set_random_seed(0)
    x = keras.Input((8, 8, 3), name="image")
    y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(4, 3)(x)))
    model = keras.Model(x, y)
    model.layers[2].moving_variance.assign([0.5, 0.2, 1.0, 2.0])
    model.save("net.keras")
    result = run("net.keras", "--no-data", "--input-range", "image=-1,1")
    assert result.exit_code == 0, result.stderr
    assert "net.data-free.tflite" in result.stdout
    said = " ".join(result.stdout.split())
    assert "All 1 ops are integer" in said
    assert "read back equal" in said
    assert "nothing was measured" in said
    assert "1 of 1 layers have theirs from BatchNormalization" in said
    again = run("net.keras", "--no-data", "--preprocess", "scale=1/127.5,mean=1", "-o", "b.tflite")
    assert again.exit_code == 0, again.stderr
    pair = [(place / n).read_bytes() for n in ("net.data-free.tflite", "b.tflite")]
    assert pair[0] == pair[1]
