"""Equalization of Keras models: the function stays, ranges become equal, edges have reasons."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
from keras import layers as L

from tfq_ext.errors import DataError, SpecError, UnknownName
from tfq_ext.numerics.equalize import Block
from tfq_ext.rewrite import equalize, fold_batch_norm
from tfq_ext.rewrite.canonical import kernels_of

pytestmark = pytest.mark.tf


def _chain(*, relu6=False):
    """Every linear layer of a chain, with every activation that lets a factor pass."""
    x = keras.Input((12, 12, 4))
    y = L.ReLU()(L.BatchNormalization()(L.Conv2D(6, 3, groups=2, name="grouped")(x)))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name="dw")(y)
    y = L.PReLU(shared_axes=[1, 2])(L.BatchNormalization()(y))
    y = L.LeakyReLU()(L.SeparableConv2D(5, 3, depth_multiplier=2, name="sep")(y))
    y = L.Conv2DTranspose(7, 3, strides=2, activation="leaky_relu", name="up")(y)
    y = L.DepthwiseConv2D(3, depth_multiplier=2, activation="relu", name="double")(y)
    y = L.UpSampling2D()(L.AveragePooling2D(4)(L.Dropout(0.5)(y)))
    y = L.Activation("relu6" if relu6 else "relu", name="act")(L.Conv2D(8, 3, name="conv")(y))
    y = L.Flatten()(L.MaxPool2D()(L.ZeroPadding2D(1)(y)))
    y = keras.ops.relu(L.Dense(20, name="flat")(y))
    return nets.shaken(keras.Model(x, L.Dense(3, name="scores")(y)))


PAIRS = {
    ("grouped", "dw"),
    ("dw", "sep/depthwise_kernel"),
    ("sep/depthwise_kernel", "sep/pointwise_kernel"),
    ("sep/pointwise_kernel", "up"),
    ("up", "double"),
    ("double", "conv"),
    ("conv", "flat"),
    ("flat", "scores"),
}


def _pairs(report):
    return {(row.before, row.after) for row in report.equalized}


def _range(model, name, side, channels=None):
    """Ranges of a layer's kernel, read from the new model."""
    layer, _, attribute = name.partition("/")
    kernels = {k.attribute: k for k in kernels_of(model.get_layer(layer))}
    kernel = kernels[attribute or "kernel"]
    weights = np.asarray(getattr(model.get_layer(layer), kernel.attribute).value)
    block = Block.of(kernel.canonical(weights, channels))
    return block.output_ranges() if side == "out" else block.input_ranges()


def _compare(model, new, **options):
    x = nets.batch(model, **options)
    return nets.relative(nets.outputs(model, x), nets.outputs(new, x))


def test_every_pair_is_found_and_equal():
    model = _chain()
    new, report = equalize(model)
    assert _pairs(report) == PAIRS
    for before, after in PAIRS:
        channels = 8 if after == "flat" else None
        a, b = _range(new, before, "out"), _range(new, after, "in", channels)
        assert np.abs(a / b - 1).max() < 1e-6, (before, after)
    assert _compare(model, new) < 1e-5
    assert {row.path for row in report.kept} == {"scores"}


def test_ranges_were_unequal_before_as_the_report_says():
    model = _chain()
    folded, (_, report) = fold_batch_norm(model).model, equalize(model)
    for row in report.equalized:
        channels = 8 if row.after == "flat" else None
        a = _range(folded, row.before, "out")
        b = _range(folded, row.after, "in", channels)
        assert row.balance[0] == pytest.approx(np.exp(np.abs(np.log(a / b)).max()), rel=1e-4)
        assert row.spread[0] == pytest.approx(a.max() / a.min(), rel=1e-4)
        assert row.balance[0] > 1.5
        assert row.balance[1] == pytest.approx(1, abs=1e-6)


