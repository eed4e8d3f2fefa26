"""The static emitter on small graphs: grids, regions, names, bias, reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import one_op
import pytest
from one_op import Net, X, f32, i32

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph, Model

CONV = ("Conv2DOptions", {"padding": 0, "strideW": 1, "strideH": 1})
DEPTHWISE = ("DepthwiseConv2DOptions", CONV[1] | {"depthMultiplier": 1})


def small_net() -> Net:
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
    net.op("SOFTMAX", "probs", "logits", options=("SoftmaxOptions", {"beta": 0.1}))
    return net


def planned(net: Net, *outputs: str, bits: int = 8, **more: Any) -> tuple[Model, Plan]:
    """The finished model with weights on their grids, and min-max ranges for everything."""
    model = net.done(*outputs)
    codes = one_op.weights_of(model, bits)
    model = one_op.on_grid(model, codes)
    return model, Plan(ranges=one_op.observe(model, net.samples()), weights=codes, **more)


def all_ops(model: Model) -> frozenset[str]:
    graph = model.graphs[0]
    return frozenset(graph.name(op.outputs[0]) for op in graph.ops)


def read(content: bytes) -> Graph:
    return Model.parse(content).graphs[0]


def params(graph: Graph, name: str) -> tuple[str, float, int]:
    t = graph.by_name[name]
    q = graph.tensors[t].quantization
    return graph.dtype(t), float(q.scale[0]), int(q.zeroPoint[0])


def ops_and_types(graph: Graph) -> list[tuple[str, str]]:
    return [(graph.code(op), graph.dtype(op.outputs[0])) for op in graph.ops]


def decibel(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.sum(wanted**2) / np.sum((wanted - got) ** 2)))


@pytest.mark.parametrize(("int16", "floor"), [(False, 35.0), (True, 75.0)])
def test_whole_net_follows_the_float_model(int16: bool, floor: float):
    net = small_net()
    model, plan = planned(net, "logits")
    if int16:
        plan = Plan(ranges=plan.ranges, weights=plan.weights, int16=all_ops(model))
    emitted = static.emit(model, plan)
    assert emitted.notes == ()
    feeds = net.samples()
    wanted, got = one_op.run(model.to_bytes(), feeds)[0], one_op.run(emitted.content, feeds)[0]
    assert decibel(wanted, got) > floor  # 6 dB a bit, less what five layers add


@pytest.mark.parametrize(
    ("int16", "dtype", "spec"),
    [(False, "int8", INT8_ACTIVATION), (True, "int16", INT16_ACTIVATION)],
)
def test_what_is_read_back_is_what_was_planned(int16: bool, dtype: str, spec: QSpec):
    net = small_net()
    model, plan = planned(net, "probs")
    chosen = all_ops(model) if int16 else frozenset()
    graph = read(static.emit(model, Plan(plan.ranges, plan.weights, int16=chosen)).content)
    for name in ("conv", "dw", "add", "mean", "logits"):
        wanted = QParams.from_range(spec, plan.ranges[name])
        assert params(graph, name) == (dtype, float(wanted.scale), int(wanted.zero_point))
    for op in graph.ops:
        if graph.code(op) in WEIGHTS:
            check_layer(graph, op, plan)
    prescribed = ("int16", 1 / 32768, 0) if int16 else ("int8", 1 / 256, -128)
    assert params(graph, f"probs/{dtype}") == prescribed


def check_layer(graph: Graph, op: Any, plan: Plan) -> None:
    """Codes and scales equal the plan's; the bias is round(b / (s_x s_w)) in 32 or 64 bits."""
    x, w, b = (int(t) for t in op.inputs)
    codes = plan.weights[graph.name(w)]
    assert np.array_equal(graph.constant(w), codes.codes)
    assert np.array_equal(graph.tensors[w].quantization.scale, codes.params.scale)
    assert graph.tensors[w].quantization.quantizedDimension == codes.params.spec.axis
    assert graph.dtype(b) == {"int8": "int32", "int16": "int64"}[graph.dtype(x)]
    s = np.float32(graph.tensors[x].quantization.scale[0]) * codes.params.scale
    assert np.allclose(graph.tensors[b].quantization.scale, s, rtol=0, atol=0)
    real = f32(len(s))
    assert np.all(np.abs(graph.constant(b) * s.astype(np.float64) - real) <= s / 2 * (1 + 1e-6))


