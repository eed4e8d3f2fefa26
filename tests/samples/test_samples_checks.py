"""Every sample is checked before native code sees it; the casts, the warnings, the ranges."""

import re

import numpy as np
import pytest

from tfq_ext.errors import DataError, TfqWarning
from tfq_ext.samples import InputSpec, Samples, open_samples, range_warning
from tfq_ext.samples.cast import cast

X = InputSpec("x", (1, 4), "float32")
RNG = np.random.default_rng(0)


def feed(array, dtype="float32"):
    return next(iter(open_samples([array[None]], [InputSpec("x", (1, len(array)), dtype)])))


@pytest.mark.parametrize(
    ("values", "target"),
    [
        (np.float64([0.5, 2.0]), "float32"),
        (np.float16([0.5, 2.0]), "float32"),
        (np.int64([2**31 - 1, -(2**31)]), "int32"),
        (np.uint8([0, 255]), "float32"),
        (np.int32([2**24, -(2**24)]), "float32"),
        (np.array([True, False]), "float32"),
        (np.uint8([0, 127]), "int8"),
    ],
)
def test_casts_that_keep_every_value(values, target):
    got = feed(values, target).inputs["x"]
    assert got.dtype == target
    np.testing.assert_array_equal(got[0].astype(np.float64), values.astype(np.float64))


@pytest.mark.parametrize(
    ("values", "target", "words"),
    [
        (np.float64([0.0, 1e39]), "float32", "exceed float32"),
        (np.int64([2**31, 0]), "int32", "do not fit"),
        (np.int64([0, -(2**31) - 1]), "int32", "do not fit"),
        (np.int32([2**24 + 1, 0]), "float32", "do not fit"),
        (np.uint8([0, 128]), "int8", "do not fit"),
        (np.float32([0.0, 1.0]), "int32", r"astype\('int32'\)"),
        (np.array(["a", "b"]), "float32", "cannot be fed"),
        (np.complex64([1, 2]), "float32", "cannot be fed"),
        (np.array([None, 1], object), "float32", "Python objects"),
        (np.float32([0, 1]), "string", "takes text"),
    ],
)
def test_casts_that_would_lose_are_refused(values, target, words):
    with pytest.raises(DataError, match=words):
        feed(values, target)


def test_uint8_as_float_leaves_a_note():
    samples = open_samples(RNG.integers(0, 255, (3, 4), dtype=np.uint8), [X])
    list(samples)
    (note,) = samples.notes
    assert note.startswith("input x: uint8 values are fed as float32, unscaled.")
    assert "give preprocess" in note


def test_cast_of_the_right_dtype_is_no_copy():
    x = np.ones((1, 4), np.float32)
    assert cast(x, X, lambda _: None) is x


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_names_key_input_index_and_count(bad):
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    x[3, [1, 2]] = bad
    nan, inf = (2, 0) if np.isnan(bad) else (0, 2)
    count = f"{nan} NaN and {inf} infinite of 4 values"
    words = rf"Sample 3, input x: {count}, the first at index \(0, 1\)"
    with pytest.raises(DataError, match=words):
        list(open_samples(x, [X]))


def test_not_finite_stops_before_later_samples():
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    x[3, 0] = np.nan
    assert [s.key for s in open_samples(x, [X], limit=3)] == [0, 1, 2]


def test_constant_and_identical_inputs_warn_once():
    blank = np.float32([[0] * 4, [1] * 4, [2] * 4])
    samples = open_samples(blank, [X])
    with pytest.warns(TfqWarning, match="constant .* in 3 of 3 samples"):
        list(samples)
    list(samples)  # our warnings are errors in this suite: a second one would raise
    with pytest.warns(TfqWarning, match="All 3 samples are identical"):
        list(open_samples(np.tile(np.float32([[1, 2, 3, 4]]), (3, 1)), [X]))


def test_a_few_blank_samples_are_a_note():
    samples = open_samples(np.float32([[0] * 4, [1, 2, 3, 4]]), [X])
    list(samples)
    assert "constant (one value everywhere) in 1 of 2" in samples.notes[0]


def test_constant_integers_are_legitimate():
    spec = InputSpec("segments", (1, 4), "int32")
    data = [np.zeros((1, 4), np.int32), np.zeros((1, 4), np.int32)]
    with pytest.warns(TfqWarning, match="identical") as caught:
        list(open_samples(lambda: ([d] for d in data), [spec]))
    assert [row.category for row in caught].count(TfqWarning) == 1


@pytest.mark.parametrize(
    ("observed", "expected", "words"),
    [
        ((0, 255), (-1, 1), r"0\.\.255.*-1\.\.1.*128 times as wide.*x \* 0\.00784314 - 1"),
        ((0, 255), (0, 1), r"255 times as wide.*x \* 0\.00392157 \+ 0"),
        ((0, 1), (0, 255), r"only 0\.0039 of the expected width.*x \* 255 \+ 0"),
        ((0, 1), (-1, 1), r"no negative values"),
        ((-2.1, 2.6), (-1, 1), r"outside"),
        ((7, 90), (-1, 1), r"times as wide"),
    ],
)
def test_a_range_that_contradicts(observed, expected, words):
    assert re.search(words, range_warning(observed, expected) or "")


@pytest.mark.parametrize(
    ("observed", "expected"),
    [
        ((-1, 1), (-1, 1)),
        ((-0.9, 0.8), (-1, 1)),
        ((0.0, 0.99), (0, 1)),
        ((-2.0, 2.4), (-2.118, 2.64)),
        ((3, 250), (0, 255)),
        ((0, 1), (0, 0)),
    ],
)
def test_a_range_that_agrees(observed, expected):
    assert range_warning(observed, expected) is None


def test_text_inputs_pass():
    spec = InputSpec("words", (1,), "string")
    got = [s.inputs["words"] for s in open_samples(np.array(["a", "b"]), [spec])]
    assert [str(w[0]) for w in got] == ["a", "b"]


@pytest.mark.parametrize(("shape", "dtype"), [((1, -2), "float32"), ((1, 2), "float33")])
def test_input_specs_that_cannot_be(shape, dtype):
    with pytest.raises(DataError):
        InputSpec("x", shape, dtype)


def test_samples_open_samples():
    samples = open_samples(np.eye(4, dtype=np.float32), [X])
    assert isinstance(samples, Samples)
    assert open_samples(samples, [X]) is samples
    assert open_samples(samples, [X], limit=2).count == 2