def test_powers_of_two_leave_every_bit():
    model = _chain()
    folded, (new, report) = fold_batch_norm(model).model, equalize(model, powers_of_two=True)
    assert _compare(folded, new) == 0
    assert any(row.scales != (1.0, 1.0) for row in report.equalized)
    again = equalize(new, powers_of_two=True).report
    assert all(row.scales == (1.0, 1.0) for row in again.equalized)


def test_a_second_time_is_a_no_op():
    new = equalize(_chain()).model
    again, report = equalize(new)
    for row in report.equalized:
        assert row.scales == pytest.approx((1, 1), abs=1e-5)
    for a, b in zip(new.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-12)


def test_mobilenet_like_chains_run_over_the_depthwise_layers():
    model = nets.shaken(nets.mobilenet_like(L.ReLU))
    new, report = equalize(model)
    blocks = {(f"expand{k}", f"dw{k}") for k in (0, 1)} | {
        (f"dw{k}", f"project{k}") for k in (0, 1)
    }
    assert _pairs(report) == blocks | {("head", "scores")}
    c = [
        _range(new, n, side) for n, side in (("expand0", "out"), ("dw0", "out"), ("project0", "in"))
    ]
    np.testing.assert_allclose(c[0], c[1], rtol=1e-6)
    np.testing.assert_allclose(c[1], c[2], rtol=1e-6)
    assert _compare(model, new) < 1e-5
    reasons = {row.path: row.reason for row in report.kept}
    assert reasons["stem"] == "its result is read 2 times"
    assert "minds a factor" in reasons["project0"]  # the residual add


def test_nested_models_are_equalized_inside():
    model = nets.shaken(nets.nested())
    new, report = equalize(model, relu6="replace")
    assert len(report.equalized) == 1
    assert report.equalized[0].before.startswith("outer/middle/conv2d")
    assert new.get_layer("outer").get_layer("middle")


@pytest.mark.parametrize("relu6", ["skip", "replace", "keep"])
def test_what_happens_at_a_relu6(relu6):
    """On inputs so large that some channels exceed 6."""
    model = _chain(relu6=True)
    data = nets.batch(model, 16, scale=6000.0)
    new, report = equalize(model, data, relu6=relu6)
    assert (("conv", "flat") in _pairs(report)) == (relu6 != "skip")
    reasons = {row.path: row.reason for row in report.kept}
    assert ("act is a ReLU6" in reasons.get("conv", "")) == (relu6 == "skip")
    loss = nets.relative(nets.outputs(model, data), nets.outputs(new, data))
    assert (loss < 1e-5) == (relu6 != "replace")
    assert ("ReLU6 -> ReLU" in str(report)) == (relu6 == "replace")


def test_keep_uses_what_the_caps_allow_and_no_more():
    """conv -> ReLU6 -> dense with known maxima: s >= largest / 6, and 1 where a cap acted."""
    x = keras.Input((3,))
    y = L.ReLU(6.0, name="cap")(L.Dense(3, use_bias=False, name="a")(x))
    model = keras.Model(x, L.Dense(1, use_bias=False, name="b")(y))
    model.get_layer("a").set_weights([np.eye(3, dtype=np.float32)])
    model.get_layer("b").set_weights([np.float32([[100], [100], [4]])])
    data = np.float32([[3, 7, 5], [1, 2, 5]])  # free: s = 0.1, 0.1, 0.5
    new, report = equalize(model, data, relu6="keep")
    np.testing.assert_allclose(
        np.asarray(new.get_layer("b").kernel.value)[:, 0], [100 * 3 / 6, 100, 4 * 5 / 6], rtol=1e-6
    )
    np.testing.assert_allclose(nets.outputs(new, data)[0], nets.outputs(model, data)[0], rtol=1e-6)
    assert report.equalized[0].scales == pytest.approx((0.5, 1.0))


def test_limit():
    report = equalize(_chain(), limit=2.0).report
    scales = [row.scales for row in report.equalized]
    assert min(low for low, _ in scales) == pytest.approx(0.5)
    assert max(high for _, high in scales) <= 2 + 1e-9


