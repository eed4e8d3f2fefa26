"""Other people's files (TFQ_ZOO): every one is inspected, and the sums hold."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tfq_ext.report.inspect_text import View, to_text
from tfq_ext.validation.inspection import inspect
from tfq_ext.validation.inspection.runtime_versions import precedes

ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
FILES = sorted(p for p in ZOO.glob("*.tflite") if p.stat().st_size < 20e6)

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models"),
]


def zoo(part: str):
    return inspect(next(p for p in FILES if part in p.name))


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
def test_every_file_is_inspected_and_the_sums_hold(path):
    found = inspect(path)
    assert sum(found.parts.values()) == found.size_bytes == path.stat().st_size
    assert min(found.parts.values()) >= 0
    assert sum(found.op_counts.values()) == len(found.ops) == sum(g.ops for g in found.subgraphs)
    assert sum(g.macs for g in found.subgraphs) == found.macs
    for row in found.ops:
        assert bool(row.reason) == (row.arithmetic in ("float", "hybrid", "custom"))
    assert found.runtime.unlisted == ()
    # Tools that edit a finished file leave what it said before; none says too much.
    assert not precedes(found.runtime.release, found.stated_runtime)
    assert json.loads(found.to_json())["macs"] == found.macs
    for width in (40, 80):
        text = to_text(found, width=width, view=View(ops=True, tensors=True, weights=True))
        assert max(map(len, text.splitlines())) <= width
        assert all(c.isprintable() or c == "\n" for c in text)


def test_the_figures_of_mobilenet_are_the_published_ones():
    """569 million multiply-adds, 4.24 million parameters (Howard et al. 2017, table 4)."""
    found = zoo("mobilenet_v1_1.0_224")
    assert found.macs / 1e6 == pytest.approx(569, abs=0.5)
    assert found.parameters / 1e6 == pytest.approx(4.24, abs=0.02)


def test_kinds_of_file():
    assert zoo("fer_data").kind == "dynamic range"
    assert zoo("hand_landmark_lite").kind == "float32 with float16 weights"
    assert zoo("ssd_mobilenet").kind == "uint8"
    assert zoo("wakeword_models_alexa").kind == "int8"
    assert zoo("posenet").kind == "float32"


def test_sparse_weights_are_told():
    found = zoo("full_range_sparse")
    assert len(found.sparse) == found.op_counts["DENSIFY"] == 46
    assert all(0 < row.stored < row.dense for row in found.sparse)
    assert found.parts["places of sparse values"] > 100_000


def test_metadata_is_read():
    found = zoo("mediapipe_modules_hand_landmark_hand_landmark_full")
    said = {row.name: row.text for row in found.metadata}
    assert said["reduced_precision_support"] == "fp16accfp32"
    assert "name: HandLandmarkDetector, " in said["TFLITE_METADATA"]
    assert len(found.associated_files) == 1
    made = {row.name: row.text for row in zoo("wakeword_models_alexa").metadata}
    assert "full integer" in made["CONVERSION_METADATA"]


def test_normalization_of_the_inputs_is_read():
    (said,) = (row.text for row in zoo("short_range").metadata if row.name == "TFLITE_METADATA")
    assert said.startswith("image = (pixel - 127.5) / 127.5, name: Short Range Face Detection")
