"""Scripts as TensorFlow's documentation has them, run with its converter and with ours."""

from __future__ import annotations

import converter_models as models
import numpy as np
import pytest

import tfq_ext as tfq
from tfq_ext import demo
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.tflite.read import Model

pytestmark = pytest.mark.tf

DATASET_NOISE = 0.1  # dB: two float-near files differ by this from one held-out set to another


@pytest.fixture(scope="module")
def both(tf, network):
    """Script name -> the two files, each converted once."""
    made: dict[str, tuple[bytes, bytes]] = {}

    def convert(name: str) -> tuple[bytes, bytes]:
        if name not in made:
            files = []
            for cls in (tf.lite.TFLiteConverter, tfq.TFLiteConverter):
                converter = cls.from_keras_model(network)
                models.SCRIPTS[name][0](converter, tf)
                if cls is tfq.TFLiteConverter and converter.representative_dataset is not None:
                    converter.calibrator = "minmax"  # "auto" has its test on real images below
                files.append(converter.convert())
            made[name] = tuple(files)
        return made[name]

    return convert


@pytest.mark.parametrize("script", models.SCRIPTS)
def test_same_border_and_no_worse(script, both, network):
    """Names, dtypes, shapes and signatures agree; error against float is not larger."""
    theirs, ours = both(script)
    assert models.border(ours) == models.border(theirs)
    x = models.images(200, seed=9)
    reference = network.predict(x, verbose=0)
    quality = [sqnr_db(reference, models.outputs(content, x)) for content in (theirs, ours)]
    assert quality[1] >= quality[0] - DATASET_NOISE


@pytest.mark.parametrize("script", models.SCRIPTS)
def test_the_metadata_name_the_mode(script, both):
    from tensorflow.lite.python.util import get_conversion_metadata

    for content in both(script):
        modes = get_conversion_metadata(content).options.modelOptimizationModes
        assert list(() if modes is None else modes) == models.SCRIPTS[script][1]


def test_float_is_the_plain_converters_file(both):
    theirs, ours = both("float")
    assert len(ours) == len(theirs)
    x = models.images(20, seed=3)
    np.testing.assert_array_equal(models.outputs(ours, x), models.outputs(theirs, x))


@pytest.mark.slow
def test_demo_network_with_every_default(tf):
    """Int8 with calibrator auto on the bundled network: closer to float than TensorFlow's."""
    import keras

    model = keras.models.load_model(demo.model_path())
    files = []
    for cls in (tf.lite.TFLiteConverter, tfq.TFLiteConverter):
        converter = cls.from_keras_model(model)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = models.dataset(demo.calibration()[:50])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        files.append(converter.convert())
    x = demo.evaluation()[0][:500]
    reference = model.predict(x, verbose=0)
    theirs, ours = (sqnr_db(reference, models.outputs(content, x)) for content in files)
    assert ours > theirs
    assert converter.report.provenance.held_back == 10  # of a callable, too


def residual(keras):
    """b = conv(x) has small values, x + b large ones: TensorFlow takes the sum's range for b."""
    inputs = keras.Input(models.SHAPE)
    x = keras.layers.Conv2D(3, 1, name="trunk")(inputs)
    b = keras.layers.Conv2D(3, 1, name="branch")(x)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(keras.layers.Add(name="sum")([x, b])))
    eye = np.eye(3, dtype=np.float32)[None, None]
    model.get_layer("trunk").set_weights([4 * eye, np.zeros(3, np.float32)])
    model.get_layer("branch").set_weights([eye / 8, np.zeros(3, np.float32)])
    branch = keras.Model(inputs, b)
    return model, branch


def test_residual_branch_range_is_exact_where_tensorflows_is_too_wide(tf):
    """The calibrator bug since TensorFlow 2.14 (FACTS: an operand gets the sum's range too)."""
    import keras

    model, branch = residual(keras)
    x = models.images(20)
    truth = branch.predict(x, verbose=0)
    width = float(truth.max() - truth.min())

    plain = tf.lite.TFLiteConverter.from_keras_model(model)
    models.default(plain, tf)
    plain.representative_dataset = models.dataset(x)
    plain._experimental_calibrate_only = True
    recorded = branch_tensor(plain.convert()).quantization
    assert float(recorded.max[0] - recorded.min[0]) > 4 * width

    ours = tfq.TFLiteConverter.from_keras_model(model)
    models.default(ours, tf)
    ours.representative_dataset = models.dataset(x)
    ours.calibrator = "minmax"
    scale = branch_tensor(ours.convert()).quantization.scale[0]
    assert scale == pytest.approx(width / 255, rel=1e-5)


def branch_tensor(content: bytes):
    """The second operand of the file's only ADD."""
    graph = Model.parse(content).graphs[0]
    add = next(op for op in graph.ops if graph.code(op) == "ADD")
    shapes = [graph.producer[int(i)] for i in add.inputs]
    return graph.tensors[int(add.inputs[int(np.argmax(shapes))])]  # made last: the branch
