"""Equalization of networks that TensorFlow converted: inverted residuals, the demo network."""

from __future__ import annotations

import numpy as np
import pytest
from equalize_nets import feed, relative

pytest.importorskip("tensorflow")
import keras
import rewrite_nets as nets
from keras import layers as L

from tfq_ext import demo
from tfq_ext.emit.to_float import to_float
from tfq_ext.numerics.factors import BALANCES
from tfq_ext.repair.equalize import channel_maxima, equalize
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.passes import relu6_to_relu

pytestmark = [pytest.mark.tf, pytest.mark.slow]


def _block(x, name, expand, out, *, squeeze=False):
    y = L.Conv2D(expand, 1, use_bias=False, name=f"{name}e")(x)
    y = L.ReLU(6.0)(L.BatchNormalization()(y))
    y = L.DepthwiseConv2D(3, padding="same", use_bias=False, name=f"{name}d")(y)
    y = L.ReLU(6.0)(L.BatchNormalization()(y))
    if squeeze:
        gate = L.Dense(4, activation="relu")(L.GlobalAveragePooling2D(keepdims=True)(y))
        y = L.Multiply()([y, L.Dense(expand, activation="sigmoid")(gate)])
    y = L.BatchNormalization()(L.Conv2D(out, 1, use_bias=False, name=f"{name}p")(y))
    return L.Add()([x, y]) if x.shape[-1] == out else y


@pytest.fixture(scope="module")
def network():
    """Three inverted residuals, one with squeeze and excite, made by Keras and TensorFlow."""
    x = keras.Input((16, 16, 3), batch_size=1)
    y = L.ReLU(6.0)(L.BatchNormalization()(L.Conv2D(8, 3, strides=2, padding="same")(x)))
    y = _block(y, "one", 24, 12)
    y = _block(y, "two", 36, 12)
    y = _block(y, "three", 36, 12, squeeze=True)
    y = L.Conv2D(32, 1, activation="relu6")(L.ZeroPadding2D(1)(y))
    y = L.Dense(10)(L.Dropout(0.2)(L.GlobalAveragePooling2D()(y)))
    return to_float(nets.shaken(keras.Model(x, y))).model


def _samples(model, count=3):
    key = model.primary
    (entry,) = model.signatures[key].inputs
    values = [next(iter(feed(model, seed=k).values())) for k in range(count)]
    return [Sample(k, {entry.name.decode(): v}, key) for k, v in enumerate(values)]


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("power_of_two", [False, True])
def test_uncapped_inverted_residuals_stay(network, balance, power_of_two):
    model = network.copy()
    relu6_to_relu(model)
    maxima = channel_maxima(model, _samples(model))
    done = equalize(model, balance=balance, maxima=maxima, power_of_two=power_of_two)
    assert len(done.links) == 10  # stem, 3 x (expand, depthwise, project or trunk), gate, head
    trunk = next(link for link in done.links if len(link.writers) == 3)
    assert len(trunk.readers) == 3
    difference = relative(model, done.model, feed(model, seed=9))
    assert difference == 0 if power_of_two else difference < 1e-5


@pytest.mark.parametrize("relu6", ["skip", "bound", "up"])
def test_capped_inverted_residuals_stay_on_the_data(network, relu6):
    samples = _samples(network)
    done = equalize(network, relu6=relu6, maxima=channel_maxima(network, samples))
    assert done.factors
    for k in range(len(samples)):
        assert relative(network, done.model, feed(network, seed=k)) < 1e-5


def test_the_demo_network_stays():
    model = to_float(str(demo.model_path()), batch=1).model
    relu6_to_relu(model)
    done = equalize(model)
    assert len(done.links) == 21
    assert done.sweeps < 20  # sweeps alone need more than 500
    assert relative(model, done.model, feed(model)) < 1e-5
    again = equalize(done.model)
    for f in again.factors.values():
        np.testing.assert_allclose(f, 1, rtol=1e-6)
