"""The table of modes against TensorFlow's own QuantizationMode, over every combination."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest

from tfq_ext.converter.modes import EXTRAS, INT8_OPS, INT16_OPS, Asked, mode_of

DEFAULT = frozenset({"DEFAULT"})
OPS = [
    {"TFLITE_BUILTINS"},
    {INT8_OPS},
    {INT16_OPS},
    {"TFLITE_BUILTINS", INT8_OPS},
    {"TFLITE_BUILTINS", INT16_OPS},
    {"TFLITE_BUILTINS", "SELECT_TF_OPS"},
    {"SELECT_TF_OPS"},
    {INT8_OPS, INT16_OPS},
]
TYPES = [set(), {"int8"}, {"float16"}, {"float32"}, {"int8", "float16"}, {"bfloat16"}]


def asked(ops=("TFLITE_BUILTINS",), types=(), *, data=False, on=DEFAULT, io=("float32",) * 2):
    return Asked(frozenset(on), frozenset(ops), frozenset(types), *io, data)


def tensorflow_says(tf, ops, types, data: bool, optimizations) -> str:
    """The mode by QuantizationMode's own predicates."""
    from tensorflow.lite.python.lite import QuantizationMode

    spec = tf.lite.TargetSpec(
        supported_ops={getattr(tf.lite.OpsSet, op) for op in ops},
        supported_types={tf.as_dtype(t) for t in types},
    )
    try:
        mode = QuantizationMode(optimizations, spec, (lambda: []) if data else None, None)
    except ValueError:
        return "refused"
    if mode.is_post_training_int16x8_quantization():
        return "int16x8"
    if mode.is_post_training_int8_quantization():
        return "int8"
    if mode.is_post_training_dynamic_range_quantization():
        return "dynamic"
    if mode.is_post_training_float16_quantization():
        return "fp16"
    return "bfloat16" if mode.is_bfloat16_quantization() else "float"


@pytest.mark.tf
@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("data", [True, False])
def test_every_combination_is_what_tensorflow_makes_of_it(data, optimized):
    import tensorflow as tf

    on = [tf.lite.Optimize.DEFAULT] if optimized else []
    for ops, types in product(OPS, TYPES):
        mine = mode_of(asked(ops, types, data=data, on=DEFAULT if optimized else ())).name
        assert mine == tensorflow_says(tf, ops, types, data, on), (ops, types)


@pytest.mark.parametrize(
    ("ops", "data", "io", "name"),
    [
        ({INT8_OPS}, True, ("uint8", "int8"), "int8"),
        ({INT8_OPS}, True, ("int16", "int8"), "int8"),
        ({INT16_OPS}, True, ("int16", "float32"), "int16x8"),
        ({INT16_OPS}, True, ("int8", "int8"), "refused"),
        ({"TFLITE_BUILTINS"}, False, ("int8", "int8"), "refused"),
        ({INT8_OPS}, True, ("float16", "float32"), "refused"),
    ],
)
def test_types_of_inputs_and_outputs(ops, data, io, name):
    assert mode_of(asked(ops, data=data, io=io)).name == name


def test_an_int16_border_of_an_int8_file_is_the_plain_converters():
    mode = mode_of(asked({INT8_OPS}, data=True, io=("int16", "int16")))
    assert mode.recipe is None
    assert "int16" in mode.why


def test_sparsity_is_not_ours_and_says_so():
    mode = mode_of(asked(on={"DEFAULT", "EXPERIMENTAL_SPARSITY"}, data=True))
    assert mode.recipe is None
    assert "SPARSITY" in mode.why


@pytest.mark.tf
def test_attributes_that_we_do_not_follow_have_their_usual_value_in_tensorflow():
    import tensorflow as tf

    settings = tf.lite.TFLiteConverter([])
    unborn = {"_experimental_strict_qdq"} if tf.__version__.startswith("2.18.") else set()
    for extra in EXTRAS:
        value = settings
        if extra.name in unborn:
            continue
        for part in extra.name.split("."):
            value = getattr(value, part)  # an attribute that vanishes shall be noticed here
        assert value == extra.usual, extra.name


def test_importing_the_converter_does_not_import_tensorflow():
    code = (
        "import sys, tfq_ext; tfq_ext.TFLiteConverter;"
        "from tfq_ext import TFLiteConverter;"
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
