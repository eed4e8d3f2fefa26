"""fp16, weight-only and dynamic range on small graphs."""

from __future__ import annotations

import numpy as np
import one_op
import pytest
from one_op import Net, X, f32

from tfq_ext.emit.patched import constants
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.spec import QParams, QSpec
from tfq_ext.tflite.read import Graph, Model

DENSE = ("FullyConnectedOptions", {})


def dense_net(weight: np.ndarray | None = None) -> Net:
    net = Net()
    net.input("x", X((2, 8)))
    net.const("w", f32(6, 8) if weight is None else weight), net.const("b", f32(6))
    net.op("FULLY_CONNECTED", "y", "x", "w", "b", options=DENSE)
    return net


def read(content: bytes) -> Graph:
    return Model.parse(content).graphs[0]


def version_of(graph: Graph, k: int) -> int:
    return int(graph.model.tree.operatorCodes[graph.ops[k].opcodeIndex].version)


def test_fp16_constants_round_to_nearest_even_and_feed_through_dequantize():
    net = dense_net()
    model = net.done("y")
    emitted = constants.emit_fp16(model, Plan())
    graph = read(emitted.content)
    assert [graph.code(op) for op in graph.ops] == ["DEQUANTIZE", "FULLY_CONNECTED"]
    assert version_of(graph, 0) == 3
    stored = int(graph.ops[0].inputs[0])
    assert np.array_equal(graph.constant(stored), f32(6, 8).astype(np.float16))
    assert graph.name(int(graph.ops[0].outputs[0])) == "w"
    assert graph.dtype(graph.by_name["b"]) == "float32"  # 6 values: too few to gain
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    got = one_op.run(emitted.content, net.samples())[0]
    assert np.linalg.norm(got - wanted) < 2**-11 * np.linalg.norm(wanted)


@pytest.mark.parametrize(
    ("value", "stays"), [(65504.0, False), (65505.0, True), (-70000.0, True), (np.inf, True)]
)
def test_fp16_refuses_what_overflows(value: float, stays: bool):
    weight = f32(6, 8)
    weight[2, 3] = value
    emitted = constants.emit_fp16(dense_net(weight).done("y"), Plan())
    graph = read(emitted.content)
    assert ("float16" not in map(graph.dtype, range(len(graph.tensors)))) == stays
    assert [n.tensor for n in emitted.notes] == (["w"] if stays else [])


@pytest.mark.parametrize(
    ("value", "rows"), [(2.0**-14, 0), (2.0**-14 * 0.99, 1), (1e-9, 1), (0.0, 0)]
)
def test_fp16_counts_subnormals(value: float, rows: int):
    weight = np.full((6, 8), 1.0, np.float32)
    weight[0, 0] = value
    emitted = constants.emit_fp16(dense_net(weight).done("y"), Plan())
    assert [n.reason for n in emitted.notes] == [
        "1 of 48 values are subnormal in float16 and may be flushed to 0"
    ] * rows


def test_fp16_keeps_what_a_rule_keeps():
    emitted = constants.emit_fp16(dense_net().done("y"), Plan(keep_float={"y": "rule"}))
    assert [read(emitted.content).code(op) for op in read(emitted.content).ops] == [
        "FULLY_CONNECTED"
    ]


GRIDS = {
    "int8 per channel": (QSpec(8, narrow=True, axis=0), "int8", 5),
    "int8 per tensor": (QSpec(8, narrow=True), "int8", 2),
    "int8 asymmetric": (QSpec(8, symmetric=False), "int8", 2),
    "int8 asymmetric per channel": (QSpec(8, symmetric=False, axis=0), "int8", 5),
    "int4 per channel": (QSpec(4, narrow=True, axis=0), "int4", 6),
    "int4 per tensor": (QSpec(4, narrow=True), "int4", 6),
}


