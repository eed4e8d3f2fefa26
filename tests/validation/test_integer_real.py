"""Real networks: every code of every integer op is LiteRT's, on all three kernel sets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tfq_ext.tflite.arithmetic import INTEGER, arithmetic
from tfq_ext.tflite.read import Model
from tfq_ext.validation.integer import IntegerReport, check_integers

SETS = ("reference", "builtin", "xnnpack")
SHARED = Path(os.environ.get("TFQ_SHARED", "does-not-exist"))
KERAS = SHARED / "models" / "mobilenet_v2_imagenet.keras"
ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
FILES = sorted(ZOO.glob("*.tflite")) if ZOO.is_dir() else []

pytestmark = pytest.mark.slow


def tell(name: str, report: IntegerReport, seconds: float) -> None:
    print(
        f"{name[-58:]:58} {len(report.rows):4} ops {report.compared:>10} codes "
        f"{report.differing:>5} differ {len(report.skipped):>4} not compared {seconds:6.1f} s"
    )


@pytest.mark.tf
@pytest.mark.parametrize("recipe", ["int8-minmax", "int16x8", "int4-fast"])
def test_the_demo_network(recipe: str):
    from tfq_ext import quantize
    from tfq_ext.demo import calibration, evaluation, model_path

    made = quantize(str(model_path()), calibration()[:32], recipe=recipe, show_progress=False)
    report = check_integers(made.content, evaluation()[0][:4], kernels=SETS)
    assert report.differing == 0
    assert report.compared > 100_000
    if recipe == "int4-fast":  # the reference kernels lack the newest DEPTHWISE_CONV_2D
        assert report.kernels == ("builtin", "xnnpack")


@pytest.mark.tf
@pytest.mark.data
@pytest.mark.skipif(not KERAS.exists(), reason="set TFQ_SHARED to the folder with models/")
def test_mobilenet_v2(capsys: pytest.CaptureFixture[str]):
    from tfq_ext import quantize

    images = SHARED / "data" / "imagenet_dev"
    made = quantize(
        str(KERAS),
        images,
        recipe="int8-minmax",
        preprocess="scale=1/127.5,mean=1,std=1",
        limit=8,
        show_progress=False,
    )
    begun = time.monotonic()
    report = check_integers(
        made.content, images, kernels=SETS, limit=1, preprocess="scale=1/127.5,mean=1,std=1"
    )
    with capsys.disabled():
        tell("mobilenet_v2 int8", report, time.monotonic() - begun)
    assert report.exact
    assert not report.findings
    assert report.compared > 20_000_000
    assert all(row.fits32 for row in report.rows if row.accumulator is not None)


def integer_files() -> list[Path]:
    """Those with at least one op that computes in integers."""
    found = []
    for path in FILES:
        model = Model.load(path)
        if any(arithmetic(graph, op) == INTEGER for graph, _, op, _ in model.walk()):
            found.append(path)
    return found


@pytest.mark.data
@pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models")
def test_third_party_files(capsys: pytest.CaptureFixture[str]):
    for path in integer_files():
        begun = time.monotonic()
        report = check_integers(path, kernels=SETS, limit=1)
        with capsys.disabled():
            tell(path.name, report, time.monotonic() - begun)
        assert report.exact, str(report)
        assert all(why for _, _, why in report.skipped)


@pytest.mark.data
@pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models")
def test_a_float_file_says_so():
    path = next(p for p in FILES if p not in integer_files())
    report = check_integers(path, np_inputs(path), limit=1)
    assert not report.compared
    assert report.skipped


def np_inputs(path: Path) -> dict[str, np.ndarray]:
    graph = Model.load(path).graphs[0]
    shapes = {graph.name(t): tuple(max(n, 1) for n in graph.shape(t)) for t in graph.inputs}
    rng = np.random.default_rng(0)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
