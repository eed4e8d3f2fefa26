"""Attributes, our own ones, and errors."""

from __future__ import annotations

import copy
from typing import Any

import converter_models as models
import pytest

import tfq_ext as tfq
from tfq_ext.errors import DataError, RecipeError, TfqWarning, UnknownName
from tfq_ext.tflite.read import Model, text

pytestmark = pytest.mark.tf

NAMES = ("optimizations", "target_spec", "inference_input_type", "allow_custom_ops")


def activation_types(content: bytes) -> set[str]:
    """dtypes of what convolutions write."""
    return {
        graph.dtype(int(op.outputs[0]))
        for graph, _, op, code in Model.parse(content).walk()
        if code == "CONV_2D"
    }


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


def test_recipe_alone_is_enough(tf, network):
    from tensorflow.lite.python.util import get_conversion_metadata

    converter = tfq.TFLiteConverter.from_keras_model(network)
    converter.recipe = "fp16"
    content = converter.convert()
    graph = Model.parse(content).graphs[0]
    assert "float16" in {graph.dtype(i) for i in range(len(graph.tensors))}
    assert list(get_conversion_metadata(content).options.modelOptimizationModes) == [1001]


@pytest.mark.parametrize("verbose", [True, False])
def test_the_terminal_stays_clean_unless_verbose(tf, network, capfd, verbose):
    converter = tfq.TFLiteConverter.from_keras_model(network)
    models.default(converter, tf)
    converter.verbose = verbose
    capfd.readouterr()
    converter.convert()
    said = "".join(capfd.readouterr())
    assert ("Saved artifact" in said) is verbose
    assert verbose or said == ""


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


def _int8_border(c: Any, tf: Any) -> None:
    c.inference_input_type = tf.int8


def _int8_border_of_dynamic(c: Any, tf: Any) -> None:
    models.default(c, tf)
    c.inference_output_type = tf.uint8


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
        models.int8_ops_without_data,
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
