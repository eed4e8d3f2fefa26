"""check_integers on small networks: exact where it should be, and wrong arithmetic is found."""

from __future__ import annotations

import json
from typing import Any

import integer_ops
import numpy as np
import one_op
import pytest
from integer_ops import OneOp, T
from one_op import Net, X, f32, i32

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan
from tfq_ext.errors import DataError, ModelError, UnknownName
from tfq_ext.tflite.read import Model
from tfq_ext.validation.integer import RULES, IntegerReport, check_integers
from tfq_ext.validation.integer.session import Session
from tfq_ext.validation.sandbox import ModelDied

CONV = ("Conv2DOptions", {"padding": 0, "strideW": 1, "strideH": 1})
DEPTHWISE = ("DepthwiseConv2DOptions", CONV[1] | {"depthMultiplier": 1})


def small_net(*, float_tail: bool = False) -> Net:
    """conv -> depthwise -> add with the conv -> mean -> dense -> softmax."""
    net = Net()
    net.input("x", X((1, 6, 6, 3)))
    net.const("w1", f32(4, 3, 3, 3)), net.const("b1", f32(4))
    net.op("CONV_2D", "conv", "x", "w1", "b1", options=CONV)
    net.const("w2", f32(1, 3, 3, 4)), net.const("b2", f32(4))
    net.op("DEPTHWISE_CONV_2D", "dw", "conv", "w2", "b2", options=DEPTHWISE)
    net.op("ADD", "add", "dw", "conv", options=("AddOptions", {"fusedActivationFunction": 1}))
    net.const("axes", i32(1, 2))
    net.op("MEAN", "mean", "add", "axes", options=("ReducerOptions", {}))
    net.const("w3", f32(5, 4)), net.const("b3", f32(5))
    net.op("FULLY_CONNECTED", "logits", "mean", "w3", "b3", options=("FullyConnectedOptions", {}))
    net.op("SOFTMAX", "probs", "logits", options=("SoftmaxOptions", {"beta": 1.0}))
    if float_tail:
        net.op("SIN", "out", "probs")
    return net


def quantized(net: Net, output: str = "probs", **more: Any) -> bytes:
    model = net.done(output)
    codes = one_op.weights_of(model, more.pop("bits", 8))
    plan = Plan(ranges=one_op.observe(model, net.samples()), weights=codes, **more)
    return static.emit(model, plan).content


@pytest.fixture(scope="module")
def content() -> bytes:
    return quantized(small_net())


@pytest.fixture(scope="module")
def report(content: bytes) -> IntegerReport:
    return check_integers(content, limit=2, kernels=("reference", "builtin", "xnnpack"))


def codes_in(row: Any) -> set[str]:
    return set(row.differing)


def test_a_whole_net_is_exact_on_every_kernel_set(report: IntegerReport):
    assert report.exact
    assert report.differing == 0
    assert report.findings == ()
    assert report.kernels == ("reference", "builtin", "xnnpack")
    assert report.samples == 2
    ops = [row.op for row in report.rows]
    wanted = ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert [op for op in ops if op in wanted] == wanted
    assert all(codes_in(row) == set(report.kernels) for row in report.rows)
    assert report.compared == sum(row.values for row in report.rows)


def test_rows_name_the_arithmetic_that_matched(report: IntegerReport):
    rows = {row.op: row for row in report.rows}
    assert rows["CONV_2D"].arithmetic == {
        "reference": "double",
        "builtin": "upward",
        "xnnpack": "xnnpack",
    }
    assert rows["FULLY_CONNECTED"].arithmetic["reference"] == "away"
    assert rows["CONV_2D"].delegated
    assert rows["SOFTMAX"].delegated is False  # so the optimized kernel ran there
    assert rows["SOFTMAX"].arithmetic["xnnpack"] == "upward"


