"""Strangers' Keras models: converted, quantized to the last op, near the float model."""

from __future__ import annotations

import numpy as np
import pytest
from strangers import details, quantized

from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner

keras = pytest.importorskip("keras", reason="needs TensorFlow")
import keras_zoo  # noqa: E402  (imports keras)

pytestmark = pytest.mark.tf


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)


@pytest.mark.parametrize("name", keras_zoo.FULLY_INTEGER)
def test_quantizes_to_the_last_op(name):
    build, floor = keras_zoo.FULLY_INTEGER[name]
    done = quantized(build())
    assert done.islands == {}
    assert done.sqnr() > floor
    assert "read back equal" in done.result.account.read_back


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_a_recurrent_loop_stays_float_and_says_why(layer):
    done = quantized(keras_zoo.recurrent(layer), scale=2.0)
    reasons = done.islands
    assert "borders" in reasons.pop("WHILE")
    assert set(reasons.values()) == {"inside a loop or branch body, which stays float"}
    assert [row.op for row in done.result.account.weights] == ["FULLY_CONNECTED"], "the head"
    assert ("FULLY_CONNECTED", "int8", "int8") in set(details(done.content))
    assert done.sqnr() > 25


def test_a_loop_body_keeps_its_float_weights():
    done = quantized(keras_zoo.recurrent("LSTM"))
    body = Model.parse(done.content).graphs[2]
    weights = [op for op in body.ops if body.code(op) == "FULLY_CONNECTED"]
    assert {body.dtype(int(op.inputs[1])) for op in weights} == {"float32"}


def test_an_open_batch_stays_open():
    done = quantized(keras_zoo.u_net())
    graph = Model.parse(done.content).graphs[0]
    assert graph.shape(graph.inputs[0])[0] == -1
    five = {n: np.repeat(x, 5, axis=0) for n, x in done.rows[0].items()}
    one, many = (next(iter(Runner(done.content)(r).values())) for r in (done.rows[0], five))
    assert many.shape[0] == 5
    assert np.array_equal(many[4:], one)


def test_ends_keep_their_names():
    done = quantized(keras_zoo.siamese())
    runner = Runner(done.content)
    assert set(runner.inputs) == {"left", "right"}
    assert set(runner.outputs) == {"distance", "kind"}


def test_a_shared_layer_is_stored_once():
    done = quantized(keras_zoo.siamese())
    file = Model.parse(done.content)
    graph = file.graphs[0]
    shared = {
        graph.tensors[int(op.inputs[1])].buffer
        for op in graph.ops
        if graph.code(op) == "FULLY_CONNECTED" and graph.shape(int(op.inputs[1])) == (6, 5)
    }
    assert len(shared) == 1


def test_integer_ids_are_not_quantized():
    done = quantized(keras_zoo.token_ids())
    graph = Model.parse(done.content).graphs[0]
    assert graph.dtype(graph.inputs[0]) == "int64"


def test_tf_keras_fuses_its_lstm_into_one_op():
    tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras (extra 'tfmot')")
    x = tf_keras.Input((6, 5), batch_size=1)
    model = tf_keras.Model(x, tf_keras.layers.Dense(3)(tf_keras.layers.LSTM(7)(x)))
    done = quantized(model)
    assert done.ops["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert "unroll=True" in done.islands["UNIDIRECTIONAL_SEQUENCE_LSTM"]
    assert ("FULLY_CONNECTED", "int8", "int8") in set(details(done.content))
    assert done.sqnr() > 25
