"""Samples on another scale than the training's are noticed by the first layer."""

from dataclasses import replace

import numpy as np
import pytest
from small_nets import images, residual

from tfq_ext.emit.to_float import to_float
from tfq_ext.emit.to_float.norms import Norm, Remembered
from tfq_ext.repair.contradiction import contradiction
from tfq_ext.repair.observe import observe
from tfq_ext.samples import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite.patch import set_range

PIVOT = to_float(residual().to_bytes())


def asked(pivot, scale):
    samples = [Sample(k, {"image": scale * x[None]}) for k, x in enumerate(images(4))]
    return contradiction(pivot, samples, observe(PIVOT.model, samples))


def first_outputs():
    graph = PIVOT.model.graphs[0]
    op = graph.ops[0]
    w, b = (graph.constant(t) for t in op.inputs[1:])
    x = np.pad(images(4), ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))
    return np.einsum("nyxcij,oijc->nyxo", windows, w).reshape(-1, 8) + b


@pytest.fixture
def trained():
    y = first_outputs()
    one, zero = np.ones(8), np.zeros(8)
    norm = Norm("bn", y.mean(0), y.std(0), factor=one, offset=zero, scale=one)
    return replace(PIVOT, remembered=Remembered(first=norm))


def test_the_training_scale_is_fine(trained):
    assert asked(trained, 1.0) is None
    assert asked(trained, 2.0) is None


@pytest.mark.parametrize(
    ("scale", "said"), [(127.5, "127 times as wide"), (1 / 127.5, "only 0.00")]
)
def test_another_scale_is_named_with_its_numbers(trained, scale, said):
    sentence = asked(trained, np.float32(scale))
    assert said in sentence
    assert "BatchNorm (bn)" in sentence
    assert f"{scale:.2g}"[:2] in sentence


def test_a_range_that_the_file_records_is_compared():
    model = PIVOT.model.copy()
    graph = model.graphs[0]
    set_range(graph, graph.inputs[0], Range(-1.0, 1.0))
    recorded = replace(PIVOT, model=model)
    assert asked(recorded, 1.0) is None
    assert "127" in asked(recorded, np.float32(127.5))


def test_without_batchnorm_a_saturated_relu6_tells():
    assert asked(PIVOT, 1.0) is None
    assert "cap of its ReLU6" in asked(PIVOT, np.float32(500.0))


@pytest.mark.tf
def test_keras_models_bring_their_first_batchnorm():
    keras = pytest.importorskip("keras")
    from tfq_ext.emit.to_float.norms import remembered

    inner = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()])
    model = keras.Sequential([keras.Input((8, 8, 3)), inner, keras.layers.Flatten()])
    norm = inner.layers[-1]
    assert remembered(model).first is None, "an untrained layer remembers nothing"
    gamma, beta = np.array([1.0, -2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0, 3.0])
    norm.set_weights([gamma, beta, np.ones(4), np.full(4, 2.0)])
    found = remembered(model).first
    assert found.deviation.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert found.mean.tolist() == beta.tolist()

    last = keras.layers.BatchNormalization()
    behind = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization(), last])
    last.set_weights([gamma, beta, np.ones(4), np.full(4, 2.0)])
    assert [norm.layer for norm in remembered(behind).norms] == [last.name]
    assert remembered(behind).first is None, "what a later one remembers says nothing of inputs"
