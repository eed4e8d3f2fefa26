"""TFMOT models through quantize(): each in a process, for TFMOT switches Keras to legacy."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("tensorflow_model_optimization", reason="the extra tfmot is not installed")
pytestmark = [pytest.mark.tf, pytest.mark.slow]
APART = Path(__file__).with_name("tfmot_apart.py")


@cache
def apart(case):
    """What the case measured."""
    done = subprocess.run(
        [sys.executable, APART, case], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", ["ours8", "ours4", "default"])
def test_the_file_is_what_was_trained(case):
    found = apart(case)
    assert found["float"] == []
    assert found["calibrators"] == ["trained"]
    assert found["different"] == 0
    assert found["agree"] >= 0.99


def test_our_scheme_has_a_scale_per_channel_and_four_bits():
    found = apart("ours4")
    assert set(found["types"]) == {"int4"}
    assert sorted(found["scales"]) == [5, 8, 16, 16, 16, 16, 64]
    assert found["started"] == 11
    assert found["given"] == 3.0


@pytest.mark.parametrize("case", ["p", "pq"])
def test_sparsity_survives(case):
    found = apart(case)
    before, after = found["sparsity"]
    assert before > 0.4
    assert after >= before
    assert any(note.startswith("sparsity: ") for note in found["notes"])


@pytest.mark.parametrize("case", ["c", "cq"])
def test_clusters_survive(case):
    found = apart(case)
    assert all(after <= before <= 16 for before, after in found["in_channel"])
    assert all(after <= before for before, after in found["distinct"])
    assert any(note.startswith("clusters: ") for note in found["notes"])
