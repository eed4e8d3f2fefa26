"""Equalization of a flatbuffer: the three treatments of ReLU6, and what must be left alone."""

from __future__ import annotations

import numpy as np
import pytest
from equalize_nets import NETS, RELU, RELU6, Sketch, feed, inverted, relative
from one_op import X, add_signature, run

from tfq_ext.repair.equalize import channel_extremes, channel_maxima, equalize
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite import patch
from tfq_ext.tflite.passes import relu6_to_relu
from tfq_ext.tflite.read import Model

CAPPED = ("stem", "e1", "d1", "h")


def _samples(model, **options):
    return [Sample(k, feed(model, seed=k, **options)) for k in range(4)]


def _codes(model):
    return {graph.name(op.outputs[0]): graph.code(op) for graph, _, op, _ in model.walk()}


def test_skip_keeps_layers_around_a_relu6_apart():
    model = inverted()
    done = equalize(model)
    assert set(done.factors) == {"p0", "p1", "s1"}
    assert done.freed == ()
    assert relative(model, done.model, feed(model, low=-9, high=9)) < 1e-5
    assert "The output of stem/w keeps its scale: stem is a ReLU6." in done.notes


def test_relu_frees_the_caps_that_factors_pass():
    model = inverted(scale=4.0)
    done = equalize(model, relu6="relu")
    assert set(done.freed) == set(CAPPED)
    assert _codes(done.model)["h"] == "RELU"
    feeds, uncapped = feed(model, low=-9, high=9), model.copy()
    relu6_to_relu(uncapped)
    assert relative(uncapped, done.model, feeds) < 1e-5
    assert relative(model, done.model, feeds) > 1e-3  # some cap was reached
    assert not equalize(done.model, relu6="relu").freed


@pytest.mark.parametrize("relu6", ["bound", "up"])
@pytest.mark.parametrize("power_of_two", [False, True])
def test_bounds_keep_each_cap_as_it_acts_on_the_data(relu6, power_of_two):
    model = inverted(scale=4.0)
    samples = _samples(model, low=-6, high=6)
    maxima = channel_maxima(model, samples)
    done = equalize(model, relu6=relu6, maxima=maxima, power_of_two=power_of_two)
    assert set(done.factors) >= {"e1", "d1"}
    assert _codes(done.model)["h"] == "RELU6"
    after = channel_maxima(done.model, samples)
    for name in CAPPED:
        f = done.factors.get(name, np.ones(len(maxima[name])))
        capped = maxima[name] >= 6
        assert (f[capped] == 1).all()
        assert (after[name] <= 6).all()
        assert relu6 == "bound" or (f <= 1).all()
    assert any((maxima[name] >= 6).any() for name in CAPPED)
    for sample in samples:
        assert relative(model, done.model, sample.inputs) < (1e-9 if power_of_two else 1e-5)


def test_a_relu6_without_maxima_keeps_its_scale():
    model = inverted()
    maxima = channel_maxima(model, _samples(model), ["e1", "nobody"])
    done = equalize(model, relu6="up", maxima=maxima)
    assert set(maxima) == {"e1"}
    assert set(done.factors) >= {"e1"}
    assert "The output of d1/w keeps its scale: d1 is a ReLU6 of unknown maxima." in done.notes


def test_even_activations_under_a_cap_grow_to_six_at_most():
    model = inverted()
    maxima = channel_maxima(model, _samples(model))
    done = equalize(model, relu6="up", maxima=maxima, balance="activations")
    after = channel_maxima(done.model, _samples(model))
    whole = min(maxima["d1"].max(), 6)
    np.testing.assert_allclose(after["d1"][maxima["d1"] > 0], whole, rtol=1e-4)


