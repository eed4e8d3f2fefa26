"""Fake quantization in a pivot: taken out, and put back by the emitter as the same integers."""

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from fake_quant_nets import SIGNED_GRID, Pairs, half_trained, inputs, joined, ordinary, two_readers
from tiny_models import dense_model

from tfq_ext.emit.absorb import absorb_fake_quant
from tfq_ext.emit.emitters import emit
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.to_float.quantized import carries_fake_quant
from tfq_ext.emit.verify import verify
from tfq_ext.spec import INT8_ACTIVATION, QParams
from tfq_ext.tflite.read import Model

# net -> how many LSB of the output the integer file may be away: one for each rounding that the
# float pairs do not have (a copy of a tensor is rounded twice)
NETS = {"ordinary": (ordinary, 1), "two readers": (two_readers, 2), "joined": (joined, 1)}
SIGNED = QParams(INT8_ACTIVATION, np.float32(0.05), -8)


def _run(content, x):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    rows = []
    for row in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(rows)


def _grid(absorbed, name):
    made = QParams.from_range(INT8_ACTIVATION, absorbed.ranges[name])
    return float(made.scale), int(made.zero_point)


def _codes(model):
    return [code for *_, code in model.walk()]


@pytest.mark.parametrize(("net", "steps"), NETS.values(), ids=NETS)
def test_integer_file_computes_what_the_pairs_did(net, steps):
    content = net()
    absorbed = absorb_fake_quant(Model.parse(content))
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(_codes(absorbed.model))
    plan = Plan(absorbed.ranges, absorbed.weights)
    done = emit("patched", absorbed.model, plan)
    assert verify(done.content, absorbed.model, plan).weights
    assert not done.notes
    gap = np.abs(_run(done.content, inputs()) - _run(content, inputs())).max()
    assert gap <= steps * float(SIGNED.scale) * (1 + 1e-5)


def test_grids_names_and_codes_of_the_ordinary_case():
    model = Model.parse(ordinary())
    absorbed = absorb_fake_quant(model)
    graph = absorbed.model.graphs[0]
    assert _codes(absorbed.model) == ["FULLY_CONNECTED", "FULLY_CONNECTED"]
    assert [graph.name(t) for t in graph.outputs] == ["out"]
    assert absorbed.model.signatures["serve"].outputs[0].tensorIndex == graph.outputs[0]
    expected = (float(SIGNED.scale), -8)
    assert {_grid(absorbed, name) for name in ("in", "hidden", "out")} == {expected}
    assert not absorbed.notes
    assert not absorbed.int16
    for op in graph.ops:
        name = graph.name(op.inputs[1])
        codes = absorbed.weights[name]
        real = np.asarray(graph.constant(op.inputs[1]))
        assert np.array_equal(codes.params.decode(codes.codes), real)
        assert codes.params.spec.symmetric
        assert np.abs(codes.codes).max() == 127
    assert carries_fake_quant(model)  # the pivot itself is untouched


def test_a_second_grid_is_a_copy_and_the_widest_stays():
    absorbed = absorb_fake_quant(Model.parse(two_readers()))
    assert _codes(absorbed.model).count("MUL") == 1
    assert _grid(absorbed, "hidden") == (float(SIGNED.scale), -8)
    assert any("second grid" in note.reason for note in absorbed.notes)


def test_concat_is_requantized_in_front_where_grids_differ():
    absorbed = absorb_fake_quant(Model.parse(joined()))
    assert _codes(absorbed.model).count("MUL") == 1
    assert _grid(absorbed, "right") == (float(np.float32(0.03)), -28)
    same = absorb_fake_quant(Model.parse(joined(SIGNED_GRID)))
    assert "MUL" not in _codes(same.model)
    assert not same.notes


def test_a_pair_behind_a_pair():
    b = Pairs()
    x = b.tensor("in", (1, 5))
    twice = b.pair(b.pair(x, (1, 5), SIGNED_GRID), (1, 5), ("uint8", 0.1, 128))
    b.end([x], [b.layer(twice, 5, name="out")], "serve")
    absorbed = absorb_fake_quant(Model.parse(b.bytes()))
    assert _codes(absorbed.model) == ["MUL", "FULLY_CONNECTED"]
    assert _grid(absorbed, "in") == (float(SIGNED.scale), -8)

    b = Pairs()
    x = b.tensor("in", (1, 5))
    twice = b.pair(b.pair(x, (1, 5), SIGNED_GRID), (1, 5), SIGNED_GRID)
    b.end([x], [b.layer(twice, 5, name="out")], "serve")
    assert _codes(absorb_fake_quant(Model.parse(b.bytes())).model) == ["FULLY_CONNECTED"]


