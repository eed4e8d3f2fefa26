"""Benchmarks of accuracy and calibration from end to end, as a user starts them.

No time is judged.
"""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tfq_ext import demo

TOOLS = Path(__file__).parents[2] / "tools"
pytestmark = [pytest.mark.slow, pytest.mark.tf]


def start(tool, *options):
    return subprocess.run(
        [sys.executable, str(TOOLS / tool), *map(str, options)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    image = pytest.importorskip("PIL.Image", reason="Pillow writes the images")
    pixels, labels = demo.images("evaluation")
    made = tmp_path_factory.mktemp("images")
    for k in range(100):
        image.fromarray(pixels[k, ..., 0]).save(made / f"{labels[k]}_{k:04d}.png")
    return made


def test_calibration_is_timed_for_everybody_on_the_same_samples(tmp_path):
    figures = tmp_path / "figures.json"
    done = start("bench_calibration.py", "--random", 12, "--rounds", 2, "--json", figures)
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    assert found["out"] == {}
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [
        "LiteRT inference",
        "tfq_ext, all statistics",
        "TFLiteConverter",
        "litert-quantizer",
    ]
    assert rows["LiteRT inference"]["of_plain"] == 1
    assert rows["tfq_ext, all statistics"]["of_ours"] == 1
    for row in rows.values():
        assert row["ms"] > 0
        assert 0 < row["growth_mb"] < row["peak_mb"]
    assert re.search(r"<= 2.5 x inference: (met|MISSED)", done.stdout)
    assert len(re.findall(r">= 4 x ours: (?:met|MISSED)", done.stdout)) == 2


@pytest.fixture(scope="module")
def accuracy(folder, tmp_path_factory):
    """(what was printed, figures) with halves."""
    figures = tmp_path_factory.mktemp("figures") / "figures.json"
    options = {
        "--images": folder,
        "--model": demo.model_path(),
        "--preprocess": f"mean={demo.PIXEL_MEAN},std={demo.PIXEL_STD}",
        "--calibrators": "minmax,percentile:99.99",
        "--recipes": "fast",
        "--json": figures,
    }
    given = [part for pair in options.items() for part in pair]
    done = start("bench_accuracy.py", *given, "--split-half")
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(figures.read_text())


def test_accuracy_of_everybody_on_the_same_images(accuracy):
    printed, found = accuracy
    assert "10 calibration, 20 evaluation images" in printed
    assert found["out"] == {}
    rows = {row["name"]: row for row in found["rows"]}
    assert math.isinf(rows["float"]["sqnr_db"])
    for name in (
        "TFLiteConverter",
        "litert-quantizer",
        "tfq_ext, int8, minmax",
        "tfq_ext, int8, percentile:99.99",
        "tfq_ext, fast",
    ):
        row = rows[name]
        assert row["n"] == row["labelled"] == 20
        assert row["bytes"] < 0.7 * rows["float"]["bytes"], name
        assert row["sqnr_db"] > 15, name
        low, high = row["top1_interval"]
        assert low <= row["top1"] <= high
        assert 50 < row["peak_mb"] < 10_000, name
    assert rows["TFLiteConverter, per layer"]["sqnr_db"] < rows["TFLiteConverter"]["sqnr_db"]


def test_the_drop_is_paired_with_float(accuracy):
    rows = {row["name"]: row for row in accuracy[1]["rows"]}
    float_row = rows.pop("float")
    assert float_row["drop"] is None
    for row in rows.values():
        drop = row["drop"]
        assert drop["drop"] == pytest.approx(float_row["top1"] - row["top1"])
        assert drop["lo"] <= drop["drop"] <= drop["hi"]


def test_halves_of_the_images_lead_to_two_files(accuracy):
    printed, found = accuracy
    halves = {row["name"]: row for row in found["halves"]}
    assert set(halves) == {row["name"] for row in found["rows"]} - {"float"}
    assert all(10 < row["between_db"] < 100 for row in halves.values())
    assert "between halves, dB" in printed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"--evaluate-ending": "x"}, "no file whose name ends in"),
        ({"--preprocess": None}, "state --preprocess"),
        ({"--preprocess": "scale=none"}, "cannot read 'scale=none'"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_sentence(folder, change, sentence):
    options = {
        "--images": folder,
        "--model": demo.model_path(),
        "--preprocess": "mean=128,std=128",
        **change,
    }
    given = [part for pair in options.items() if pair[1] is not None for part in pair]
    done = start("bench_accuracy.py", *given)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