def test_a_hard_sigmoid_keeps_its_cap():
    n = Sketch()
    n.conv("a", "x", 3, 8)
    n.const("three", np.float32([3.0]))
    n.add("b", "a", "three", RELU6)
    n.const("sixth", np.float32([1 / 6]))
    n.op("MUL", "g", "b", "sixth", options=("MulOptions", {}))
    n.op("MUL", "h", "a", "g", options=("MulOptions", {}))
    n.conv("y", "h", 8, 4, act=0)
    done = equalize(n.done("y"), relu6="relu")
    assert done.factors == {}
    assert done.freed == ()


@pytest.mark.parametrize("times", ["square", "both"])
def test_products_of_what_could_be_scaled_stay(times):
    n = Sketch()
    n.conv("a", "x", 3, 8)
    other = n.conv("b", "x", 3, 8) if times == "both" else "a"
    n.op("MUL", "h", "a", other, options=("MulOptions", {}))
    n.conv("c", "h", 8, 5)
    n.conv("y", "c", 5, 4, act=0)
    model = n.done("y")
    done = equalize(model)
    assert set(done.factors) == {"c"}
    assert any("multiplies" in note for note in done.notes)


def _tied(code, options, *constants):
    """conv, an op, conv; the op minds factors."""
    n = Sketch()
    n.conv("a", "x", 3, 8)
    names = [n.const(f"c{k}", c) for k, c in enumerate(constants)]
    n.op(code, "h", "a", *names, options=options)
    n.conv("y", "h", 8, 4, act=0)
    return n.done("y")


MINDING = {
    "LOGISTIC": _tied("LOGISTIC", None),
    "HARD_SWISH": _tied("HARD_SWISH", ("HardSwishOptions", {})),
    "RELU_N1_TO_1": _tied("RELU_N1_TO_1", None),
    "ADD": _tied("ADD", ("AddOptions", {}), np.float32([0.5])),
    "MAXIMUM": _tied("MAXIMUM", ("MaximumMinimumOptions", {}), np.float32([0.5])),
    "PADV2": _tied(
        "PADV2", ("PadV2Options", {}), np.int32([[0, 0], [1, 1], [1, 1], [0, 0]]), np.float32(1)
    ),
    "TRANSPOSE": _tied("TRANSPOSE", ("TransposeOptions", {}), np.int32([0, 3, 2, 1])),
    "REVERSE_V2": _tied("REVERSE_V2", ("ReverseV2Options", {}), np.int32([3])),
    "STRIDED_SLICE": _tied(
        "STRIDED_SLICE",
        ("StridedSliceOptions", {"endMask": 15, "beginMask": 15}),
        *np.int32([[0, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, -1]]),
    ),
}


@pytest.mark.parametrize("code", MINDING)
def test_what_minds_factors_keeps_layers_apart(code):
    done = equalize(MINDING[code])
    assert done.factors == {}
    assert any(code in note for note in done.notes)
    assert done.model.to_bytes() == MINDING[code].to_bytes()


def _pair(**more):
    n = Sketch()
    n.conv("a", "x", 3, 8, act=more.get("act", RELU))
    n.conv("y", "a", 8, 4, act=0)
    return n


@pytest.mark.parametrize("act", [2, 4, 5])  # -1 to 1, tanh, sign
def test_fused_activations_that_mind(act):
    n = _pair(act=act)
    n.graph.tree.outputs = [n.graph.by_name["y"]]
    done = equalize(n.model)
    assert done.factors == {}


def test_outputs_of_the_model_keep_their_scale():
    model = _pair().done("a", "y")
    done = equalize(model)
    assert done.factors == {}
    assert "The output of a/w keeps its scale: the model's output." in done.notes


def test_shared_weights_stay_and_shared_biases_part():
    n = Sketch((2, 8, 8, 8))
    n.conv("a", "x", 8, 8)
    n.conv("b", "a", 8, 8)
    n.conv("y", "b", 8, 8, act=0)
    model = n.done("y")
    ops, names = model.graphs[0].ops, model.graphs[0].by_name
    ops[1].inputs = [names["a"], names["b/w"], names["a/b"]]  # one bias for two
    done = equalize(model)
    assert set(done.factors) == {"a", "b"}
    assert relative(model, done.model, feed(model)) < 1e-5
    ops[2].inputs = [names["b"], names["b/w"], names["y/b"]]  # and one weight
    model.graphs[0].changed()
    done = equalize(model)
    assert done.factors == {}
    assert "b/w is not scaled: its weights are shared." in done.notes


