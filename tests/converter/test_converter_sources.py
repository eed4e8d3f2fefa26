"""Samples in every form, models from every source."""

from __future__ import annotations

from typing import Any

import converter_models as models
import numpy as np
import pytest

import tfq_ext as tfq
from tfq_ext.tflite.read import Model

pytestmark = pytest.mark.tf


def two_inputs(keras: Any) -> Any:
    """Inputs whose names are not in the order in which the model takes them."""
    b, a = keras.Input((3,), name="b"), keras.Input((5,), name="a")
    joined = keras.layers.Concatenate()([keras.layers.Dense(4)(b), keras.layers.Dense(4)(a)])
    return keras.Model([b, a], joined)


@pytest.mark.parametrize("form", ["list", "dict", "signature"])
def test_samples_of_several_inputs_in_every_form(tf, keras, form):
    model = two_inputs(keras)
    rng = np.random.default_rng(0)
    small, large = rng.uniform(-1, 1, (9, 1, 3)), rng.uniform(-50, 50, (9, 1, 5))
    arrays = [
        {"b": s.astype(np.float32), "a": x.astype(np.float32)}
        for s, x in zip(small, large, strict=True)
    ]
    key = "serving_default"
    form_of = {"list": lambda d: list(d.values()), "dict": dict, "signature": lambda d: (key, d)}
    converter = tfq.TFLiteConverter.from_keras_model(model)
    models.default(converter, tf)
    converter.calibrator = "minmax"
    converter.representative_dataset = lambda: (form_of[form](d) for d in arrays)
    converter.convert()
    ranges = {row.tensors[0]: row.range for row in converter.report.account.ranges}
    named = {n.removeprefix(f"{key}_").removesuffix(":0"): r for n, r in ranges.items()}
    assert named["b"].max < 1.0 < 30.0 < named["a"].max


def test_samples_are_read_once(tf, converter):
    passes = []

    def dataset():
        passes.append(1)
        return iter([x[None]] for x in models.images(10))

    models.with_data(converter, tf)
    converter.representative_dataset = dataset
    converter.convert()
    assert len(passes) == 1
    assert converter.report.provenance.held_back == 5


def test_items_without_a_signature_are_the_first_ones(tf, tmp_path):
    class Two(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 4))])
        def double(self, x):
            return {"y": tf.matmul(x, 2 * tf.eye(4))}

        @tf.function(input_signature=[tf.TensorSpec((1, 4))])
        def triple(self, x):
            return {"y": tf.matmul(x, 3 * tf.eye(4))}

    module = Two()
    tf.saved_model.save(module, str(tmp_path), {"double": module.double, "triple": module.triple})
    converter = tfq.TFLiteConverter.from_saved_model(str(tmp_path))
    models.default(converter, tf)
    converter.calibrator = "minmax"
    x = np.arange(4, dtype=np.float32)[None]
    converter.representative_dataset = lambda: [[x], [-x]]
    first = Model.parse(converter.convert())
    assert set(first.signatures) == {"double", "triple"}
    integers = {
        key: "int8" in {first.graph_of(key).dtype(int(op.outputs[0])) for op in graph.ops}
        for key in first.signatures
        for graph in [first.graph_of(key)]
    }
    assert integers == {next(iter(first.signatures)): True, list(first.signatures)[1]: False}
    converter.representative_dataset = lambda: [("double", {"x": x}), ("triple", {"x": -x})]
    both = Model.parse(converter.convert())
    assert all(
        "FULLY_CONNECTED" in [graph.code(op) for op in graph.ops] for graph in both.graphs[:2]
    )


def test_all_sources_give_the_same_numbers(tf, network, float_file, tmp_path):
    network.export(str(tmp_path / "saved"), verbose=False)
    path = tmp_path / "float.tflite"
    path.write_bytes(float_file)

    @tf.function(input_signature=[tf.TensorSpec((None, *models.SHAPE))])
    def serve(image):
        return network(image)

    x = models.images(30, seed=5)
    made = [
        tfq.TFLiteConverter.from_keras_model(network),
        tfq.TFLiteConverter.from_saved_model(str(tmp_path / "saved"), ["serving_default"]),
        tfq.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()]),
        tfq.TFLiteConverter.from_tflite(path),
        tfq.TFLiteConverter.from_tflite(float_file),
    ]
    results = []
    for converter in made:
        models.uint8_border(converter, tf)
        converter.calibrator = "minmax"
        results.append(models.outputs(converter.convert(), x))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_tf_keras_models(tf):
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential(
        [tf_keras.layers.Input((4,)), tf_keras.layers.Dense(8), tf_keras.layers.Dense(2)]
    )
    converter = tfq.TFLiteConverter.from_keras_model(model)
    models.integer_only(converter, tf)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    converter.representative_dataset = models.dataset(x)
    converter.calibrator = "minmax"
    error = models.outputs(converter.convert(), x) - model.predict(x, verbose=0)
    assert np.abs(error).max() < 0.1
    assert not converter.report.account.float_ops


def test_a_float_tflite_without_optimizations_comes_back_as_it_is(converter, float_file):
    assert converter.convert() == float_file


def test_from_tflite_says_why_when_nobody_could_do_it(tf, converter):
    models.int8_ops_without_data(converter, tf)
    with pytest.raises(ValueError, match="representative_dataset"):
        converter.convert()
    converter.representative_dataset = models.dataset(models.images(3))
    converter._experimental_calibrate_only = True
    with pytest.raises(ValueError, match="_experimental_calibrate_only = True"):
        converter.convert()
