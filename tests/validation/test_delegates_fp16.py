"""fp16 on the CPU: the rounding chain, the windows it reads, what is said of tensors."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from delegate_nets import long_sum, need_gpu, on_gpu, overflowing
from one_op import EXAMPLES, Example, Net, X, build, f32
from one_op import run as run_op
from small_nets import RELU6, conv_options, images, residual

from tfq_ext.validation.delegates.findings import risk_findings
from tfq_ext.validation.delegates.fp16 import assess
from tfq_ext.validation.delegates.fp16.chain import ACTIVATIONS, add_up, growth_bound, half
from tfq_ext.validation.delegates.fp16.scan import Scan
from tfq_ext.validation.delegates.fp16.windows import ADDERS
from tfq_ext.validation.delegates.inputs import open_inputs
from tfq_ext.validation.delegates.sides import INTERPRETED, run_side
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.sandbox import Limits


def by_hand(x, w, bias):
    """numpy's own float16, one product after the other."""
    total = np.zeros((len(x), w.shape[1]), np.float16)
    with np.errstate(over="ignore", invalid="ignore"):
        for k in range(w.shape[0]):
            product = x[:, k, None].astype(np.float16) * w[k].astype(np.float16)
            total = (total + product).astype(np.float16)
        return (total + bias.astype(np.float16)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 300.0])
def test_the_chain_is_that_of_numpys_half(scale):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(9, 40)) * scale).astype(np.float32)
    w = rng.normal(size=(40, 7)).astype(np.float32) * np.float32(min(scale, 50))
    bias = rng.normal(size=7).astype(np.float32)
    got, _ = add_up(x, w, bias, "NONE")
    assert np.array_equal(got, by_hand(x, w, bias), equal_nan=True)


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        (65504.0, 65504.0),
        (65519.0, 65504.0),  # under the middle to the next, which does not exist
        (65520.0, math.inf),
        (-65520.0, -math.inf),
        (2.0**-24, 2.0**-24),  # the smallest there is
        (2.0**-25, 0.0),  # a tie goes to even, which is zero
        (np.nextafter(np.float32(2.0**-25), np.float32(1)), 2.0**-24),
    ],
)
def test_the_ends_of_fp16(x, expected):
    assert half(np.float32([x]))[0] == expected


def test_a_sum_of_ones_stops_at_2048():
    x, w = np.ones((1, 3000), np.float32), np.ones((3000, 1), np.float32)
    got, exact = add_up(x, w, None, "NONE")
    assert (got[0, 0], exact[0, 0]) == (2048.0, 3000.0)


def test_activations_come_last():
    x, w = np.float32([[1.0]]), np.float32([[5.0, -5.0, 9.0]])
    for name, (lowest, highest) in ACTIVATIONS.items():
        got, _ = add_up(x, w, None, name)
        assert got.tolist() == np.clip([[5.0, -5.0, 9.0]], lowest, highest).tolist()


@pytest.mark.parametrize(("length", "bound"), [(0, 0.0), (1, 1 / 2047), (2048, math.inf)])
def test_growth(length, bound):
    assert growth_bound(length) == pytest.approx(bound)


