"""Error texts that TensorFlow and the compiler really wrote, and the sentences made of them."""

import pytest

from tfq_ext.emit.to_float.messages import PATTERNS, batch_may_help, explain, first_line
from tfq_ext.errors import DataError, MissingDependency, ModelError

FLEX = """Could not translate MLIR to FlatBuffer.<unknown>:0: error: 'tf.Erf' op is neither a custom
<unknown>:0: error: failed while converting: 'main':
Some ops are not supported by the native TFLite runtime, you can enable TF kernels fallback.
TF Select ops: Erf, Roll
Details:
\ttf.Erf(tensor<?x4xf32>) -> (tensor<?x4xf32>) : {device = ""}
Custom ops: BesselI0
"""
HALF = FLEX.replace("xf32>", "xf16>")
LOOP = (
    "<unknown>:0: error: loc(...): 'tf.TensorListReserve' op requires element_shape to be static "
    "during TF Lite transformation pass\n<unknown>:0: error: failed to legalize operation "
    "'tf.TensorListReserve' that was explicitly marked illegal"
)
QAT = "<unknown>:0: error: loc(...): 'tfl.transpose' op has mismatched quantized axes"

SAYINGS = [
    (FLEX, r"uses tf\.Erf, tf\.Roll, tf\.BesselI0, .*are not run.*approximate=True"),
    (HALF, r"computes in float16 \(tf\.Erf"),
    (LOOP, r"loop \(tf\.TensorListReserve.*batch=1 for a Keras model"),
    ("error: 'tf.Conv2D' op is neither a custom op nor a flex op", r"uses tf\.Conv2D, which"),
    ("error: failed to legalize operation 'tf.Bucketize'", r"uses tf\.Bucketize, .*replace it"),
    (QAT, r"uses tfl\.transpose, which cannot be converted"),
    ("The model provided has never been called.", r"Call it once on a batch"),
    ("The model is larger than 2GB", r"2 GiB that a \.tflite can hold"),
    ("function which references an 'untracked' resource.", r"tf\.saved_model\.save\(module"),
    ("module 'tensorflow' has no attribute 'lite'", r"supports TensorFlow 2\.18\.1 to 2\.21"),
]


@pytest.mark.parametrize(("text", "says"), SAYINGS)
def test_each_text_gets_its_sentence(text, says):
    error = explain(RuntimeError(text), "m.keras")
    assert isinstance(error, ModelError)
    with pytest.raises(ModelError, match=says):
        raise error
    assert "\n" not in str(error)
    assert str(error).startswith("m.keras ")


def test_every_pattern_has_a_text_here():
    import re

    spoken = {
        next(p.regex for p in PATTERNS if re.search(p.regex, text, re.MULTILINE))
        for text, _ in SAYINGS
    }
    assert spoken == {p.regex for p in PATTERNS}


def test_the_log_is_asked_when_the_error_says_nothing():
    assert "tf.Erf" in str(explain(RuntimeError("failed"), "m", FLEX))


def test_our_own_errors_pass_and_missing_packages_stay_what_they_are():
    own = DataError("ours")
    assert explain(own, "m") is own
    assert isinstance(explain(ImportError("no module x"), "m"), MissingDependency)


def test_an_unknown_failure_names_the_line_that_counts():
    text = "warming up\nfile.cc:3: error: something odd\nmore"
    message = str(explain(RuntimeError(text), "m"))
    assert "(RuntimeError: something odd)" in message
    assert "--verbose" in message
    assert first_line("x" * 400, 10) == "x" * 10 + "..."
    assert first_line("") == "no message"


def test_where_a_fixed_batch_is_worth_a_try():
    assert batch_may_help(RuntimeError(LOOP))
    assert not batch_may_help(RuntimeError("The model provided has never been called."))
