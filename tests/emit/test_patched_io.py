"""Types at the border of a finished integer file."""

from __future__ import annotations

import itertools

import numpy as np
import one_op
import pytest
from one_op import Net, X, f32

from tfq_ext.emit.patched import static
from tfq_ext.emit.patched.io import retype, retype_model
from tfq_ext.emit.plan import Plan
from tfq_ext.errors import SpecError
from tfq_ext.tflite.read import Graph, Model, text
from tfq_ext.tflite.runner import Runner

TYPES = ("float32", "int8", "uint8")


def finished() -> tuple[Net, bytes]:
    """x -> dense -> y, full-integer int8 with float borders and a signature."""
    net = Net()
    net.input("x", X((2, 8)))
    net.const("w", f32(6, 8)), net.const("b", f32(6))
    net.op("FULLY_CONNECTED", "y", "x", "w", "b", options=("FullyConnectedOptions", {}))
    model = net.done("y")
    one_op.add_signature(model)
    plan = Plan(one_op.observe(model, net.samples()), one_op.weights_of(model))
    return net, static.emit(model, plan).content


def border(graph: Graph) -> tuple[str, str]:
    return graph.dtype(graph.inputs[0]), graph.dtype(graph.outputs[0])


@pytest.mark.parametrize(("given", "wanted"), list(itertools.product(TYPES, TYPES)))
def test_round_trips_between_all_types(given: str, wanted: str):
    net, start = finished()
    first = retype(start, given, given)
    second = retype(first, wanted, wanted)
    graph = Model.parse(second).graphs[0]
    assert border(graph) == (wanted, wanted)
    assert (graph.name(graph.inputs[0]), graph.name(graph.outputs[0])) == ("x", "y")
    feeds = net.samples()
    base = next(iter(Runner(start)({"in_0": feeds["x"]}).values()))
    got = next(iter(Runner(second)({"in_0": feeds["x"]}).values()))
    assert np.array_equal(base, got)  # the same codes inside, whatever the border


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_border_grids_and_ops(dtype: str):
    _, start = finished()
    inner = Model.parse(start).graphs[0]
    q = inner.tensors[inner.by_name["x/int8"]].quantization
    graph = Model.parse(retype(start, dtype, dtype)).graphs[0]
    moved = graph.tensors[graph.inputs[0]].quantization
    assert np.array_equal(moved.scale, q.scale)
    assert moved.zeroPoint[0] == q.zeroPoint[0] + (128 if dtype == "uint8" else 0)
    middle = ["FULLY_CONNECTED"]
    codes = ["QUANTIZE", *middle, "QUANTIZE"] if dtype == "uint8" else middle
    assert [graph.code(op) for op in graph.ops] == codes


def test_signatures_follow():
    _, start = finished()
    model = Model.parse(retype(start, "uint8", "int8"))
    signature, graph = model.signatures["serving_default"], model.graphs[0]
    assert [text(e.name) for e in signature.inputs] == ["in_0"]
    assert [e.tensorIndex for e in signature.inputs] == graph.inputs
    assert [e.tensorIndex for e in signature.outputs] == graph.outputs


def test_nothing_to_do_returns_the_same_bytes():
    _, start = finished()
    assert retype(start, "float32", "float32") == start


def test_an_unknown_type_names_the_allowed_ones():
    _, start = finished()
    with pytest.raises(SpecError, match="Allowed: float32, int8, uint8, int16"):
        retype(start, "int32", "float32")


def test_a_float_op_at_the_border_keeps_float_and_says_so():
    net = Net()
    net.input("x", X((2, 8)))
    net.op("SIN", "y", "x")
    model = net.done("y")
    notes = retype_model(model, "int8", "uint8")
    assert border(model.graphs[0]) == ("float32", "float32")
    assert [(n.op, n.tensor) for n in notes] == [("input", "x"), ("output", "y")]


def test_integer_inputs_are_not_touched():
    net = Net()
    net.input("ids", X((3,), 0, 6, "int32"))
    net.const("table", f32(7, 4))
    net.op("GATHER", "y", "table", "ids", options=("GatherOptions", {"axis": 0}))
    model = net.done("y")
    emitted = static.emit(model, Plan(one_op.observe(model, net.samples())))
    graph = Model.parse(retype(emitted.content, "uint8", "uint8")).graphs[0]
    assert border(graph) == ("int32", "uint8")


def two_readers() -> tuple[Net, Model]:
    """The input feeds an integer op and, with `keep`, a float one."""
    net = Net()
    net.input("x", X((2, 8)))
    net.op("RELU", "a", "x")
    net.op("TANH", "b", "x")
    return net, net.done("a", "b")


@pytest.mark.parametrize("dtype", TYPES)
def test_an_input_that_a_float_op_reads_too(dtype: str):
    net, model = two_readers()
    plan = Plan(one_op.observe(model, net.samples()), keep_float={"b": "asked"}, input_type=dtype)
    emitted = static.emit(model, plan)
    graph = Model.parse(emitted.content).graphs[0]
    assert graph.dtype(graph.inputs[0]) == dtype
    got = Runner(emitted.content)({"x": net.samples()["x"]})
    for name, wanted in zip("ab", one_op.run(model.to_bytes(), net.samples()), strict=True):
        assert np.abs(got[name] - wanted).max() < 8 / 255


@pytest.mark.parametrize("dtype", TYPES)
def test_an_input_read_in_8_and_16_bits(dtype: str):
    net, model = two_readers()
    ranges = one_op.observe(model, net.samples())
    plan = Plan(ranges, int16=frozenset({"b"}), input_type=dtype, output_type="float32")
    emitted = static.emit(model, plan)
    graph = Model.parse(emitted.content).graphs[0]
    assert graph.dtype(graph.inputs[0]) == dtype
    got = Runner(emitted.content)({"x": net.samples()["x"]})
    for name, wanted in zip("ab", one_op.run(model.to_bytes(), net.samples()), strict=True):
        assert np.abs(got[name] - wanted).max() < 8 / 255


def test_a_16_bit_border_cannot_become_8_bits():
    net, model = two_readers()
    ranges = one_op.observe(model, net.samples())
    plan = Plan(ranges, int16=frozenset("ab"), input_type="int8")
    emitted = static.emit(model, plan)
    graph = Model.parse(emitted.content).graphs[0]
    assert graph.dtype(graph.inputs[0]) == "int16"
    assert "int8 has no grid" in emitted.notes[0].reason
