"""What the plain converter does alone, and what is said then."""

from __future__ import annotations

import warnings
from typing import Any

import converter_models as models
import numpy as np
import pytest

import tfq_ext as tfq
from tfq_ext.errors import StrictError, TfqWarning

pytestmark = pytest.mark.tf


def flex_model(keras: Any, tf: Any) -> Any:
    inputs = keras.Input((4,))
    x = keras.layers.Dense(64)(keras.layers.Dense(64)(inputs))
    x = keras.layers.Reshape((8, 8))(x)
    return keras.Model(inputs, keras.layers.Lambda(tf.linalg.det, output_shape=())(x))


def test_flex_ops_are_left_to_the_plain_converter(tf, keras):
    converter = tfq.TFLiteConverter.from_keras_model(flex_model(keras, tf))
    models.default(converter, tf)
    flex = tf.lite.OpsSet.SELECT_TF_OPS
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, flex]
    with pytest.warns(
        TfqWarning, match=r"plain tf\.lite\.TFLiteConverter.*tf\.MatrixDeterminant"
    ) as caught:
        content = converter.convert()
    assert caught[0].filename == __file__
    assert "FLEX:MatrixDeterminant" in models.codes(content)
    assert converter.report is None
    converter.strict = True
    with pytest.raises(tfq.TfqError, match=r"tf\.MatrixDeterminant"):
        converter.convert()


def test_select_tf_ops_that_nobody_needs_do_no_harm(tf, network):
    converter = tfq.TFLiteConverter.from_keras_model(network)
    models.default(converter, tf)
    flex = tf.lite.OpsSet.SELECT_TF_OPS
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, flex]
    converter.convert()
    assert converter.report.recipe.mode == "dynamic"


def test_a_model_with_trained_grids_is_left_to_the_plain_converter(tf, keras):
    inputs = keras.Input((4,))
    grid = keras.layers.Lambda(lambda x: tf.quantization.fake_quant_with_min_max_args(x, -1, 1))
    model = keras.Model(inputs, grid(keras.layers.Dense(4)(grid(inputs))))
    converter = tfq.TFLiteConverter.from_keras_model(model)
    models.default(converter, tf)
    with pytest.warns(TfqWarning, match="trained grids"):
        content = converter.convert()
    assert "QUANTIZE" in models.codes(content)
    assert converter.report is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("_experimental_calibrate_only", True), ("experimental_new_quantizer", False)],
)
def test_attributes_that_we_do_not_follow_are_left_to_it(tf, network, name, value):
    converter = tfq.TFLiteConverter.from_keras_model(network)
    models.with_data(converter, tf)
    converter.representative_dataset = models.dataset(models.images(3))
    setattr(converter, name, value)
    with pytest.warns(TfqWarning, match=f"{name} = {value}"):
        converter.convert()
    converter.strict = True
    with pytest.raises(StrictError, match=name):
        converter.convert()


def test_integer_only_with_a_float_op_warns_where_tensorflow_is_silent(tf, keras):
    converter = tfq.TFLiteConverter.from_keras_model(models.sine_network(keras))
    models.integer_only(converter, tf)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    converter.representative_dataset = models.dataset(x)
    converter.calibrator = "minmax"
    with pytest.warns(TfqWarning, match=r"1 op\(s\) stay float. SIN ") as caught:
        converter.convert()
    assert caught[0].filename == __file__
    converter.strict = True
    with pytest.raises(StrictError, match="SIN"):
        converter.convert()
    converter.strict = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "SIN" in models.codes(converter.convert())


def test_int16_only_with_a_float_op_fails_as_in_tensorflow(tf, keras):
    converter = tfq.TFLiteConverter.from_keras_model(models.sine_network(keras))
    models.int16_border(converter, tf)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    converter.representative_dataset = models.dataset(x)
    with pytest.warns(TfqWarning, match="SIN"), pytest.raises(RuntimeError, match="SIN"):
        converter.convert()