def codes_on(spec: QSpec, values: np.ndarray, stored: str) -> WeightCodes:
    """Codes that use the whole grid, with a zero point where the grid may have one."""
    axis = None if spec.axis is None else tuple(d for d in range(values.ndim) if d != spec.axis)
    lo, hi = values.min(axis=axis), values.max(axis=axis)
    if spec.symmetric:
        params = QParams(spec, np.maximum(np.abs(lo), np.abs(hi)) / spec.qmax)
    else:
        scale = (hi - lo) / (spec.qmax - spec.qmin)
        params = QParams(spec, scale, np.round(spec.qmin - lo / scale).astype(int))
    return WeightCodes(params.encode(values).astype(np.int8), params, stored)


@pytest.mark.parametrize("name", GRIDS)
def test_weight_only_codes_and_scales_are_the_chosen_ones(name: str):
    spec, stored, version = GRIDS[name]
    net = dense_net()
    model = net.done("y")
    codes = codes_on(spec, f32(6, 8), stored)
    emitted = constants.emit_weight_only(model, Plan(weights={"w": codes}))
    graph = read(emitted.content)
    held = int(graph.ops[0].inputs[0])
    assert (graph.code(graph.ops[0]), version_of(graph, 0)) == ("DEQUANTIZE", version)
    assert graph.dtype(held) == stored
    assert np.array_equal(graph.constant(held), codes.codes)
    q = graph.tensors[held].quantization
    assert np.array_equal(q.scale, np.atleast_1d(codes.params.scale))
    assert np.array_equal(q.zeroPoint, np.atleast_1d(codes.params.zero_point))
    wanted = one_op.run(one_op.on_grid(model, {"w": codes}).to_bytes(), net.samples())[0]
    got = one_op.run(emitted.content, net.samples())[0]
    assert np.allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_a_table_for_gather_and_a_dense_layer_is_stored_once():
    net = Net()
    net.input("ids", X((3,), 0, 6, "int32"))
    net.const("table", f32(7, 4))
    net.op("GATHER", "rows", "table", "ids", options=("GatherOptions", {"axis": 0}))
    net.const("b", f32(7))
    net.op("FULLY_CONNECTED", "y", "rows", "table", "b", options=DENSE)
    model = net.done("y")
    codes = one_op.weight_codes(f32(7, 4), 0)
    for emitter, float_ops in (
        (constants.emit_weight_only, ["DEQUANTIZE", "GATHER", "FULLY_CONNECTED"]),
        (constants.emit_dynamic, ["DEQUANTIZE", "GATHER", "FULLY_CONNECTED"]),
    ):
        emitted = emitter(model, Plan(weights={"table": codes}))
        graph = read(emitted.content)
        assert [graph.code(op) for op in graph.ops] == float_ops
        assert sum(graph.dtype(t) == "int8" for t in range(len(graph.tensors))) == 1
        wanted = one_op.run(one_op.on_grid(model, {"table": codes}).to_bytes(), net.samples())[0]
        got = one_op.run(emitted.content, net.samples())[0]
        assert np.linalg.norm(got - wanted) < 1e-2 * np.linalg.norm(wanted)
    assert [(n.op, n.tensor) for n in emitted.notes] == [("GATHER", "rows")]


def test_dynamic_leaves_a_kept_op_on_the_float_constant():
    model = dense_net().done("y")
    codes = {"w": one_op.weight_codes(f32(6, 8), 0)}
    emitted = constants.emit_dynamic(model, Plan(weights=codes, keep_float={"y": "asked"}))
    assert read(emitted.content).dtype(read(emitted.content).by_name["w"]) == "float32"
    assert [(n.tensor, n.reason) for n in emitted.notes] == [
        ("w", "no op that may be quantized reads it")
    ]


def test_a_name_that_no_constant_has_is_reported():
    codes = {"nobody": one_op.weight_codes(f32(6, 8), 0)}
    emitted = constants.emit_weight_only(dense_net().done("y"), Plan(weights=codes))
    assert [n.tensor for n in emitted.notes] == ["nobody"]