def test_layers_have_multipliers_and_accumulators(report: IntegerReport):
    rows = {row.op: row for row in report.rows}
    row = rows["CONV_2D"]
    assert row.multiplier is not None
    assert 2**30 <= row.multiplier < 2**31
    assert row.multipliers is not None
    assert row.multipliers.m0[0] <= row.multiplier <= row.multipliers.m0[1]
    assert row.multipliers.shift[0] <= row.shift <= row.multipliers.shift[1]
    assert row.accumulator_bits <= row.accumulator_bound
    assert row.fits32
    assert rows["ADD"].multiplier is None
    assert rows["ADD"].fits16 is None


def test_report_as_json_and_as_text(report: IntegerReport):
    told = json.loads(report.to_json())
    assert told["exact"] is True
    assert told["compared"] == report.compared
    assert told["rows"][0]["op"] == report.rows[0].op
    assert "exact" in str(report)
    assert any("random" in note for note in report.notes)


def test_data_are_reals_and_limit_counts(content: bytes):
    data = np.random.default_rng(0).uniform(-3, 5, (5, 6, 6, 3)).astype(np.float32)
    report = check_integers(content, data, limit=3, kernels=("reference",))
    assert report.exact
    assert report.samples == 3
    assert not report.notes


@pytest.mark.parametrize("variant", ["int16", "int4"])
def test_other_widths(variant: str):
    net = small_net()
    graph = net.graph
    names = frozenset(graph.name(op.outputs[0]) for op in graph.ops)
    more: dict[str, Any] = {"int16": names} if variant == "int16" else {"bits": 4}
    report = check_integers(quantized(net, **more), limit=1)
    assert report.differing == 0
    assert report.compared
    assert report.skipped == ()


def test_float_ops_are_skipped_with_a_reason():
    report = check_integers(quantized(small_net(float_tail=True), "out"), limit=1)
    assert ("SIN", "computes in floats") in [(op, why) for op, _, why in report.skipped]
    assert report.exact


def test_a_float_model_has_nothing_to_compare():
    report = check_integers(small_net().done("probs").to_bytes(), limit=1)
    assert not report.rows
    assert not report.exact
    assert "nothing to compare" in str(report)
    assert len(report.skipped) == 6


def edited(content: bytes, change: Any) -> list[int]:
    """Differing codes by op when our side has another constant than LiteRT's."""
    session = Session(content, "reference")
    twin = Model.parse(content)
    change(twin.graphs[0])
    session._graph = twin.graphs[0]
    session.add({"x": np.random.default_rng(1).uniform(-3, 5, (1, 6, 6, 3)).astype(np.float32)})
    found = session.finish().found
    return [found[k].differing for k in sorted(found)]


def op_of(graph: Any, code: str) -> Any:
    return next(op for op in graph.ops if graph.code(op) == code)


def change_bias(graph: Any) -> None:
    tensor = graph.tensors[int(op_of(graph, "CONV_2D").inputs[2])]
    data = np.array(graph.model.tree.buffers[tensor.buffer].data, np.uint8).view(np.int32) + 3000
    graph.model.tree.buffers[tensor.buffer].data = data.view(np.uint8)


def change_scale(graph: Any) -> None:
    tensor = graph.tensors[int(op_of(graph, "DEPTHWISE_CONV_2D").inputs[1])]
    tensor.quantization.scale = [s * 1.02 for s in tensor.quantization.scale]


def change_padding(graph: Any) -> None:
    op_of(graph, "MEAN")  # a wrong zero point of the output
    tensor = graph.tensors[int(op_of(graph, "MEAN").outputs[0])]
    tensor.quantization.zeroPoint = [int(tensor.quantization.zeroPoint[0]) + 1]


def test_without_an_edit_nothing_differs(content: bytes):
    assert not any(edited(content, lambda graph: None))


@pytest.mark.parametrize(
    ("change", "code"),
    [(change_bias, "CONV_2D"), (change_scale, "DEPTHWISE_CONV_2D"), (change_padding, "MEAN")],
)
def test_wrong_arithmetic_is_found_in_its_op(content: bytes, change: Any, code: str):
    graph = Model.parse(content).graphs[0]
    place = [graph.code(op) for op in graph.ops].index(code)
    found = edited(content, change)
    assert found[place] > 0
    assert not any(found[:place])


