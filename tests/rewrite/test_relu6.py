"""ReLU6 to ReLU: every form is found, hard-swish is not, and the numbers are right."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
import tensorflow as tf
from keras import layers as L

from tfq_ext.errors import ModelError
from tfq_ext.rewrite import relu6_to_relu

pytestmark = pytest.mark.tf

X = np.float32([[-20, -6, -0.5, 0, 0.5, 5.99, 6, 6.01, 20]])
RELU = np.maximum(X, 0)


def _attribute(activation):
    return lambda x: L.Dense(
        9, activation=activation, use_bias=False, kernel_initializer="identity"
    )(x)


def _wrapped(activation):
    dense = L.Dense(9, activation=activation, use_bias=False, kernel_initializer="identity")
    return lambda x: L.Flatten()(L.TimeDistributed(dense)(L.Reshape((1, 9))(x)))


ops = keras.ops
FORMS = {
    "ReLU(6)": lambda x: L.ReLU(6)(x),
    "ReLU(max_value=6.)": lambda x: L.ReLU(max_value=6.0)(x),
    "Activation": lambda x: L.Activation("relu6")(x),
    "Activation of keras' function": lambda x: L.Activation(keras.activations.relu6)(x),
    "activation=name": _attribute("relu6"),
    "activation=keras.activations": _attribute(keras.activations.relu6),
    "activation=keras.ops": _attribute(keras.ops.relu6),
    "activation=tf.nn": _attribute(tf.nn.relu6),
    "activation=partial": _attribute(partial(keras.activations.relu, max_value=6.0)),
    "activation=lambda": _attribute(lambda x: tf.nn.relu6(x)),
    "activation=layer": _attribute(L.ReLU(6.0)),
    "in a wrapper": _wrapped("relu6"),
    "ops.relu6": lambda x: ops.relu6(x),
    "activations.relu6": lambda x: keras.activations.relu6(x),
    "ops.clip": lambda x: ops.clip(x, 0, 6),
    "ops.clip by name": lambda x: ops.clip(x, x_min=0.0, x_max=6.0),
    "minimum(relu)": lambda x: ops.minimum(ops.relu(x), 6),
    "minimum(6, relu)": lambda x: ops.minimum(6.0, L.ReLU()(x)),
    "minimum(maximum)": lambda x: ops.minimum(ops.maximum(x, 0), 6.0),
    "maximum(minimum)": lambda x: ops.maximum(ops.minimum(x, 6.0), 0.0),
    "minimum of a layer with relu": lambda x: ops.minimum(_attribute("relu")(x), 6.0),
    "Lambda(tf.nn.relu6)": lambda x: L.Lambda(tf.nn.relu6)(x),
    "Lambda(lambda)": lambda x: L.Lambda(lambda t: tf.nn.relu6(t), output_shape=(9,))(x),
    "Lambda(tf.clip_by_value)": lambda x: L.Lambda(lambda t: tf.clip_by_value(t, 0.0, 6.0))(x),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_found(form):
    x = keras.Input((9,), name="x")
    model = keras.Model(x, FORMS[form](x))
    np.testing.assert_array_equal(nets.outputs(model, X)[0], np.clip(X, 0, 6))
    new, report = relu6_to_relu(model, X)
    np.testing.assert_array_equal(nets.outputs(new, X)[0], RELU)
    np.testing.assert_array_equal(nets.outputs(model, X)[0], np.clip(X, 0, 6))
    (row,) = report.released
    assert row.share_above == pytest.approx(2 / 9) or form == "in a wrapper"
    assert row.largest in (20.0, None)
    assert not report.kept


OTHERS = {
    "other cap": lambda x: L.ReLU(5.0)(x),
    "slope": lambda x: L.ReLU(6.0, negative_slope=0.1)(x),
    "threshold": lambda x: L.ReLU(6.0, threshold=1.0)(x),
    "clip from -6": lambda x: ops.clip(x, -6, 6),
    "clip to 1": lambda x: ops.clip(x, 0, 1),
    "minimum alone": lambda x: ops.minimum(x, 6),
    "minimum of two": lambda x: ops.minimum(ops.relu(x), x * 6),
    "hard sigmoid": lambda x: L.Activation("hard_sigmoid")(x),
    "hard swish": lambda x: L.Activation("hard_swish")(x),
}


@pytest.mark.parametrize("form", OTHERS)
def test_what_is_no_relu6_stays(form):
    x = keras.Input((9,), name="x")
    model = keras.Model(x, OTHERS[form](x))
    new, report = relu6_to_relu(model)
    np.testing.assert_array_equal(nets.outputs(new, X)[0], nets.outputs(model, X)[0])
    assert not report.released


def test_hard_swish_and_hard_sigmoid_stay():
    model = nets.hard()
    _, report = relu6_to_relu(model)
    assert {row.path for row in report.released} == {"plain", "added", "last"}
    assert len(report.kept) == 6
    assert all("hard-sigmoid or hard-swish" in row.reason for row in report.kept)
    assert {"mobilenet_v3", "rescaled", "sixth"} <= {row.path for row in report.kept}


@pytest.mark.parametrize("written", ["relu6(x + 3) * x / 6", "x * (relu6(x + 3) / 6)", "sigmoid"])
@pytest.mark.parametrize("inside", [False, True])
def test_outputs_with_hard_swish_do_not_change(written, inside):
    """On values far over 6, where a lost cap would show; also within a user's own layer."""

    def function(x):
        gate = ops.relu6(x + 3.0)
        return {"r": gate * x / 6.0, "x": x * (gate / 6.0), "s": gate / 6.0}[written[0]]

    class HardSwish(L.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.relu6 = L.ReLU(6.0)

        def call(self, x):
            gate = self.relu6(x + 3.0)
            return {"r": gate * x / 6.0, "x": x * (gate / 6.0), "s": gate / 6.0}[written[0]]

    x = keras.Input((9,), name="x")
    model = keras.Model(x, HardSwish(name="own")(x) if inside else function(x))
    new, report = relu6_to_relu(model)
    np.testing.assert_array_equal(nets.outputs(new, X)[0], nets.outputs(model, X)[0])
    assert not report.released
    assert len(report.kept) == 1


def test_mobilenet_v3_of_keras_keeps_its_hard_sigmoids():
    model = keras.applications.MobileNetV3Small(
        (32, 32, 3), weights=None, alpha=0.35, minimalistic=False, classes=3
    )
    _, report = relu6_to_relu(model)
    assert not report.released
    assert len(report.kept) == 9  # one in each squeeze-and-excite block


def test_shared_and_nested_models_stay_so():
    model = nets.shaken(nets.shared())
    new, report = relu6_to_relu(model)
    assert [layer.name for layer in new.layers] == [layer.name for layer in model.layers]
    assert len(report.released) == 1
    assert sum(isinstance(layer, L.ReLU) for layer in new.layers) == 1
    nested, report = relu6_to_relu(nets.nested())
    assert {row.path for row in report.released} == {
        f"outer/middle/{name}" for name in ("conv2d", "deep/re_lu")
    } or len(report.released) == 2
    outer = nested.get_layer("outer")
    assert [n.operation.name for n in outer.get_layer("middle")._inbound_nodes].count("middle") == 2
    assert outer.get_layer("middle").get_layer("deep")


def test_weights_and_names_are_the_originals():
    model = nets.shaken(nets.mobilenet_like())
    new, report = relu6_to_relu(model)
    assert len(report.released) == 6
    assert [layer.name for layer in new.layers] == [layer.name for layer in model.layers]
    for old in model.layers:
        for a, b in zip(old.get_weights(), new.get_layer(old.name).get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_users_own_layers_are_opened_and_named():
    model = nets.shaken(nets.in_a_layer())
    new, report = relu6_to_relu(model)
    act, operation = (row.path for row in report.released)
    assert act == "block/act"
    assert operation.startswith("block/relu6")  # Keras numbers the names of operations
    x = nets.batch(model, scale=20.0)
    block = new.get_layer("block")
    assert {"conv", "norm", "act", "last"} <= {layer.name for layer in block.layers}
    # witness: the same weights in a block written without caps
    y = block.get_layer("norm")(block.get_layer("conv")(x))
    expected = keras.ops.relu(block.get_layer("last")(keras.ops.relu(y)) * 2.0)
    np.testing.assert_allclose(
        nets.outputs(new, x)[0],
        np.reshape(keras.ops.convert_to_numpy(expected), (6, -1)),
        rtol=1e-5,
    )


def test_a_call_that_cannot_be_traced_is_a_row():
    class Closed(L.Layer):
        def call(self, x):
            return tf.nn.relu6(x)

    x = keras.Input((9,))
    model = keras.Model(x, Closed(name="closed")(x))
    new, report = relu6_to_relu(model)
    (row,) = report.kept
    assert row.path == "closed"
    assert "keras.ops" in row.reason
    np.testing.assert_array_equal(nets.outputs(new, X)[0], nets.outputs(model, X)[0])


def test_a_lambda_that_computes_more_is_a_row():
    x = keras.Input((9,))
    model = keras.Model(x, L.Lambda(lambda t: tf.nn.relu6(t) + 1.0, name="more")(x))
    _, report = relu6_to_relu(model)
    assert [(row.path, "Lambda" in row.reason) for row in report.kept] == [("more", True)]


def test_an_lstm_with_relu6():
    x = keras.Input((5, 3))
    model = nets.shaken(keras.Model(x, L.LSTM(4, activation="relu6", name="lstm")(x)))
    new, report = relu6_to_relu(model)
    assert new.get_layer("lstm").activation is keras.activations.relu
    assert model.get_layer("lstm").activation is keras.activations.relu6
    assert [row.form for row in report.released] == ["activation=relu6"]


def test_the_report_has_the_numbers_of_a_hand_count():
    x = keras.Input((4,), name="x")
    y = L.ReLU(6.0, name="first")(x)
    model = keras.Model(x, L.ReLU(6.0, name="second")(y * 3.0), name="m")
    data = np.float32([[1, 3, 7, -1], [8, 0, 2, 2], [1, 1, 1, 12]])
    _, report = relu6_to_relu(model, data, batch=2)
    first, second = report.released
    assert (first.share_above, first.largest) == (3 / 12, 12.0)
    capped = np.clip(data, 0, 6) * 3  # what the second one sees in the original
    assert (second.share_above, second.largest) == ((capped > 6).mean(), 18.0)
    r, c = np.clip(capped, 0, 6), np.maximum(data * 3, 0)
    (loss,) = report.outputs
    assert loss.max_abs == 30.0
    assert loss.sqnr_db == pytest.approx(10 * np.log10((r**2).sum() / ((r - c) ** 2).sum()))
    assert loss.agreement == (r.argmax(-1) == c.argmax(-1)).mean()
    text = str(report)
    assert "measured on 3 samples" in text
    assert "25.000%" in text
    assert " dB" in text


def test_several_inputs_and_named_outputs():
    a, b = keras.Input((3,), name="left"), keras.Input((3,), name="right")
    model = keras.Model(
        {"left": a, "right": b}, {"sum": L.ReLU(6.0)(a + b), "raw": L.Identity(name="raw")(a)}
    )
    left = np.random.default_rng(0).uniform(3.5, 9, (5, 3)).astype(np.float32)
    data = {"left": left, "right": left + 1}
    new, report = relu6_to_relu(model, data)
    assert new(data)["sum"].shape == (5, 3)
    np.testing.assert_array_equal(np.asarray(new(data)["sum"]), left + (left + 1))
    assert {row.name for row in report.outputs} == set(model.output_names)
    assert report.released[0].share_above == 1.0


def test_a_tf_keras_model_is_refused_by_name():
    tf_keras = pytest.importorskip("tf_keras")
    with pytest.raises(ModelError, match="tf_keras"):
        relu6_to_relu(tf_keras.Sequential([tf_keras.layers.ReLU(6.0)]))
