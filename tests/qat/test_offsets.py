"""Biases in whole units of the accumulator: Keras then says what the file says."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds_zoo import mobile, samples
from lite import output_step, predicted, run

from tfq_ext import qat
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.layers import Quantized
from tfq_ext.qat.offsets import input_grid, whole_offset
from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS, WEIGHT_QUANTIZERS, Quantizer

L = keras.layers


def aware(model, **settings):
    x = samples(model, 16)
    return qat.quantize_aware(model, x[0], **settings), x


def weighted(model):
    return [layer for layer in model.layers if isinstance(layer, (FoldedBatchNorm, Quantized))]


def test_a_network_computes_the_integers_of_its_file():
    """Rounding the biases takes most differing codes away; residual sums leave some."""
    keras.utils.set_random_seed(0)
    whole = mobile()
    model, _ = aware(keras.Model(whole.input, whole.get_layer("pool").input))
    x = samples(model, 60, seed=5)
    (file,) = run(qat.export(model).content, model, x)

    def apart():
        return np.mean(np.abs(predicted(model, x)[0] - file) > output_step(model) / 2)

    rounded = apart()
    for layer in weighted(model):
        layer._inbound_nodes = []  # no grid is known: a float bias
    assert apart() > 3e-4
    assert rounded <= 0.25 * apart()


def test_copies_and_loaded_models_have_their_own_links(tmp_path):
    model, x = aware(mobile())
    model.save(tmp_path / "qat.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (clone, qat.load_model(tmp_path / "qat.keras")):
        mine = {layer.name: layer for layer in other.layers}
        for layer in weighted(other):
            assert input_grid(layer) is mine[input_grid(layer).name]
            assert not any(w is v for w in layer.weights for v in input_grid(layer).weights)
        np.testing.assert_array_equal(predicted(other, x)[0], predicted(model, x)[0])


def test_a_layer_that_reads_two_grids_keeps_its_bias():
    shared = L.Dense(4, bias_initializer="normal", name="shared")
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    plain = keras.Model([a, b], L.Add()([shared(a), shared(b)]))
    model = qat.quantize_aware(plain, samples(plain, 8))
    (layer,) = weighted(model)
    assert input_grid(layer) is None
    bias = tf.constant(layer.weight("bias"))
    kernel = tf.constant(layer.weight("kernel"))
    found = whole_offset(bias, layer, layer.quantizers["kernel"], kernel, False)
    np.testing.assert_array_equal(found, bias)


def one_dense(axes=(1,)):
    q = ACTIVATION_QUANTIZERS["ema"](decay=1.0, name="in")
    q.start(0.0, 2.55)
    kernel = WEIGHT_QUANTIZERS["max"](axes=axes, name="q")
    x = keras.Input((1,))
    layer = Quantized(L.Dense(2, name="dense"), {"kernel": kernel})
    model = keras.Model(x, layer(q(x)))
    layer.layer.set_weights([np.array([[1.27, -0.127]], "f"), np.array([0.00014, 0.00014], "f")])
    return model, layer, q


def test_the_unit_by_hand_and_its_gradient():
    """Steps 0.01 times 0.01 and 0.001: 0.00014 is 1.4 units, so 1; and 14 units."""
    model, layer, q = one_dense()
    zero = np.zeros((1, 1), np.float32)
    np.testing.assert_allclose(model(zero), [[0.0001, 0.00014]], rtol=1e-5)
    np.testing.assert_allclose(model(zero, training=True), [[0.00014, 0.00014]], rtol=1e-5)
    q.frozen = True
    with tf.GradientTape() as tape:
        y = model(zero, training=True)
    np.testing.assert_allclose(y, [[0.0001, 0.00014]], rtol=1e-5)
    np.testing.assert_array_equal(tape.gradient(y, layer.layer.bias.value), [1.0, 1.0])


def test_one_scale_for_all_channels():
    model, _, _ = one_dense(axes=None)
    np.testing.assert_allclose(model(np.zeros((1, 1), "f")), [[0.0001, 0.0001]], rtol=1e-5)


@pytest.mark.parametrize("off", ["activations", "weights"])
def test_without_both_grids_the_bias_is_float(off):
    model, layer, q = one_dense()
    (q if off == "activations" else layer.quantizers["kernel"]).enabled = False
    np.testing.assert_allclose(model(np.zeros((1, 1), "f")), [[0.00014, 0.00014]], rtol=1e-5)


def test_a_dead_channel_keeps_its_bias():
    """Its weight's scale is next to nothing, and int32 would not hold the count."""
    model, layer, _ = one_dense()
    layer.layer.set_weights([np.zeros((1, 2), "f"), np.array([5.0, -3.0], "f")])
    np.testing.assert_array_equal(model(np.ones((1, 1), "f")), [[5.0, -3.0]])


def test_every_layer_of_a_network_with_reshapes_finds_its_grid():
    x = y = keras.Input((8, 8, 3))
    y = L.Conv2D(4, 3, activation="relu", name="conv")(L.ZeroPadding2D(1)(y))
    y = L.Dense(4, name="dense")(L.Flatten()(L.MaxPooling2D(2)(y)))
    model, _ = aware(keras.Model(x, y))
    found = {layer.name: input_grid(layer) for layer in weighted(model)}
    assert all(isinstance(q, Quantizer) for q in found.values())
    assert found["dense"].name.startswith("conv")