def test_one_buffer_under_two_weights_is_shared():
    n = Sketch((2, 8, 8, 8))
    for name, x in (("a", "x"), ("b", "a"), ("y", "b")):
        n.conv(name, x, 8, 8)
    model = n.done("y")
    tensors, names = model.graphs[0].tensors, model.graphs[0].by_name
    tensors[names["y/w"]].buffer = tensors[names["a/w"]].buffer
    done = equalize(model)
    assert done.factors == {}


def test_computed_and_integer_weights_stay():
    n = _pair()
    n.input("w", X((4, 8)))
    n.mean("m", "y")
    n.op("FULLY_CONNECTED", "z", "m", "m", options=("FullyConnectedOptions", {}))
    n.graph.ops[-1].inputs = [n.graph.by_name[t] for t in ("m", "w")] + [-1]
    n.graph.tree.outputs = [n.graph.by_name["z"]]
    n.graph.tensors[n.graph.by_name["w"]].shape = [3, 4]
    done = equalize(n.done("z"))
    assert "z is not scaled: its weights are computed." in done.notes
    assert set(done.factors) == {"a"}
    model = _pair().done("y")
    graph = model.graphs[0]
    patch.set_params(graph, graph.by_name["y/w"], "int8", None)
    assert equalize(model).factors == {}


def test_recorded_ranges_keep_their_tensors():
    model = _pair().done("y")
    graph = model.graphs[0]
    patch.set_range(graph, graph.by_name["a"], Range.of(0.0, 3.0))
    assert equalize(model).factors == {}


def test_two_signatures_over_the_same_weights_still_share_them():
    model = NETS["triple"][0]()
    add_signature(model, "one")
    twin = model.copy().tree.subgraphs[0]
    model.tree.subgraphs.append(twin)
    signature = model.copy().tree.signatureDefs[0]
    signature.signatureKey, signature.subgraphIndex = b"two", 1
    model.tree.signatureDefs.append(signature)
    model = Model.parse(model.to_bytes())
    done = equalize(model)
    first, second = done.model.graphs
    weights = [first.by_name[f"{n}/w"] for n in "abcd"]
    for t in weights:
        assert first.tensors[t].buffer == second.tensors[t].buffer
        assert first.tensors[t].buffer != model.graphs[0].tensors[t].buffer
    assert len(done.links) == 8
    assert relative(model, done.model, feed(model)) < 1e-5


def test_a_dead_channel_keeps_factor_one():
    model = _pair().done("y")
    graph = model.graphs[0]
    w = np.array(graph.constant(graph.by_name["a/w"]))
    w[3] = 0
    model.tree.buffers[graph.tensors[graph.by_name["a/w"]].buffer].data = w.reshape(-1).view(
        np.uint8
    )
    done = equalize(model)
    assert done.factors["a"][3] == 1
    assert (done.factors["a"] != 1).sum() == 7


def test_extremes_are_those_of_a_loop():
    model = NETS["trunk"][0]()
    samples = _samples(model)
    found = channel_extremes(model, samples)
    y = np.concatenate([run(model.to_bytes(), s.inputs)[0] for s in samples])
    np.testing.assert_array_equal(found["y"][0], y.min(axis=0))
    np.testing.assert_array_equal(found["y"][1], y.max(axis=0))
    assert set(found) == {"x", "a", "b1", "b2", "s1", "c1", "c2", "s2", "m", "y"}
    maxima = channel_maxima(model, samples)
    np.testing.assert_array_equal(maxima["a"], np.maximum(-found["a"][0], found["a"][1]))