def conv(code, weight, *, size=(7, 6), channels=4, **options):
    values = {"padding": 0, "strideH": 1, "strideW": 1} | options
    kind = "DepthwiseConv2DOptions" if code.startswith("DEPTH") else "Conv2DOptions"
    if code.startswith("DEPTH"):
        values |= {"depthMultiplier": weight.shape[3] // channels}
    inputs = (X((2, *size, channels)), weight, f32(weight.shape[3 if "DEPTH" in code else 0]))
    return build(code, Example(inputs, (kind, values)))


CASES = {
    "same": conv("CONV_2D", f32(5, 3, 3, 4)),
    "valid": conv("CONV_2D", f32(5, 3, 2, 4), padding=1),
    "stride": conv("CONV_2D", f32(5, 3, 3, 4), strideH=2, strideW=3),
    "dilated": conv("CONV_2D", f32(5, 3, 3, 4), dilationHFactor=2, dilationWFactor=2),
    "even kernel": conv("CONV_2D", f32(5, 2, 4, 4), strideH=2, strideW=2),
    "relu6": conv("CONV_2D", f32(5, 1, 1, 4), fusedActivationFunction=RELU6),
    "depthwise": conv("DEPTHWISE_CONV_2D", f32(1, 3, 3, 4)),
    "depthwise, multiplier 2": conv("DEPTHWISE_CONV_2D", f32(1, 3, 3, 8), strideH=2, strideW=2),
    "dense": build("FULLY_CONNECTED", EXAMPLES["FULLY_CONNECTED"]),
}


@pytest.mark.parametrize("model", CASES.values(), ids=CASES)
def test_windows_are_those_of_the_kernel(model):
    """The exact sums of the sampled windows are values of LiteRT's output, every one of them."""
    graph, rng = model.graphs[0], np.random.default_rng(1)
    op = graph.ops[0]
    x = rng.uniform(-1, 1, graph.shape(graph.inputs[0])).astype(np.float32)
    (want,) = run_op(model.to_bytes(), {"x0": x})
    code = graph.code(op)
    case = ADDERS[code].cut(op.builtinOptions, x, graph.constant(int(op.inputs[1])), rng)
    bias = graph.constant(int(op.inputs[2]))
    _, exact = add_up(case.x, case.w, bias, case.activation)
    assert case.w.shape[0] == ADDERS[code].length(graph, op)
    rows = want.reshape(-1, want.shape[-1])
    assert len(exact) == min(len(rows), 64)
    # each sampled position is another row of the output
    distance = np.abs(exact[:, None] - rows[None]).max(-1)
    nearest = distance.argmin(1)
    assert distance.min(1).max() < 1e-5
    assert model is CASES["relu6"] or len(set(nearest.tolist())) == len(exact)


def risk_of(model, inputs=None):
    samples, _ = open_inputs(model, None, preprocess=None, limit=2, seed=0, signature=None)
    task = Task(model.to_bytes(), model, tuple(inputs or samples), Limits(seconds=120))
    cpu = run_side(INTERPRETED, task.content, task.inputs, limits=task.limits, repeat=False)
    return assess(task, cpu)


def test_overflow_is_found_and_told_apart_from_its_victims():
    risk = risk_of(overflowing())
    worst = risk.rows[0]
    assert (worst.tensor, worst.over) == ("big", 1.0)
    assert worst.max_abs > 65504
    rows = {row.tensor: row for row in risk.rows}
    assert rows["y"].emulated_error < 1e-2  # its own sums are small
    assert rows["b"].op == "CONST"
    found = [f for f in risk_findings(risk) if f.severity == "error"]
    assert {f.rule.id for f in found} == {"gpu-fp16-overflow"}
    assert {(f.tensor, f.op_index) for f in found} == {("big", 0), ("b", None)}
    assert "100.00%" in found[0].message


def cpu_adds_in_half():
    """XNNPACK's fp16 kernels add in fp32 unless the CPU computes in fp16 itself."""
    info = Path("/proc/cpuinfo")
    flags = info.read_text().split() if info.exists() else []
    return "avx512_fp16" in flags or "fphp" in flags


def test_a_long_sum_in_a_gpus_fp16_and_in_xnnpacks():
    """FACTS: 2e-4 against 8e-2 in an all-positive 3x3x512 convolution."""
    model = long_sum()
    x = np.random.default_rng(5).uniform(0.5, 1, (1, 5, 5, 512)).astype(np.float32)
    risk = risk_of(model, [{"x": x}])
    (row,) = risk.rows
    assert row.length == 3 * 3 * 512
    assert math.isinf(row.bound)
    assert row.emulated_error > 1e-2
    (xnnpack,) = risk.xnnpack
    if cpu_adds_in_half():
        assert xnnpack.relative_l2 == pytest.approx(row.emulated_error, rel=0.5)
    else:
        assert 0 < xnnpack.relative_l2 < row.emulated_error / 10
    assert [f.rule.id for f in risk_findings(risk)] == ["gpu-fp16-accumulation"]


def test_a_healthy_net_raises_nothing():
    risk = risk_of(residual(), [{"image": images(1)}])
    assert list(risk_findings(risk)) == []
    assert {row.tensor for row in risk.rows} == {"a", "branch", "sum", "deep", "mean", "logits"}
    assert all(row.cast_error < 1e-3 for row in risk.rows)
    assert {row.tensor: row.length for row in risk.rows}["mean"] == 64


def test_constants_that_fp16_cannot_hold():
    net = Net()
    net.input("x", X((1, 8)))
    net.const("epsilon", np.float32([1e-12]))
    net.const("mask", np.float32([0, 0, 0, 0, 0, 0, 0, -1e9]))
    net.op("ADD", "shifted", "x", "epsilon", options=("AddOptions", {}))
    net.op("ADD", "masked", "shifted", "mask", options=("AddOptions", {}))
    risk = risk_of(net.done("masked"))
    constants = {row.tensor: row for row in risk.rows if row.op == "CONST"}
    assert constants["mask"].over == 1 / 8
    assert constants["epsilon"].vanishing == 1.0
    told = {(f.rule.id, f.tensor) for f in risk_findings(risk)}
    assert told == {
        ("gpu-fp16-overflow", "mask"),
        ("gpu-fp16-overflow", "masked"),
        ("gpu-fp16-underflow", "epsilon"),
    }


def test_values_near_zero_lose_their_digits():
    net = Net()
    net.input("x", X((1, 8)))
    net.const("tiny", np.float32([1e-7]))
    net.op("MUL", "small", "x", "tiny", options=("MulOptions", {}))
    risk = risk_of(net.done("small"))
    row = next(row for row in risk.rows if row.tensor == "small")
    assert row.small == 1.0
    assert row.cast_error > 5e-3


def test_a_tensor_that_no_op_reads_and_integers_do_no_harm():
    model = build("TOPK_V2", EXAMPLES["TOPK_V2"])
    risk = risk_of(model)
    assert [row.tensor for row in risk.rows] == ["out"]  # indices are no reals


def test_what_cannot_be_emulated_says_why():
    scan = Scan(build("BATCH_MATMUL", EXAMPLES["BATCH_MATMUL"]).to_bytes())
    scan.look({"x0": np.ones((2, 3, 4), np.float32), "x1": np.ones((2, 4, 5), np.float32)})
    (row,) = scan.rows()
    assert (row.length, row.emulated_error) == (4, None)
    assert row.why_not == "BATCH_MATMUL is not emulated"


@pytest.mark.parametrize("size", [1, 3])
def test_the_emulation_is_the_gpus_own_bits(size):
    """1x1 and 3x3 convolutions, every value of the output.

    With fewer positions (4x4) the GPU shares the channels of a 1x1 among threads, four products
    a sum, and 23 of 128 values differ in their last bit.
    """
    need_gpu()
    net = Net()
    net.input("x", X((1, 8, 8, 8)))
    net.const("w", f32(8, size, size, 8, seed=2) * np.float32(0.3))
    net.const("b", f32(8, seed=3))
    net.op("CONV_2D", "y", "x", "w", "b", options=conv_options(1), version=1)
    model = net.done("y")
    x = np.random.default_rng(8).uniform(-1, 1, (1, 8, 8, 8)).astype(np.float32)
    ran = on_gpu(model, fp32=False, inputs=[{"x": x}])
    assert ran.complete, ran
    got = ran.outputs[0]["y"].reshape(-1, 8)
    graph, op = model.graphs[0], model.graphs[0].ops[0]
    case = ADDERS["CONV_2D"].cut(
        op.builtinOptions, x, graph.constant(int(op.inputs[1])), np.random.default_rng(0)
    )
    order = np.random.default_rng(0).permutation(64)  # the positions that were drawn
    emulated, _ = add_up(case.x, case.w, graph.constant(int(op.inputs[2])), case.activation)
    assert np.array_equal(emulated, got[order])