def test_the_pivot_is_left_alone():
    model, plan = planned(small_net(), "probs")
    before = model.to_bytes()
    static.emit(model, plan)
    assert model.to_bytes() == before


def test_float_constants_and_their_bytes_are_gone():
    model, plan = planned(small_net(), "probs")
    emitted = static.emit(model, plan)
    graph = read(emitted.content)
    assert not [graph.name(t) for t in range(len(graph.tensors)) if _float_constant(graph, t)]
    assert {"w1", "b1", "w2", "b2", "w3", "b3"} <= set(graph.by_name)
    used = {t.buffer for t in graph.tensors}
    assert set(range(len(graph.model.tree.buffers))) - used <= {0}


def _float_constant(graph: Graph, tensor: int) -> bool:
    return graph.dtype(tensor) == "float32" and graph.is_constant(tensor)


def test_eight_and_sixteen_bit_regions_meet_in_quantize():
    net = small_net()
    model, plan = planned(net, "logits")
    plan = Plan(plan.ranges, plan.weights, int16=frozenset({"dw", "add"}))
    emitted = static.emit(model, plan)
    graph = read(emitted.content)
    assert ops_and_types(graph)[:8] == [
        ("QUANTIZE", "int8"),
        ("CONV_2D", "int8"),
        ("QUANTIZE", "int16"),
        ("DEPTHWISE_CONV_2D", "int16"),
        ("ADD", "int16"),
        ("QUANTIZE", "int8"),
        ("MEAN", "int8"),
        ("FULLY_CONNECTED", "int8"),
    ]
    s16 = float(QParams.from_range(INT16_ACTIVATION, plan.ranges["conv"]).scale)
    assert params(graph, "conv/int16") == ("int16", s16, 0)
    feeds = net.samples()
    wanted, got = one_op.run(model.to_bytes(), feeds)[0], one_op.run(emitted.content, feeds)[0]
    assert decibel(wanted, got) > 35


def test_a_kept_op_is_float_between_dequantize_and_quantize():
    net = small_net()
    model, plan = planned(net, "logits", keep_float={"dw": "rule 3"})
    emitted = static.emit(model, plan)
    assert [(n.op, n.tensor, n.reason) for n in emitted.notes] == [
        ("DEPTHWISE_CONV_2D", "dw", "rule 3")
    ]
    graph = read(emitted.content)
    assert ops_and_types(graph)[2:5] == [
        ("DEQUANTIZE", "float32"),
        ("DEPTHWISE_CONV_2D", "float32"),
        ("QUANTIZE", "int8"),
    ]
    assert graph.dtype(graph.by_name["w2"]) == "float32"
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    assert decibel(wanted, one_op.run(emitted.content, net.samples())[0]) > 35


