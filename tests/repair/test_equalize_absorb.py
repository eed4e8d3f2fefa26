"""High-bias absorption: exact where the extremes hold, and never across a zero padding."""

from __future__ import annotations

import numpy as np
import pytest
from equalize_nets import RELU, RELU6, VALID, Sketch, feed, relative

from tfq_ext.errors import DataError
from tfq_ext.repair.equalize import absorb, channel_extremes, equalize
from tfq_ext.samples.spec import Sample


def _high(act=RELU, readers="dense", high=2.0):
    """A conv whose first channels have high biases, read by `readers`."""
    n = Sketch()
    n.conv("a", "x", 3, 8, act=act)
    {
        "dense": lambda: n.dense("d", n.mean("m", "a"), 8, 5),
        "1x1": lambda: n.conv("d", "a", 8, 5, 1, act=0),
        "valid": lambda: n.conv("d", "a", 8, 5, 3, act=0, padding=VALID),
        "same": lambda: n.conv("d", "a", 8, 5, 3, act=0),
        "depthwise": lambda: n.depthwise("d", "a", 8, 2, act=0, padding=VALID),
        "flat": lambda: n.dense("d", n.reshape("flat", "a", 2, 512), 512, 5),
        "relu": lambda: n.conv("d", n.op("RELU", "r", "a"), 8, 5, 1, act=0),
        "sum": lambda: n.add("d", "a", n.conv("e", "a", 8, 8, 1)),
    }[readers]()
    graph = n.graph
    w, b = (graph.tensors[graph.by_name[f"a/{c}"]] for c in "wb")
    weights = np.array(graph.constant(graph.by_name["a/w"])) * 0.02
    n.model.tree.buffers[w.buffer].data = weights.reshape(-1).view(np.uint8)
    bias = np.float32([high, high, 3, 0, -1, 0.1, high, 1])
    n.model.tree.buffers[b.buffer].data = bias.view(np.uint8)
    return n.done("d")


def _samples(model):
    return [Sample(k, feed(model, seed=k)) for k in range(3)]


@pytest.mark.parametrize("readers", ["dense", "1x1", "valid", "depthwise", "flat"])
def test_the_function_stays_where_the_extremes_hold(readers):
    model = _high(readers=readers)
    samples = _samples(model)
    extremes = channel_extremes(model, samples, ["a"])
    done = absorb(model, extremes)
    c = done.amounts["a"]
    np.testing.assert_allclose(c, np.maximum(extremes["a"][0], 0))
    assert (c >= 0).all()
    assert c[0] > 0.5
    assert c[4] == 0  # its bias is low
    after = channel_extremes(done.model, samples, ["a"])["a"]
    np.testing.assert_allclose(after[0][c > 0], 0, atol=1e-6)
    for sample in samples:
        assert relative(model, done.model, sample.inputs) < 1e-5
    outside = {"x": np.full((2, 8, 8, 3), -60, np.float32)}
    assert relative(model, done.model, outside) > 1e-3  # some channel falls below its c there


def test_nothing_is_absorbed_across_a_padding():
    model = _high(readers="same")
    done = absorb(model, channel_extremes(model, _samples(model), ["a"]))
    assert done.amounts == {}
    assert done.notes == ("a is not absorbed: d/w pads with zeros.",)
    assert done.model.to_bytes() == model.to_bytes()


def test_without_a_relu_the_middle_is_absorbed_whatever_comes():
    model = _high(act=0, readers="1x1")
    extremes = channel_extremes(model, _samples(model), ["a"])
    done = absorb(model, extremes)
    np.testing.assert_allclose(done.amounts["a"], np.mean(extremes["a"], axis=0), rtol=1e-6)
    outside = {"x": np.full((2, 8, 8, 3), -60, np.float32)}
    assert relative(model, done.model, outside) < 1e-5
    model = _high(act=0, readers="relu")  # one that stands alone counts
    done = absorb(model, channel_extremes(model, _samples(model), ["a"]))
    assert (done.amounts["a"] >= 0).all()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"act": RELU6}, "activation RELU6"),
        ({"readers": "sum"}, "ADD d reads it"),
    ],
)
def test_what_cannot_be_absorbed_says_why(options, why):
    model = _high(**options)
    done = absorb(model, channel_extremes(model, _samples(model), ["a"]))
    assert done.amounts == {}
    assert why in done.notes[0]


def test_low_biases_change_nothing():
    model = _high(high=0.0)
    low, high = np.full(8, -0.5), np.ones(8)
    done = absorb(model, {"a": (low, high)})  # beta - 3 gamma, before the ReLU
    assert done.amounts == {}
    assert done.model.to_bytes() == model.to_bytes()
    with pytest.raises(DataError, match="a has 8 channels"):
        absorb(model, {"a": (low[:3], high[:3])})


def test_a_dense_layer_without_bias_gets_one():
    model = _high()
    op = model.graphs[0].ops[-1]
    op.inputs = list(op.inputs[:2])
    extremes = channel_extremes(model, _samples(model), ["a"])
    done = absorb(model, extremes)
    assert len(done.model.graphs[0].ops[-1].inputs) == 3
    assert relative(model, done.model, _samples(model)[0].inputs) < 1e-5


def test_equalizing_first_divides_the_extremes():
    model = _high(readers="1x1")
    extremes = channel_extremes(model, _samples(model), ["a"])
    done = equalize(model, extremes=extremes)
    plain = absorb(model, extremes).amounts["a"]
    np.testing.assert_allclose(done.absorbed["a"] * done.factors["a"], plain, rtol=1e-6)
    assert relative(model, done.model, _samples(model)[1].inputs) < 1e-5
