"""Folding BatchNormalization: exact where it may be done, and a reason where it may not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
from keras import layers as L

from tfq_ext.rewrite import fold_batch_norm

pytestmark = pytest.mark.tf

IMAGE, LINE, CUBE, ROW = (8, 8, 4), (9, 4), (5, 5, 5, 2), (6,)
LAYERS = {
    "Conv1D": (LINE, lambda b: L.Conv1D(6, 3, use_bias=b, dilation_rate=2)),
    "Conv1D causal": (LINE, lambda b: L.Conv1D(6, 3, use_bias=b, padding="causal")),
    "Conv2D": (IMAGE, lambda b: L.Conv2D(6, 3, use_bias=b, padding="same", strides=2)),
    "Conv2D groups": (IMAGE, lambda b: L.Conv2D(6, 3, use_bias=b, groups=2)),
    "Conv3D": (CUBE, lambda b: L.Conv3D(3, 2, use_bias=b)),
    "DepthwiseConv1D": (LINE, lambda b: L.DepthwiseConv1D(3, use_bias=b, depth_multiplier=3)),
    "DepthwiseConv2D": (IMAGE, lambda b: L.DepthwiseConv2D(3, use_bias=b)),
    "DepthwiseConv2D x2": (IMAGE, lambda b: L.DepthwiseConv2D(3, use_bias=b, depth_multiplier=2)),
    "SeparableConv1D": (LINE, lambda b: L.SeparableConv1D(6, 3, use_bias=b, depth_multiplier=2)),
    "SeparableConv2D": (IMAGE, lambda b: L.SeparableConv2D(6, 3, use_bias=b)),
    "Conv1DTranspose": (LINE, lambda b: L.Conv1DTranspose(6, 3, use_bias=b, strides=2)),
    "Conv2DTranspose": (IMAGE, lambda b: L.Conv2DTranspose(6, 3, use_bias=b, padding="same")),
    "Conv3DTranspose": (CUBE, lambda b: L.Conv3DTranspose(3, 2, use_bias=b)),
    "Dense": (ROW, lambda b: L.Dense(5, use_bias=b)),
    "Dense on images": (IMAGE, lambda b: L.Dense(5, use_bias=b)),
    "EinsumDense": (
        LINE,
        lambda b: L.EinsumDense("abc,cd->abd", (9, 5), bias_axes="d" if b else None),
    ),
    "EinsumDense any rank": (
        LINE,
        lambda b: L.EinsumDense("...x,xy->...y", (5,), bias_axes="y" if b else None),
    ),
}
NORMS = {
    "plain": {},
    "epsilon": {"epsilon": 0.1},
    "no gamma": {"scale": False},
    "no beta": {"center": False},
    "neither": {"scale": False, "center": False, "epsilon": 1e-5},
}


def _pair(layer, shape, **norm):
    x = keras.Input(shape)
    return nets.shaken(keras.Model(x, L.BatchNormalization(name="norm", **norm)(layer(x))))


def _same(model, *, folded):
    """Folds, compares, and returns the report."""
    new, report = fold_batch_norm(model)
    x = nets.batch(model)
    assert nets.relative(nets.outputs(model, x), nets.outputs(new, x)) < 1e-5
    assert len(report.folded) == folded
    norms = [x for x in new._flatten_layers() if isinstance(x, L.BatchNormalization)]
    assert len(norms) == len({row.path.split("/")[-1] for row in report.kept})
    return report


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_takes_one_in(name, bias):
    shape, make = LAYERS[name]
    model = _pair(make(bias), shape)
    assert (np.asarray(model.get_layer("norm").gamma) < 0).any()  # both signs are tried
    _same(model, folded=1)


@pytest.mark.parametrize("options", NORMS)
@pytest.mark.parametrize("name", ["Conv2D", "DepthwiseConv2D x2", "Dense"])
def test_every_option_of_the_norm(name, options):
    shape, make = LAYERS[name]
    _same(_pair(make(False), shape, **NORMS[options]), folded=1)


def test_the_layers_own_epsilon_counts():
    models = [_pair(L.Dense(5, name="dense"), ROW, epsilon=e) for e in (1e-3, 1e-1)]
    a, b = (fold_batch_norm(m).model.get_layer("dense").get_weights()[0] for m in models)
    assert np.abs(a - b).max() > 1e-3


def test_the_whole_zoo_of_layers_in_one_model():
    _same(nets.shaken(nets.every_linear()), folded=12)


def test_a_layer_gets_a_bias_and_keeps_its_name_and_settings():
    regular = keras.regularizers.L2(1e-3)
    conv = L.Conv2D(6, 3, use_bias=False, name="conv", kernel_regularizer=regular)
    new = fold_batch_norm(_pair(conv, IMAGE)).model
    layer = new.get_layer("conv")
    assert layer.use_bias
    assert layer.kernel_regularizer.l2 == pytest.approx(1e-3)
    assert [x.name for x in new.layers][1:] == ["conv"]


def test_shared_pairs_fold_once():
    report = _same(nets.shaken(nets.shared()), folded=1)
    assert not report.kept


def test_nested_models_fold_inside():
    report = _same(nets.shaken(nets.nested()), folded=2)
    assert all(row.path.startswith("outer/middle/") for row in report.folded)


def test_users_own_layers_fold_inside():
    report = _same(nets.shaken(nets.in_a_layer()), folded=1)
    assert report.folded[0].path == "block/conv"
    assert report.folded[0].what == "norm"


def test_two_blocks_of_a_subclassed_model():
    model = nets.shaken(nets.subclassed())
    new, report = fold_batch_norm(model)
    assert [row.path for row in report.folded] == ["first/conv", "second/conv"]
    x = np.random.default_rng(0).normal(size=(4, 8, 8, 2)).astype(np.float32)
    assert nets.relative(nets.outputs(model, x), nets.outputs(new, x)) < 1e-5


def _kept(build, shape=IMAGE):
    x = keras.Input(shape)
    return nets.shaken(keras.Model(x, build(x)))


def _read_twice(x):
    y = L.Conv2D(4, 3)(x)
    return y + L.BatchNormalization()(y)


def _is_output(x):
    y = L.Conv2D(4, 3)(x)
    return [y, L.BatchNormalization()(y)]


def _norm_shared(x):
    norm = L.BatchNormalization()
    return norm(L.Conv2D(4, 3)(x)) + norm(L.Conv2D(4, 3)(x))


def _conv_shared(x):
    conv = L.Conv2D(4, 3, padding="same")
    return L.BatchNormalization()(conv(x)) + L.ReLU()(conv(x))


def _in_two_models(x):
    conv, norm = L.Conv2D(4, 3, padding="same"), L.BatchNormalization()
    inner = keras.Input(IMAGE)
    return keras.Model(inner, norm(conv(inner)))(norm(conv(x)))


REFUSED = {
    "activation between": (
        lambda x: L.BatchNormalization()(L.Conv2D(4, 3, activation="relu")(x)),
        "own activation",
    ),
    "layer between": (
        lambda x: L.BatchNormalization()(L.ReLU()(L.Conv2D(4, 3)(x))),
        "no layer that can take it in",
    ),
    "alone": (lambda x: L.BatchNormalization()(x), "model's input"),
    "other readers": (_read_twice, "read elsewhere"),
    "an output": (_is_output, "read elsewhere"),
    "norm shared": (_norm_shared, "shared between different layers"),
    "conv shared": (_conv_shared, "shared and also used without it"),
    "in two models": (_in_two_models, "inside another model"),
    "other axis": (
        lambda x: L.BatchNormalization(axis=1)(L.Conv2D(4, 3)(x)),
        "normalizes axis 1",
    ),
    "training": (
        lambda x: L.BatchNormalization()(L.Conv2D(4, 3)(x), training=True),
        "training=True",
    ),
    "in a wrapper": (
        lambda x: L.TimeDistributed(L.BatchNormalization(name="bn"))(L.Conv2D(4, 3)(x)),
        "inside a TimeDistributed",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_folded_stays_with_a_reason(case):
    build, reason = REFUSED[case]
    report = _same(_kept(build), folded=0)
    assert {reason in row.reason for row in report.kept} == {True}
    assert "left alone" in str(report)


def test_a_users_subclass_of_conv_is_not_taken_for_a_conv():
    class Standardized(L.Conv2D):
        def call(self, x):
            return super().call(x) * 2.0

    report = _same(_kept(lambda x: L.BatchNormalization()(Standardized(4, 3)(x))), folded=0)
    assert "Standardized" in report.kept[0].reason


def test_channels_first_fold_on_axis_one():
    conv = L.Conv2D(4, 3, data_format="channels_first", name="conv")
    x = keras.Input((3, 8, 8))
    model = nets.shaken(keras.Model(x, L.BatchNormalization(axis=1)(conv(x))))
    new, report = fold_batch_norm(model)
    assert [row.path for row in report.folded] == ["conv"]
    a = 1 / np.sqrt(np.asarray(model.layers[2].moving_variance) + 1e-3)
    expected = np.asarray(conv.kernel) * a * np.asarray(model.layers[2].gamma)
    np.testing.assert_allclose(new.get_layer("conv").get_weights()[0], expected, rtol=1e-5)


def test_half_precision_policy_stays():
    x = keras.Input(IMAGE)
    conv = L.Conv2D(4, 3, dtype="mixed_float16", name="conv")
    model = keras.Model(x, L.BatchNormalization(dtype="mixed_float16")(conv(x)))
    new = fold_batch_norm(nets.shaken(model)).model
    assert new.get_layer("conv").compute_dtype == "float16"
    data = nets.batch(model)
    assert (
        nets.relative(nets.outputs(model, data), nets.outputs(new, data)) < 5e-3
    )  # half a ulp is 5e-4
