"""Same model, samples and recipe: same bytes, whatever happens on the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nets
import numpy as np
import pytest
from small_nets import images, residual

import tfq_ext
from tfq_ext.errors import StatsError

pytest.importorskip("tensorflow", reason="int8 files are finished by TensorFlow")
pytestmark = pytest.mark.tf
HERE = Path(__file__).parent
CONTENT = residual().to_bytes()
RECIPES = ["int8", "int8-minmax", "int16x8", "int4", "fp16", "dynamic", "weight_only"]
DATA = images(20)


def _bytes(recipe: str, data: object = DATA, **options: object) -> bytes:
    return tfq_ext.quantize(CONTENT, data, recipe=recipe, show_progress=False, **options).content


@pytest.mark.parametrize("recipe", RECIPES)
def test_twice_in_one_process(recipe):
    assert _bytes(recipe) == _bytes(recipe)


def test_in_a_process_with_another_hash_seed():
    """Sets iterate by hash: two seeds, this process's own is one, show an order nobody chose."""
    code = (
        "import hashlib, test_determinism as t\n"
        "print(*(hashlib.sha256(t._bytes(r)).hexdigest() for r in ('int8', 'int16x8')))\n"
    )
    path = f"{HERE}:{HERE.parent / 'helpers'}"
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    here = [hashlib.sha256(_bytes(r)).hexdigest() for r in ("int8", "int16x8")]
    assert done.stdout.split()[-2:] == here


@pytest.mark.parametrize("recipe", ["int8", "int8-minmax"])
def test_threads_change_nothing(recipe):
    assert _bytes(recipe, threads=1) == _bytes(recipe, threads=2)


def test_the_order_of_samples_changes_no_exact_range():
    assert _bytes("int8-minmax", DATA[::-1].copy()) == _bytes("int8-minmax")


def test_another_seed_draws_other_samples():
    few = {"base": "int8-minmax", "limit": 4}
    one, other = (
        tfq_ext.quantize(CONTENT, DATA, recipe={**few, "seed": s}, show_progress=False)
        for s in (0, 1)
    )
    assert one.provenance.samples == other.provenance.samples == 4
    assert one.provenance.sample_sha256 != other.provenance.sample_sha256
    assert one.content != other.content


class Interrupted:
    """Samples by name; the first pass that reaches number `at` is interrupted by Ctrl-C."""

    def __init__(self, at: int) -> None:
        self.at, self.done = at, False

    def __call__(self) -> Iterator[dict[str, np.ndarray]]:
        for k, x in enumerate(DATA):
            if k == self.at and not self.done:
                self.done = True
                raise KeyboardInterrupt
            yield {"image": x[None]}


@pytest.mark.parametrize("at", [1, 13])
def test_an_interrupted_observation_resumes_to_the_same_bytes(at, tmp_path):
    checkpoint, data = tmp_path / "stats", Interrupted(at)
    with pytest.raises(KeyboardInterrupt):
        _bytes("int8-minmax", data, checkpoint=checkpoint)
    assert Path(f"{checkpoint}.npz").exists()
    resumed = tfq_ext.quantize(
        CONTENT, data, recipe="int8-minmax", checkpoint=checkpoint, show_progress=False
    )
    straight = tfq_ext.quantize(CONTENT, Interrupted(99), recipe="int8-minmax", show_progress=False)
    assert resumed.content == straight.content
    assert resumed.provenance == straight.provenance


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoint = tmp_path / "stats"
    _bytes("int8-minmax", checkpoint=checkpoint)
    other = nets.unequal_concat(2.0).to_bytes()
    data = np.zeros((4, 6, 6, 4), np.float32) + np.arange(4)[:, None, None, None]
    with pytest.raises(StatsError, match="model"):
        tfq_ext.quantize(other, data, recipe="int8-minmax", checkpoint=checkpoint)


def test_a_finished_checkpoint_is_used_without_running_a_sample(tmp_path):
    checkpoint = tmp_path / "stats"
    first = _bytes("int8-minmax", checkpoint=checkpoint)
    assert _bytes("int8-minmax", checkpoint=checkpoint) == first