def test_biases_are_divided_and_dead_channels_left():
    x = keras.Input((4,))
    y = L.Dense(3, activation="relu", name="a")(x)
    model = nets.shaken(keras.Model(x, L.Dense(2, name="b")(y)))
    kernel, bias = model.get_layer("a").get_weights()
    kernel[:, 1] = 0
    model.get_layer("a").set_weights([kernel, bias])
    new = equalize(model).model
    found, moved = new.get_layer("a").get_weights()
    r1, r2 = np.abs(kernel).max(axis=0), np.abs(model.get_layer("b").get_weights()[0]).max(axis=1)
    s = np.where(r1 > 0, np.sqrt(r1 / r2), 1.0)
    np.testing.assert_allclose(moved, bias / s, rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], 0)
    assert moved[1] == bias[1]
    assert _compare(model, new) < 1e-6


def _between(build):
    x = keras.Input((8, 8, 4))
    y = build(L.Conv2D(6, 3, name="a")(x))
    return nets.shaken(keras.Model(x, L.Conv2D(3, 1, name="b")(y)))


def _shared(x):
    conv = L.Conv2D(6, 1, name="s")
    return conv(conv(x))


ALONE = {
    "sigmoid": (lambda y: L.Activation("sigmoid")(y), "minds a factor"),
    "tanh op": (lambda y: keras.ops.tanh(y), "minds a factor"),
    "elu": (lambda y: L.ELU()(y), "minds a factor"),
    "threshold": (lambda y: L.ReLU(threshold=1.0)(y), "minds a factor"),
    "softmax": (lambda y: L.Softmax()(y), "minds a factor"),
    "mean of channels": (
        lambda y: L.Activation(lambda t: t - keras.ops.mean(t, -1, keepdims=True))(y),
        "minds a factor",
    ),
    "layer norm": (lambda y: L.LayerNormalization()(y), "minds a factor"),
    "residual": (lambda y: y + L.ReLU()(y), "read 2 times"),
    "shuffled": (lambda y: L.Permute((1, 3, 2))(L.Permute((1, 3, 2))(y)), "minds a factor"),
    "shared": (_shared, "s is shared"),
    "nested": (
        lambda y: keras.Sequential([keras.Input(y.shape[1:]), L.ReLU()], name="in")(y),
        "nested model",
    ),
    "einsum": (lambda y: L.EinsumDense("abcd,de->abce", (6, 6, 6))(y), "minds a factor"),
}


@pytest.mark.parametrize("case", ALONE)
def test_what_minds_a_factor_keeps_layers_apart(case):
    build, reason = ALONE[case]
    model = _between(build)
    new, report = equalize(model)
    assert not [row for row in report.equalized if row.before == "a"]
    assert reason in {row.path: row.reason for row in report.kept}["a"]
    assert _compare(model, new) < 1e-5


def test_an_output_in_the_middle_keeps_its_values():
    x = keras.Input((4,))
    y = L.Dense(3, activation="relu", name="a")(x)
    model = nets.shaken(keras.Model(x, [y, L.Dense(2, name="b")(y)]))
    new, report = equalize(model)
    assert not report.equalized
    assert _compare(model, new) == 0


def test_reading_flattened_channels_first_is_not_mistaken():
    x = keras.Input((4, 8, 8))
    y = L.Conv2D(3, 3, data_format="channels_first", name="a")(x)
    y = L.Flatten(data_format="channels_first")(y)
    report = equalize(nets.shaken(keras.Model(x, L.Dense(2)(y)))).report
    assert not report.equalized
    assert "channels first" in {row.path: row.reason for row in report.kept}["a"]


def test_errors():
    model = _chain(relu6=True)
    with pytest.raises(UnknownName, match="skip, replace, keep"):
        equalize(model, relu6="kep")
    with pytest.raises(DataError, match="keep"):
        equalize(model, relu6="keep")
    with pytest.raises(SpecError, match="limit"):
        equalize(model, limit=0.5)
