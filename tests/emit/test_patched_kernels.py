"""Every row of the kernel tables against LiteRT's float op."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import one_op
import pytest
from one_op import EXAMPLES, OUT, Example, X, f32

from tfq_ext.emit.patched import constants, kernels, static
from tfq_ext.emit.patched.assign import assign
from tfq_ext.emit.patched.kernels import KERNELS, Kernel
from tfq_ext.emit.patched.treat import treat
from tfq_ext.emit.plan import Plan
from tfq_ext.tflite.facts import FIXED_OUTPUT, SAME_GRID, WEIGHTS
from tfq_ext.tflite.read import Model

CASES = [(c, d) for c, k in KERNELS.items() for d in ("int8", "int16") if k.version(d)]
REFUSED = [(c, d) for c, k in KERNELS.items() for d in ("int8", "int16") if not k.version(d)]


def errors(
    code: str, dtype: str, example: Example, *, bits: int = 8, per_channel: bool = True
) -> list[float]:
    """Largest |integer op - float op| of each output, in output codes; inputs on the grid.

    For integer and boolean outputs the share of wrong values, times 1000.
    """
    model = one_op.build(code, example)
    weights = one_op.weights_of(model, bits, per_channel)
    model, graph = one_op.on_grid(model, weights), model.graphs[0]
    feeds = one_op.samples(example)
    names = [graph.name(t) for t in graph.outputs]
    ranges = {n: one_op.range_of(x) for n, x in feeds.items() if x.dtype == np.float32}
    for name, values in zip(names, one_op.run(model.to_bytes(), feeds), strict=True):
        if values.dtype == np.float32:
            ranges[name] = one_op.range_of(values)
    int16 = frozenset(names[:1]) if dtype == "int16" else frozenset()
    plan = Plan(ranges=ranges, weights=weights, int16=int16)
    grids, _ = assign(model.graphs[0], treat(model.graphs[0], plan), plan)
    for name in feeds:
        grid = grids.get((graph.by_name[name], dtype))
        feeds[name] = feeds[name] if grid is None else grid.fake_quant(feeds[name])
    emitted = static.emit(model, plan)
    assert not [n for n in emitted.notes if "stored as int8" not in n.reason], emitted.notes
    wanted, got = one_op.run(model.to_bytes(), feeds), one_op.run(emitted.content, feeds)
    found = []
    for name, a, b in zip(names, wanted, got, strict=True):
        if a.dtype == np.float32:
            scale = float(grids[graph.by_name[name], dtype].scale)
            found.append(float(np.abs(a - b).max()) / scale)
        else:
            found.append(1000.0 * float(np.mean(a != b)))
    return found


def allowed(example: Example, dtype: str) -> float:
    coarse = example.lsb16 if dtype == "int16" else None
    return example.lsb if coarse is None else coarse


def test_every_row_has_an_example_and_every_shared_row_a_kernel():
    assert set(EXAMPLES) == set(KERNELS)
    assert set(FIXED_OUTPUT) <= set(KERNELS)
    assert set(SAME_GRID) <= set(KERNELS)
    clipping = {c for c, k in KERNELS.items() if k.clips}
    assert clipping <= set(SAME_GRID)


@pytest.mark.parametrize(("code", "dtype"), CASES)
def test_integer_kernel_equals_the_float_op(code: str, dtype: str):
    example = EXAMPLES[code]
    assert max(errors(code, dtype, example)) <= allowed(example, dtype)


def attempt(code: str, dtype: str) -> float:
    """Force a kernel that the table refuses; runs in a process that may die."""
    kernels.KERNELS._entries[code] = Kernel(*[KERNELS[code].int8 or 1] * 2, KERNELS[code].clips)
    try:
        return max(errors(code, dtype, EXAMPLES[code]))
    except (RuntimeError, ValueError):
        return float("inf")


@pytest.fixture(scope="module")
def refused() -> dict[tuple[str, str], float]:
    """Error of each refused kernel, infinite where LiteRT refuses or dies."""
    found = {}
    for case in REFUSED:
        with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
            try:
                found[case] = pool.submit(attempt, *case).result()
            except BrokenProcessPool:
                found[case] = float("inf")
    return found


def test_forcing_a_kernel_that_works_gives_small_errors():
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as pool:
        assert pool.submit(attempt, "ADD", "int8").result() <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED, ids="-".join)
def test_the_table_refuses_no_kernel_that_works(case: tuple[str, str], refused: Any):
    assert refused[case] > allowed(EXAMPLES[case[0]], case[1])


WEIGHTED = [c for c in KERNELS if c in WEIGHTS]
FUSED = {"RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("code", WEIGHTED)
@pytest.mark.parametrize("fused", FUSED.values(), ids=list(FUSED))
def test_fused_activations(code: str, dtype: str, fused: int):
    example = EXAMPLES[code]
    assert example.options is not None
    name, options = example.options
    example = replace(example, options=(name, options | {"fusedActivationFunction": fused}))
    assert max(errors(code, dtype, example)) <= allowed(example, dtype)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("code", WEIGHTED)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("per_channel", [True, False])
def test_weight_grids(code: str, dtype: str, bits: int, per_channel: bool):
    example = EXAMPLES[code]
    found = errors(code, dtype, example, bits=bits, per_channel=per_channel)
    assert max(found) <= allowed(example, dtype)


CONSTANTS = {
    "ADD": Example((X((2, 8)), f32(8)), ("AddOptions", {})),
    "SUB": Example((f32(8), X((2, 8))), ("SubOptions", {})),
    "MUL": Example((X((2, 8)), f32(8)), ("MulOptions", {}), lsb=2.0),  # half a code of 2 times 5
    "MAXIMUM": Example((X((2, 8)), np.float32([0.7])), ("MaximumMinimumOptions", {})),
    "CONCATENATION": Example((X((2, 8)), 9 * f32(2, 3)), ("ConcatenationOptions", {"axis": 1})),
    "GATHER": Example((f32(7, 4), X((3,), 0, 6, "int32")), ("GatherOptions", {"axis": 0})),
    "BATCH_MATMUL": Example((X((2, 3, 4)), f32(4, 5)), ("BatchMatMulOptions", {}), lsb=1.5),
    "PADV2": replace(
        EXAMPLES["PADV2"], inputs=(*EXAMPLES["PADV2"].inputs[:2], np.float32(-np.inf).reshape(()))
    ),
}


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("code", [c for c in CONSTANTS if c != "PADV2"])
def test_constant_operands(code: str, dtype: str):
    assert max(errors(code, dtype, CONSTANTS[code])) <= CONSTANTS[code].lsb


def test_infinite_padding_becomes_the_lowest_code():
    model = one_op.build("PADV2", CONSTANTS["PADV2"])
    feeds = one_op.samples(CONSTANTS["PADV2"])
    plan = Plan(ranges={"x0": one_op.range_of(feeds["x0"])} | {OUT: one_op.range_of(feeds["x0"])})
    out = one_op.run(static.emit(model, plan).content, feeds)[0]
    assert out[0, 0, 0, 0] == out.min()
    assert out.min() == pytest.approx(-3.0, abs=8 / 255)


HYBRID_EXAMPLES = {c: EXAMPLES[c] for c in constants.HYBRID if c in WEIGHTS} | {
    "BATCH_MATMUL": CONSTANTS["BATCH_MATMUL"],
    "EMBEDDING_LOOKUP": Example((X((3,), 0, 6, "int32"), f32(7, 4))),
}


def spread_channels(example: Example, k: int, axis: int | None) -> Example:
    """Channels of very different size, so that a kernel with one scale for all is found out."""
    values = np.array(example.inputs[k])
    if axis is not None:
        shape = [1] * values.ndim
        shape[axis] = -1
        values *= np.geomspace(1, 100, values.shape[axis], dtype=np.float32).reshape(shape)
    inputs = [*example.inputs[:k], values, *example.inputs[k + 1 :]]
    return replace(example, inputs=tuple(inputs))


def hybrid_model(code: str, axis: int | None, bits: int) -> tuple[Model, Plan, Example]:
    k = constants.HYBRID[code].weight
    example = spread_channels(HYBRID_EXAMPLES[code], k, axis)
    model = one_op.build(code, example)
    codes = {f"c{k}": one_op.weight_codes(np.asarray(example.inputs[k]), axis, bits)}
    return one_op.on_grid(model, codes), Plan(weights=codes), example


@pytest.mark.parametrize("emitter", [constants.emit_dynamic, constants.emit_weight_only])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("code", constants.HYBRID)
def test_hybrid_and_weight_only(code: str, per_channel: bool, bits: int, emitter: Any):
    axis = constants.HYBRID[code].axis if per_channel else None
    model, plan, example = hybrid_model(code, axis, bits)
    feeds = one_op.samples(example)
    wanted = one_op.run(model.to_bytes(), feeds)[0]
    got = one_op.run(emitter(model, plan).content, feeds)[0]
    channels = np.moveaxis(wanted, -1, 0).reshape(wanted.shape[-1], -1)
    error = np.abs(np.moveaxis(got - wanted, -1, 0)).reshape(channels.shape).max(1)
    # the hybrid kernel rounds its input to 8 bits: half a code of 255 per product, 1 % is ample
    assert np.all(error <= 1e-2 * np.abs(channels).max(1) + 1e-6)


def test_hybrid_weights_are_the_direct_input():
    model, plan, _ = hybrid_model("FULLY_CONNECTED", 0, 8)
    file = Model.parse(constants.emit_dynamic(model, plan).content)
    op = file.graphs[0].ops[0]
    assert [file.graphs[0].dtype(t) for t in op.inputs] == ["float32", "int8", "float32"]
    assert file.tree.operatorCodes[op.opcodeIndex].version == 12
    assert op.builtinOptions.asymmetricQuantizeInputs
    assert np.array_equal(file.graphs[0].constant(op.inputs[1]), plan.weights["c1"].codes)


def test_depthwise_with_one_scale_gets_it_once_per_channel():
    model, plan, _ = hybrid_model("DEPTHWISE_CONV_2D", None, 8)
    graph = Model.parse(constants.emit_dynamic(model, plan).content).graphs[0]
    q = graph.tensors[graph.ops[0].inputs[1]].quantization
    assert list(q.scale) == [plan.weights["c1"].params.scale] * 4
    assert q.quantizedDimension == 3
