"""What validate() makes of the model, the reference and the samples before the checks begin."""

from __future__ import annotations

import numpy as np
import pytest
from one_op import f32
from tiny_models import dense_model, quantized_io_model, two_signatures

from tfq_ext.validation.reference import float_bytes
from tfq_ext.validation.run import validate

INT8 = quantized_io_model(f32(3, 4), ("int8", 0.05, 3), ("int8", 0.1, -2))
TWO = two_signatures(f32(3, 4), f32(2, 5))  # "first" takes 4 values, "second" 5


def mixed():
    """Samples of both signatures in turn, the second's first, as `quantize` takes them."""
    rng = np.random.default_rng(0)
    for _ in range(8):
        yield "second", {"x": rng.normal(size=(1, 5)).astype(np.float32)}
        yield "first", {"x": rng.normal(size=(1, 4)).astype(np.float32)}


def test_samples_of_another_signature_are_no_fault_of_the_file():
    found = validate(TWO, reference=TWO, data=mixed, gates={"agreement": 0.1}, runs=1, workers=1)
    assert found.run.faults == ()
    assert found.accuracy.n == 8
    assert found.comparison.samples == 8
    assert found.lint.samples == 8
    assert found.missing("latency") is None


@pytest.mark.parametrize("name", ["reference.lite", "no_suffix", "reference.tflite"])
def test_a_reference_is_known_by_its_content(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(INT8)
    assert float_bytes(path) == (INT8, ())


def test_an_option_that_none_means_something_to_is_kept():
    x = np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)
    found = validate(INT8, data=x, runs=1, ignore_label=None)
    assert found.origin.settings["ignore_label"] == "NoneType"


def test_a_reference_whose_signature_is_called_otherwise_is_timed_too():
    mine, other = (dense_model(f32(3, 4), signature=key) for key in ("serve", "other"))
    found = validate(mine, reference=other, signature="serve", gates={"latency_ratio": 1e6}, runs=6)
    assert [gate.verdict for gate in found.gates] == ["pass", "pass"]
