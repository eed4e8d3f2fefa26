"""The trial run: does a file run, and does it give numbers?"""

from __future__ import annotations

import numpy as np
import pytest
from bad_models import crash, endless_loop, hundred_gigabytes
from float_files import blank
from one_op import Net, X, f32
from small_nets import images, residual
from tiny_models import quantized_io_model

from tfq_ext.validation.run import validate
from tfq_ext.validation.sandbox import Limits
from tfq_ext.validation.trial import RULES, trial


def dense(weights: np.ndarray, bias: np.ndarray) -> bytes:
    net = Net()
    net.input("x", X((1, 4), -1.0, 1.0))
    net.const("w", weights)
    net.const("b", bias)
    net.op("FULLY_CONNECTED", "y", "x", "w", "b", options=("FullyConnectedOptions", {}))
    return net.done("y").to_bytes()


def test_a_good_file_has_no_faults():
    found = trial(residual().to_bytes(), [{"image": x[None]} for x in images(2)])
    assert found.faults == ()
    assert found.detail == "2 runs on samples, XNNPACK"


def test_an_output_that_is_not_a_number():
    found = trial(dense(f32(3, 4), np.array([0, np.nan, np.inf], np.float32)))
    assert [f.rule.id for f in found.findings] == ["output-not-finite"]
    assert "4 values of 6" in found.faults[0]  # two of three, in two runs


def test_an_output_that_never_changes():
    found = trial(dense(np.zeros((3, 4), np.float32), np.full(3, 2.0, np.float32)))
    assert [f.rule.id for f in found.findings] == ["output-constant"]
    assert "2 in all of 3 places" in found.faults[0]


def test_a_constant_row_that_is_not_one_value_is_let_pass():
    found = trial(dense(np.zeros((3, 4), np.float32), np.arange(3, dtype=np.float32)))
    assert found.faults == ()


def test_probes_cover_the_grid_of_a_quantized_input():
    # One code is 10 wide: noise in -1..1 would be all zeros, the output all one value.
    content = quantized_io_model(f32(3, 4), ("int8", 10.0, 0), ("int8", 20.0, 0))
    assert trial(content).faults == ()


def test_a_file_that_cannot_run_is_a_fault_not_an_exception():
    graph = blank()
    content = graph.model.to_bytes()[:-8]
    found = trial(content)
    assert len(found.faults) == 1


@pytest.mark.parametrize("name", list(RULES))
def test_rules_are_called_by_their_ids(name):
    assert RULES[name].id == name


@pytest.mark.parametrize(
    ("content", "told"),
    [(crash(), "SIG"), (endless_loop(), "no answer"), (hundred_gigabytes(), "memory")],
)
def test_a_file_that_kills_its_process_is_judged_and_not_run_again(content, told):
    found = validate(content, limits=Limits(seconds=4.0, memory_bytes=2 << 30), bit_exact=True)
    assert found.exit_code == 1
    assert told in found.gates[0].detail
    assert "does not run" in (found.missing("latency") or "")
    assert "does not run" in (found.missing("integers") or "")
    assert found.missing("lint") is None
    assert found.to_html()
