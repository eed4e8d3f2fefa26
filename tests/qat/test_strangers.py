"""What people bring: each of these was silently wrong or crashed once."""

import keras
import numpy as np
import pytest
from kinds_zoo import randomised, samples, trained_norms
from lite import output_step, predicted, run

from tfq_ext import qat
from tfq_ext.errors import TfqWarning
from tfq_ext.qat.layers import quantizers_of
from tfq_ext.qat.start import unquantized

L = keras.layers


def judged(model, x, epochs=1):
    """Quantize, train a little, export; how far LiteRT is from Keras, in steps of the output."""
    wanted = predicted(model, x)
    aware = qat.quantize_aware(model, x[0] if len(x) == 1 else x)
    with unquantized(aware):
        for a, b in zip(predicted(aware, x), wanted, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5 * max(1.0, np.abs(b).max()))
    aware.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
    aware.fit(x[0] if len(x) == 1 else x, np.zeros_like(wanted[0]), epochs=epochs, verbose=0)
    result = qat.export(aware)
    (found,), (after,) = run(result.content, aware, x), predicted(aware, x)
    return result, np.abs(found - after) / output_step(aware)


def test_an_adapted_normalization_keeps_what_it_learned():
    x = np.random.default_rng(0).normal(5.0, 3.0, (24, 8, 8, 3)).astype(np.float32)
    norm = L.Normalization()
    norm.adapt(x)
    inputs = keras.Input((8, 8, 3))
    result, steps = judged(keras.Model(inputs, L.Conv2D(4, 3)(norm(inputs))), [x])
    assert not result.account.float_ops
    assert steps.max() <= 1.01


def test_token_ids_are_no_values_even_as_floats():
    ids = keras.Input((6,))  # float32, Keras' default
    y = L.GlobalAveragePooling1D()(L.Embedding(1000, 4)(L.Reshape((3, 2))(ids)[:, :, 0]))
    model = keras.Model(ids, L.Dense(3)(y))
    x = np.random.default_rng(0).integers(0, 1000, (16, 6)).astype(np.float32)
    aware = qat.quantize_aware(model, x)
    assert next(n for n, _ in quantizers_of(aware)).startswith("embedding")
    (wanted,), (found,) = predicted(model, [x]), predicted(aware, [x])
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


def test_augmentation_is_no_op_of_the_integer_graph():
    x = keras.Input((8, 8, 3))
    y = L.RandomRotation(0.1)(L.RandomFlip()(x))
    model = keras.Model(x, L.Conv2D(3, 3, name="conv")(y))
    aware = qat.quantize_aware(model, samples(model)[0])
    assert len([n for n, _ in quantizers_of(aware) if "/" not in n]) == 2
    result, steps = judged(model, samples(model), epochs=2)
    assert not result.account.float_ops
    assert steps.max() <= 1.01


@pytest.mark.parametrize("steps", [(5,), (3, 4)])
def test_dense_on_sequences_is_integer_with_its_bias(steps):
    x = keras.Input((*steps, 6))
    model = keras.Model(x, L.Dense(4, bias_initializer="random_normal", activation="relu")(x))
    result, off = judged(model, samples(model))
    assert not result.account.float_ops
    assert off.max() <= 1.01


def test_average_pooling_rounds_as_litert_does():
    """One value in four of a 2x2 mean is a tie; they used to go all the other way."""
    x = keras.Input((8, 8, 3))
    model = keras.Model(x, L.AveragePooling2D(2)(L.ReLU()(L.Conv2D(4, 1)(x))))
    _, off = judged(model, samples(model, 32))
    assert off.max() <= 1.01
    assert np.mean(off > 0.5) < 0.005


def test_regularizers_and_frozen_layers_stay():
    x = keras.Input((8, 8, 3))
    y = L.SeparableConv2D(
        4, 3, depthwise_regularizer="l2", pointwise_regularizer="l2", bias_regularizer="l2"
    )(x)
    y = L.Conv2D(4, 1, activation="silu", activity_regularizer="l2")(y)
    y = L.Conv2D(2, 1, activity_regularizer="l1")(y)
    y = L.LayerNormalization(trainable=False)(y)
    model = keras.Model(x, y)
    aware = qat.quantize_aware(model)
    data = samples(model)[0]
    model(data)
    with unquantized(aware):
        aware(data)
        assert float(sum(aware.losses)) == pytest.approx(float(sum(model.losses)), rel=1e-4)
    assert len(aware.losses) == len(model.losses) == 5
    assert len(aware.trainable_weights) == len(model.trainable_weights)


def test_a_penalty_that_folding_hides_is_told():
    x = keras.Input((6, 6, 2))
    y = L.Conv2D(3, 3, activity_regularizer="l2", name="conv")(x)
    with pytest.warns(TfqWarning, match="activity_regularizer of 'conv' is left out"):
        qat.quantize_aware(keras.Model(x, L.BatchNormalization()(y)))


def test_a_dict_of_inputs_and_one_quantizer():
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model({"left": a, "right": b}, L.Dense(2)(L.Concatenate()([a, b])))
    x = {"left": np.ones((4, 4), np.float32), "right": np.zeros((4, 4), np.float32)}
    assert len(qat.export(qat.quantize_aware(model, x)).content) > 1000
    only = keras.Input((4, 4, 2))
    pooled = keras.Model(only, L.MaxPooling2D()(only))
    assert len(list(quantizers_of(qat.quantize_aware(pooled, samples(pooled)[0])))) == 1


def test_a_stream_of_one_batch_is_read_once():
    model = trained_norms(keras.Sequential([keras.Input((4,)), L.Dense(2, name="dense")]))
    x = samples(model)[0]
    aware = qat.quantize_aware(model, iter([x]))
    assert np.ptp(aware.get_layer("dense_range").range()) > 0


def test_a_frozen_norm_stays_frozen():
    x = keras.Input((6, 6, 2))
    norm = L.BatchNormalization(trainable=False)
    model = keras.Model(x, norm(L.Conv2D(3, 3, use_bias=False, name="conv")(x)))
    randomised(norm)
    aware = qat.quantize_aware(model, samples(model)[0])
    before = aware.get_layer("conv").norm.get_weights()
    aware(samples(model)[0], training=True)
    for a, b in zip(before, aware.get_layer("conv").norm.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
