"""Attributes, errors, data, sources, and the ways back to the plain converter."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import converter_models as models
import numpy as np
import pytest

import tfq_ext as tfq
from tfq_ext.errors import DataError, RecipeError, StrictError, TfqWarning, UnknownName
from tfq_ext.tflite.read import Model, text

pytestmark = pytest.mark.tf

NAMES = ("optimizations", "target_spec", "inference_input_type", "allow_custom_ops")


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow")


@pytest.fixture(scope="module")
def keras(tf):
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def network(keras):
    return models.network(keras)


@pytest.fixture(scope="module")
def float_file(network) -> bytes:
    return tfq.TFLiteConverter.from_keras_model(network).convert()


@pytest.fixture
def converter(float_file):
    return tfq.TFLiteConverter.from_tflite(float_file)


def codes(content: bytes) -> list[str]:
    return [code for *_, code in Model.parse(content).walk()]


def activation_types(content: bytes) -> set[str]:
    """dtypes of what convolutions write."""
    return {
        graph.dtype(int(op.outputs[0]))
        for graph, _, op, code in Model.parse(content).walk()
        if code == "CONV_2D"
    }


# -- attributes


def test_every_public_attribute_of_tensorflow_is_there(tf, network):
    theirs = tf.lite.TFLiteConverter.from_keras_model(network)
    ours = tfq.TFLiteConverter.from_keras_model(network)
    public = [name for name in vars(theirs) if not name.startswith("_")]
    assert set(NAMES) <= set(public)
    for name in public:
        if name not in ("target_spec", "saved_model_dir"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert set(public) <= set(dir(ours))


def test_attributes_live_in_the_converter_inside(tf, converter):
    converter.unfold_batchmatmul = True
    converter._experimental_anything = 3
    converter.target_spec.supported_types = [tf.float16]
    inside = converter._plain.settings
    assert (inside.unfold_batchmatmul, inside._experimental_anything) == (True, 3)
    assert inside.target_spec.supported_types == [tf.float16]
    with pytest.raises(AttributeError):
        _ = converter.no_such_attribute
    assert not hasattr(inside, "calibrator")
    assert copy.copy(converter).unfold_batchmatmul


def test_converting_leaves_the_settings_alone(tf, network):
    converter = tfq.TFLiteConverter.from_keras_model(network)
    models.int16_border(converter, tf)
    before = (*(getattr(converter, n) for n in NAMES), set(converter.target_spec.supported_ops))
    first = converter.convert()
    after = (*(getattr(converter, n) for n in NAMES), set(converter.target_spec.supported_ops))
    assert after == before
    assert converter.report.content == first == converter.convert()


@pytest.mark.parametrize("exclude", [True, False])
def test_conversion_metadata_can_be_left_out(tf, network, exclude):
    converter = tfq.TFLiteConverter.from_keras_model(network)
    models.default(converter, tf)
    converter.exclude_conversion_metadata = exclude
    metadata = Model.parse(converter.convert()).tree.metadata or ()
    assert ("CONVERSION_METADATA" not in [text(m.name) for m in metadata]) is exclude


@pytest.mark.parametrize(
    ("attribute", "op", "others"),
    [
        ("_experimental_disable_per_channel", 1, 1),
        ("_experimental_disable_per_channel_quantization_for_dense_layers", 1, 16),
        ("_nothing", 5, 16),
    ],
)
def test_scales_per_channel_can_be_disabled(tf, converter, attribute, op, others):
    models.with_data(converter, tf)
    converter.calibrator = "minmax"
    setattr(converter, attribute, True)
    converter.convert()
    channels = {row.op: row.channels for row in converter.report.account.weights}
    assert channels["FULLY_CONNECTED"] == op
    assert channels["DEPTHWISE_CONV_2D"] == others


# -- our own attributes


def test_calibrator_and_report(tf, converter):
    models.with_data(converter, tf)
    assert converter.report is None
    files = []
    for name in ("minmax", "percentile:99"):
        converter.calibrator = name
        files.append(converter.convert())
        assert converter.report.recipe.calibrator == name
    assert files[0] != files[1]
    assert converter.report.content == files[1]


def test_recipe_decides_in_place_of_optimizations(tf, converter):
    converter.recipe = {"base": "int8", "activations": "int16"}
    converter.representative_dataset = models.dataset(models.images(8))
    converter.inference_output_type = tf.int16
    content = converter.convert()
    assert activation_types(content) == {"int16"}
    assert models.border(content)[1][1] == "int16"


def test_recipe_says_which_attributes_it_ignores(converter):
    converter.recipe = "fp16"
    converter._experimental_strict_qdq = True
    with pytest.warns(TfqWarning, match=r"_experimental_strict_qdq = True"):
        converter.convert()


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"calibrator": "percentil"}, UnknownName, "percentile"),
        ({"rounding": "nearst"}, UnknownName, "nearest"),
        ({"recipe": "int9"}, RecipeError, "Known"),
        ({"recipe": "int8", "representative_dataset": None}, DataError, "representative"),
        ({"optimizations": [], "calibrator": "mse"}, RecipeError, "optimizations"),
    ],
)
def test_our_own_errors(tf, converter, settings, error, says):
    models.with_data(converter, tf)
    for name, value in settings.items():
        setattr(converter, name, value)
    with pytest.raises(error, match=says):
        converter.convert()


def test_a_misspelt_attribute_of_ours_is_noticed(converter):
    with pytest.raises(AttributeError, match="calibrator"):
        converter.calibratr = "mse"


# -- errors of TensorFlow's


def _int8_border(c: Any, tf: Any) -> None:
    c.inference_input_type = tf.int8


def _int8_border_of_dynamic(c: Any, tf: Any) -> None:
    models.default(c, tf)
    c.inference_output_type = tf.uint8


def _int8_ops_without_data(c: Any, tf: Any) -> None:
    models.default(c, tf)
    c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def _int8_ops_as_float16(c: Any, tf: Any) -> None:
    models.integer_only(c, tf)
    c.target_spec.supported_types = [tf.float16]


def _int8_border_of_int16(c: Any, tf: Any) -> None:
    models.int16x8(c, tf)
    c.inference_input_type = tf.int8


def _no_type(c: Any, tf: Any) -> None:
    models.with_data(c, tf)
    c.inference_input_type = None


@pytest.mark.parametrize(
    "script",
    [
        _int8_border,
        _int8_border_of_dynamic,
        _int8_ops_without_data,
        _int8_ops_as_float16,
        _int8_border_of_int16,
        _no_type,
    ],
)
def test_what_tensorflow_refuses_is_refused_with_its_words(tf, network, script):
    said = []
    for cls in (tf.lite.TFLiteConverter, tfq.TFLiteConverter):
        converter = cls.from_keras_model(network)
        script(converter, tf)
        with pytest.raises(ValueError) as caught:
            converter.convert()
        said.append(str(caught.value))
    assert said[0] == said[1] != ""


def test_a_model_without_quantization_errors_at_once(tf):
    with pytest.raises(ValueError, match="list of ConcreteFunction"):
        tfq.TFLiteConverter.from_concrete_functions([tf.function(lambda x: x)])


# -- fallbacks


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
    assert "FLEX:MatrixDeterminant" in codes(content)
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
    assert "QUANTIZE" in codes(content)
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
        assert "SIN" in codes(converter.convert())


def test_int16_only_with_a_float_op_fails_as_in_tensorflow(tf, keras):
    converter = tfq.TFLiteConverter.from_keras_model(models.sine_network(keras))
    models.int16_border(converter, tf)
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    converter.representative_dataset = models.dataset(x)
    with pytest.warns(TfqWarning, match="SIN"), pytest.raises(RuntimeError, match="SIN"):
        converter.convert()


# -- data


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
    assert converter.report.provenance.held_back == 2


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


# -- sources


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
    _int8_ops_without_data(converter, tf)
    with pytest.raises(ValueError, match="representative_dataset"):
        converter.convert()
    converter.representative_dataset = models.dataset(models.images(3))
    converter._experimental_calibrate_only = True
    with pytest.raises(ValueError, match="_experimental_calibrate_only = True"):
        converter.convert()
