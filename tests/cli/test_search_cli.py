"""`tfq sensitivity` and `tfq search`, as typed."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from small_nets import images, residual

import tfq_ext
from tfq_ext.cli import main
from tfq_ext.search.sensitivity import Sensitivity

FAST = ("--recipe", "int8-minmax")


@pytest.fixture(autouse=True)
def _without_tensorflow(monkeypatch):
    """A float .tflite needs none, and its import takes longer than these tests."""
    monkeypatch.setitem(sys.modules, "tensorflow", None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("search")
    (path / "float.tflite").write_bytes(residual(spread=30.0).to_bytes())
    np.save(path / "x.npy", images(20))
    np.savez(path / "test.npz", image=images(20, seed=3), y=np.arange(20) % 5)
    return path


def typed(verb, folder, *arguments, data=True):
    model = [folder / "float.tflite", *(["--data", folder / "x.npy", *FAST] if data else [])]
    return CliRunner().invoke(main, [verb, *map(str, [*model, *arguments])])


@pytest.mark.parametrize(
    ("verb", "example"),
    [
        ("sensitivity", "tfq sensitivity model.tflite --data samples.npz"),
        ("search", "tfq search model.tflite --data samples.npz --max-size 1.2MB -o mixed.toml"),
    ],
)
def test_help_has_examples_and_exit_codes(verb, example):
    result = CliRunner().invoke(main, [verb, "--help"])
    assert result.exit_code == 0
    assert example in result.output
    assert "Exit codes" in result.output


def test_people_get_the_worst_layers_and_a_plot(folder, tmp_path):
    result = typed("sensitivity", folder, "--top", 2, "--plot", tmp_path / "layers.png")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "6 layers, measured on 20 samples."
    assert "and 4 layers more (--all)" in lines
    worst = next(line.split()[0] for line in lines if "CONV_2D" in line or "FULLY" in line)
    assert worst == "logits"
    assert (tmp_path / "layers.png").stat().st_size > 10_000


def test_machines_get_every_row(folder):
    result = typed("sensitivity", folder, "--bits", 4, "--scope", "only", "--json")
    assert result.exit_code == 0, result.output
    read = json.loads(result.stdout)
    assert set(read) == set(Sensitivity.__dataclass_fields__)
    assert {row["weights"] for row in read["rows"]} == {0, 4}
    assert {row["scope"] for row in read["rows"]} == {"only"}


def test_in_order_and_with_labels(folder):
    result = typed("sensitivity", folder, "--evaluation", folder / "test.npz", "--by-order")
    assert result.exit_code == 0, result.output
    assert "top1" in result.stdout
    layers = [
        line.split()[0] for line in result.stdout.splitlines() if "8 dB" in line or " dB " in line
    ]
    assert layers.index("a") < layers.index("branch") < layers.index("logits")


def test_a_search_writes_the_recipe_that_makes_its_file(folder, tmp_path):
    recipe, plot = tmp_path / "mixed.toml", tmp_path / "curve.svg"
    arguments = ("--max-size", 4200, "--points", 3, "-o", recipe, "--plot", plot)
    result = typed("search", folder, *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Goal: at most 4.2 kB.")
    assert f"recipe: {recipe}" in result.stdout
    assert plot.read_text().startswith("<?xml")
    made = tmp_path / "made.tflite"
    quantized = typed("quantize", folder, "--recipe", recipe, "-o", made)
    assert quantized.exit_code == 0, quantized.output
    found = tfq_ext.find_recipe(
        folder / "float.tflite",
        folder / "x.npy",
        recipe="int8-minmax",
        max_size=4200,
        points=0,
        show_progress=False,
    )
    assert found.recipe == tfq_ext.load_recipe(recipe)
    again = tfq_ext.quantize(folder / "float.tflite", folder / "x.npy", recipe=found.recipe)
    assert made.read_bytes() == again.content
    assert len(again.content) == found.measured.size <= 4200


def test_times_are_saved_and_decide_when_given(folder, tmp_path):
    costs = tmp_path / "costs.json"
    first = typed(
        *("search", folder, "--max-latency", "50ms", "--choices", "w4,w8", "--points", 0),
        *("--save-costs", costs, "-o", tmp_path / "a.toml"),
    )
    assert first.exit_code == 0, first.output
    assert json.loads(costs.read_text())["unit"] == "ms"
    again = typed(
        *("search", folder, "--max-latency", "50ms", "--choices", "w4,w8", "--points", 0),
        *("--costs", costs, "-o", tmp_path / "b.toml", "--json"),
    )
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["measured"]["ms"] is None
    assert (tmp_path / "a.toml").read_text() == (tmp_path / "b.toml").read_text()


@pytest.mark.parametrize(
    ("verb", "arguments", "said"),
    [
        ("search", (), "needs a budget"),
        ("search", ("--max-size", "500B"), "smallest possible"),
        ("search", ("--max-size", "4kB", "-o", "x.txt"), ".toml or .json"),
        ("search", ("--max-size", "4kB", "--choices", "w5"), "allowed: w4, w8, a16, float"),
        ("search", ("--max-size", "4kB", "--save-costs", "c.json"), "give both"),
        ("search", ("--max-size", "4kB", "-o", "no/such/x.toml"), "no folder"),
        ("search", ("--max-size", "4kB", "--plot", "x.gif"), ".png, .svg, .pdf"),
        ("search", ("--max-drop", "1%"), "labelled samples"),
        ("sensitivity", ("--bits", "3"), "'8', '4'"),
        ("sensitivity", ("--plot", "x.gif"), ".png, .svg, .pdf"),
        ("sensitivity", ("--recipe", "int16x8"), "16-bit activations"),
        ("sensitivity", ("--evaluation", "none.npz"), "none.npz"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(folder, verb, arguments, said):
    result = typed(verb, folder, *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("verb", ["sensitivity", "search"])
def test_without_data_it_says_so_before_any_work(folder, verb):
    result = typed(verb, folder, "--recipe", "int8", data=False)
    assert result.exit_code == 2
    assert "--data" in result.stderr


def test_an_interrupted_run_leaves_its_measurements(folder, tmp_path):
    arguments = ("--bits", 4, "--scope", "only", "--checkpoint", tmp_path / "run", "--json")
    first = typed("sensitivity", folder, *arguments)
    lines = (tmp_path / "run.jsonl").read_bytes()
    assert typed("sensitivity", folder, *arguments).stdout == first.stdout
    assert (tmp_path / "run.jsonl").read_bytes() == lines
    (tmp_path / "run.jsonl").write_text("something else\n")
    refused = typed("sensitivity", folder, *arguments)
    assert refused.exit_code == 2
    assert "run.jsonl" in refused.stderr