REASONS = {
    "range": (
        lambda p: Plan({n: r for n, r in p.ranges.items() if n != "dw"}, p.weights),
        [
            ("DEPTHWISE_CONV_2D", "dw", "no range for tensor dw"),
            ("ADD", "add", "no range for tensor dw"),
        ],
    ),
    "codes": (
        lambda p: Plan(p.ranges, {n: c for n, c in p.weights.items() if n != "w3"}),
        [("FULLY_CONNECTED", "logits", "no codes for its weight w3")],
    ),
    "axis": (
        lambda p: Plan(p.ranges, p.weights | {"w3": one_op.weight_codes(f32(5, 4), 1)}),
        [
            (
                "FULLY_CONNECTED",
                "logits",
                "the kernel wants scales along axis 0, the codes have axis 1",
            )
        ],
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_reasons(name: str):
    change, rows = REASONS[name]
    net = small_net()
    model, plan = planned(net, "logits")
    emitted = static.emit(model, change(plan))
    assert [(n.op, n.tensor, n.reason) for n in emitted.notes] == rows
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    assert decibel(wanted, one_op.run(emitted.content, net.samples())[0]) > 35


def test_an_op_without_kernel_stays_float():
    net = Net()
    net.input("x", X((2, 8)))
    net.op("SIN", "sin", "x")
    net.op("RELU", "relu", "sin")
    model, plan = planned(net, "relu")
    emitted = static.emit(model, plan)
    assert [n.reason for n in emitted.notes] == ["LiteRT has no int8 kernel for SIN"]
    assert ops_and_types(read(emitted.content))[:2] == [("SIN", "float32"), ("QUANTIZE", "int8")]


def test_concatenation_takes_the_union_of_its_ranges():
    net = Net()
    net.input("a", X((2, 3), -1, 1)), net.input("b", X((2, 3), -2, 6))
    net.op("CONCATENATION", "cat", "a", "b", options=("ConcatenationOptions", {"axis": 1}))
    net.op("RELU", "relu", "cat")
    model, plan = planned(net, "relu")
    graph = read(static.emit(model, plan).content)
    union = QParams.from_range(INT8_ACTIVATION, Range(-2.0, 6.0))
    for name in ("a/int8", "b/int8", "cat"):
        assert params(graph, name) == ("int8", float(union.scale), int(union.zero_point))


def sigmoid_and(other: X, code: str = "CONCATENATION") -> Net:
    net = Net()
    net.input("x", X((2, 3))), net.input("y", other)
    net.op("LOGISTIC", "s", "x")
    net.op(code, "cat", "s", "y", options=("ConcatenationOptions", {"axis": 1}))
    return net


def test_a_prescribed_grid_serves_the_whole_group_where_all_fit():
    model, plan = planned(sigmoid_and(X((2, 3), 0, 0.9)), "cat")
    graph = read(static.emit(model, plan).content)
    for name in ("s", "y/int8", "cat/int8"):
        assert params(graph, name) == ("int8", 1 / 256, -128)


def test_a_prescribed_grid_is_requantized_where_the_group_is_wider():
    net = sigmoid_and(X((2, 3), -4, 4))
    model, plan = planned(net, "cat")
    emitted = static.emit(model, plan)
    graph = read(emitted.content)
    assert params(graph, "s/prescribed") == ("int8", 1 / 256, -128)
    wide = QParams.from_range(INT8_ACTIVATION, Range(-4.0, 4.0))
    assert params(graph, "s") == ("int8", float(wide.scale), int(wide.zero_point))
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    assert np.abs(one_op.run(emitted.content, net.samples())[0] - wanted).max() <= wide.scale


def embedding(int16: bool) -> tuple[Net, Model, Plan]:
    net = Net()
    net.input("ids", X((3,), 0, 6, "int32"))
    net.const("table", f32(7, 4))
    net.op("GATHER", "rows", "table", "ids", options=("GatherOptions", {"axis": 0}))
    net.op("RELU", "relu", "rows")
    model, plan = planned(net, "relu")
    codes = {"table": one_op.weight_codes(f32(7, 4), None)}
    return net, model, Plan(plan.ranges, codes, int16=all_ops(model) if int16 else frozenset())


@pytest.mark.parametrize("int16", [False, True])
def test_codes_of_an_embedding_table_survive(int16: bool):
    net, model, plan = embedding(int16)
    emitted = static.emit(model, plan)
    assert emitted.notes == ()
    graph = read(emitted.content)
    assert np.array_equal(graph.constant(graph.by_name["table"]), plan.weights["table"].codes)
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    got = one_op.run(emitted.content, net.samples())[0]
    assert np.abs(got - wanted).max() <= 2 * float(plan.weights["table"].params.scale)


def test_int4_codes_with_16_bit_activations():
    """LiteRT's depthwise kernel takes them without complaint and computes nonsense."""
    net = small_net()
    model, plan = planned(net, "logits", bits=4)
    plan = Plan(plan.ranges, plan.weights, int16=all_ops(model))
    emitted = static.emit(model, plan)
    graph = read(emitted.content)
    stored = {n: graph.dtype(graph.by_name[n]) for n in ("w1", "w2", "w3")}
    assert stored == {"w1": "int4", "w2": "int8", "w3": "int4"}
    assert [n.tensor for n in emitted.notes] == ["dw"]
    wanted = one_op.run(model.to_bytes(), net.samples())[0]
    assert decibel(wanted, one_op.run(emitted.content, net.samples())[0]) > 75


def test_a_weight_shared_with_a_float_op_keeps_both_forms():
    net = Net()
    net.input("x", X((2, 4)))
    net.const("w", f32(4, 4)), net.const("b", f32(4))
    options = ("FullyConnectedOptions", {})
    net.op("FULLY_CONNECTED", "one", "x", "w", "b", options=options)
    net.op("FULLY_CONNECTED", "two", "one", "w", "b", options=options)
    model, plan = planned(net, "two", keep_float={"two": "asked"})
    graph = read(static.emit(model, plan).content)
    assert graph.dtype(graph.by_name["w"]) == "float32"
    assert graph.dtype(graph.by_name["w/int8"]) == "int8"


def test_near_dead_channels_clip_their_bias_and_say_so():
    net = Net()
    net.input("x", X((2, 4)))
    weight = f32(4, 4)
    weight[1] *= 1e-9
    net.const("w", weight), net.const("b", np.full(4, 100.0, np.float32))
    net.op("FULLY_CONNECTED", "y", "x", "w", "b", options=("FullyConnectedOptions", {}))
    model = net.done("y")
    spec = QSpec(8, narrow=True, axis=0)
    scale = np.abs(weight).max(1) / 127
    codes = QParams(spec, scale).encode(weight).astype(np.int8)
    weights = {"w": WeightCodes(codes, QParams(spec, scale))}
    emitted = static.emit(model, Plan(one_op.observe(model, net.samples()), weights))
    assert [n.reason.split(" (")[0] for n in emitted.notes] == ["1 bias codes exceed int32"]


def test_derived_tensors_need_no_range_of_their_own():
    net = Net()
    net.input("x", X((1, 4, 4, 2)))
    net.const("p", np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    net.op("PAD", "pad", "x", "p", options=("PadOptions", {}))
    net.const("w", f32(3, 3, 3, 2)), net.const("b", f32(3))
    net.op("CONV_2D", "y", "pad", "w", "b", options=("Conv2DOptions", CONV[1] | {"padding": 1}))
    model, plan = planned(net, "y")
    ranges = {n: r for n, r in plan.ranges.items() if n != "pad"}
    for int16 in ({"pad"}, {"y"}, {"pad", "y"}, set()):
        emitted = static.emit(model, Plan(ranges, plan.weights, int16=frozenset(int16)))
        assert emitted.notes == ()
        wanted = one_op.run(model.to_bytes(), net.samples())[0]
        assert decibel(wanted, one_op.run(emitted.content, net.samples())[0]) > 35


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_integer_inputs_and_outputs(dtype: str):
    net = small_net()
    model, plan = planned(net, "logits", input_type=dtype, output_type=dtype)
    if dtype == "int16":
        plan = Plan(
            plan.ranges, plan.weights, {}, all_ops(model), input_type=dtype, output_type=dtype
        )
    emitted = static.emit(model, plan)
    graph = read(emitted.content)
    spec = INT16_ACTIVATION if dtype == "int16" else INT8_ACTIVATION
    shift = 128 if dtype == "uint8" else 0
    for name, tensor in (("x", graph.inputs[0]), ("logits", graph.outputs[0])):
        grid = QParams.from_range(spec, plan.ranges[name])
        assert graph.name(tensor) == name
        assert params(graph, name) == (dtype, float(grid.scale), int(grid.zero_point) + shift)