def test_from_input_to_output_a_copy_remains():
    b = Pairs()
    x = b.tensor("in", (1, 5))
    b.end([x], [b.pair(x, (1, 5), SIGNED_GRID, "out")], "serve")
    absorbed = absorb_fake_quant(Model.parse(b.bytes()))
    graph = absorbed.model.graphs[0]
    assert _codes(absorbed.model) == ["MUL"]
    assert (graph.name(graph.inputs[0]), graph.name(graph.outputs[0])) == ("in", "out")
    assert set(absorbed.ranges) == {"in", "out"}


def _with_constant(codes, grid):
    b = Pairs()
    x = b.tensor("in", (1, 5))
    c = b.tensor("c", codes.shape, grid[0], values=codes, grid=grid)
    d = b.tensor("c_float", codes.shape)
    b.op("DEQUANTIZE", [c], [d], "DequantizeOptions")
    y = b.binary("ADD", b.pair(x, (1, 5), SIGNED_GRID), d, (1, 5), "sum")
    b.end([x], [b.pair(y, (1, 5), SIGNED_GRID, "out")], "serve")
    return absorb_fake_quant(Model.parse(b.bytes()))


def test_integer_constant_of_an_add():
    codes = np.array([[-128, 127, 0, 5, -6]], np.int8)
    absorbed = _with_constant(codes, ("int8", 0.25, 0))
    assert np.array_equal(absorbed.weights["c_float"].codes, codes)
    graph = absorbed.model.graphs[0]
    assert np.array_equal(graph.constant(graph.by_name["c_float"]), codes * np.float32(0.25))


@pytest.mark.parametrize(("codes", "fits"), [([0, 4, 9], True), ([0, 4, 140], False)])
def test_a_zero_point_is_shifted_away_where_the_codes_fit(codes, fits):
    values = np.array([[*codes, 10, 10]], np.uint8)
    absorbed = _with_constant(values, ("uint8", 0.25, 10))
    assert ("c_float" in absorbed.weights) is fits
    assert bool(absorbed.notes) is not fits
    real = (values.astype(np.float32) - 10) * np.float32(0.25)
    graph = absorbed.model.graphs[0]
    assert np.array_equal(graph.constant(graph.by_name["c_float"]), real)


def test_sixteen_bits_are_named_by_op():
    b = Pairs()
    x = b.tensor("in", (1, 5))
    h = b.layer(b.pair(x, (1, 5), ("int16", 2.0**-12, 0)), 5, name="hidden")
    b.end([x], [b.pair(h, (1, 6), ("uint16", 2.0**-11, 32768), "out")], "serve")
    absorbed = absorb_fake_quant(Model.parse(b.bytes()))
    assert absorbed.int16 == {"out"}
    assert absorbed.ranges["in"].max == 32767 * 2.0**-12


def test_two_subgraphs_and_a_plain_model():
    b = Pairs()
    for k in range(2):
        if k:
            b.begin()
        x = b.tensor(f"in{k}", (1, 5))
        y = b.layer(b.pair(x, (1, 5), SIGNED_GRID), 5, name=f"y{k}")
        b.end([x], [b.pair(y, (1, 6), SIGNED_GRID, f"out{k}")], f"s{k}")
    absorbed = absorb_fake_quant(Model.parse(b.bytes()))
    assert set(absorbed.ranges) == {"in0", "in1", "out0", "out1"}
    assert len(absorbed.weights) == 2
    plain = absorb_fake_quant(Model.parse(dense_model(np.eye(5))))
    assert not plain.ranges
    assert not plain.weights


def test_what_has_no_pair_has_no_range():
    absorbed = absorb_fake_quant(Model.parse(half_trained()))
    assert set(absorbed.ranges) == {"in", "hidden"}
