"""Other people's files (TFQ_ZOO): each quantizes and runs, or is refused with a sentence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from apart import in_a_process

ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
FILES = sorted(p for s in ("*.tflite", "*.h5", "*.hdf5") for p in ZOO.glob(s))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tf,
    pytest.mark.data,
    pytest.mark.skipif(not FILES, reason="set TFQ_ZOO to a folder of third-party models"),
]
# Ops that no integer op expresses, and whose they are. Anything else that stays float is news.
EXPECTED = {
    "CUSTOM:Convolution2DTransposeBias": "MediaPipe's selfie segmentation",
}


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
def test_quantizes_and_runs_or_says_why_not(path):
    answer = in_a_process(str(path), "int8-minmax")
    if answer["outcome"] == "refused":
        assert answer["kind"] in ("ModelError", "DataError")
        assert 20 < len(answer["sentence"]) < 700
        assert "Traceback" not in answer["sentence"]
        return
    assert set(answer["islands"]) <= set(EXPECTED)
    assert "read back equal" in answer["read_back"]


@pytest.mark.parametrize("path", FILES, ids=[p.name for p in FILES])
@pytest.mark.parametrize("recipe", ["int16x8", "weight_only"])
def test_other_recipes_agree_about_what_can_be_quantized(path, recipe):
    if path.stat().st_size > 3e6 or path.suffix != ".tflite":
        pytest.skip("the small .tflite files tell as much")
    answer = in_a_process(str(path), recipe)
    assert answer["outcome"] == "refused" or "read back equal" in answer["read_back"]