def dense(w: int, n: int, bias: int) -> OneOp:
    weight = T((1, n), "int8", 0.01, 0, np.full((1, n), w, np.int8))
    b = T((1,), "int32", 0.01 * 0.05, 0, np.array([bias], np.int32))
    x = T((1, n), "int8", 0.05, -128, None)
    return OneOp(
        "FULLY_CONNECTED", (x, weight, b), (T((), "int8", 2.0),), ("FullyConnectedOptions", {}), 4
    )


pytestmark = pytest.mark.filterwarnings("ignore:.*is constant:tfq_ext.errors.TfqWarning")


def top(n: int) -> np.ndarray:
    return np.full((1, n), 255 * 0.05, np.float32)


def test_accumulator_by_hand():
    report = check_integers(
        integer_ops.build(dense(127, 10, 5)).to_bytes(), top(10), kernels=("reference",)
    )
    row = report.rows[0]
    assert row.accumulator is not None
    assert row.accumulator.largest == row.accumulator.bound == 10 * 127 * 255 + 5
    assert row.accumulator_bits == (10 * 127 * 255 + 5).bit_length() + 1 == 20
    assert row.fits16 is False
    assert row.fits32 is True


def test_one_product_fits_16_bits():
    content = integer_ops.build(dense(127, 1, 0)).to_bytes()
    assert check_integers(content, top(1), kernels=("reference",)).rows[0].fits16 is True


def test_a_bias_near_the_end_is_a_warning():
    content = integer_ops.build(dense(1, 4, 2**31 - 500)).to_bytes()
    report = check_integers(content, np.zeros((1, 4), np.float32), kernels=("reference",))
    assert [f.rule.id for f in report.findings] == ["accumulator-may-overflow"]
    assert report.exact


def test_a_sum_that_overflows_is_an_error():
    n = 66_313  # the first n with n 127 255 >= 2^31
    content = integer_ops.build(dense(127, n, 0)).to_bytes()
    report = check_integers(content, top(n), kernels=("reference",))
    assert "accumulator-overflow" in [f.rule.id for f in report.findings]
    assert report.rows[0].fits32 is False


def test_a_kernel_set_that_refuses_leaves_the_others():
    x = T((2, 9), "int8", 0.05, 3)
    content = integer_ops.build(OneOp("ELU", (x,), (T((), "int8", 0.04, 0),))).to_bytes()
    report = check_integers(content)  # LiteRT's reference kernels have no ELU
    assert report.kernels == ("xnnpack",)
    assert report.exact
    assert any(note.startswith("reference kernels did not run") for note in report.notes)


def test_a_kernel_that_kills_its_process_is_an_error_of_the_model():
    """A broadcast int16 ADD with power-of-two scales aborts in LiteRT 2.3."""
    a, b = T((3, 3, 3), "int16", 0.0625), T((1, 1, 3), "int16", 0.0625)
    one = OneOp("ADD", (a, b), (T((3, 3, 3), "int16", 0.0625),), ("AddOptions", {}), 3)
    with pytest.raises(ModelDied, match="SIGABRT"):
        check_integers(integer_ops.model_of(one).to_bytes())


def test_arguments_are_checked(content: bytes):
    with pytest.raises(UnknownName, match="reference"):
        check_integers(content, kernels=("referenz",))
    with pytest.raises(DataError, match="kernel set"):
        check_integers(content, kernels=())
    with pytest.raises(DataError, match="limit"):
        check_integers(content, limit=0)
    with pytest.raises(ModelError):
        check_integers(b"no model")


def test_rules_have_ids_of_their_own():
    assert set(RULES) == {"kernel-disagrees", "accumulator-overflow", "accumulator-may-overflow"}
