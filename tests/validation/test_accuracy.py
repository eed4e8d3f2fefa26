"""Accuracy of real files against a count made by hand, and against numpy."""

import numpy as np
import pytest
from tiny_models import dense_model, quantized_io_model

from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics.intervals import wilson_interval
from tfq_ext.validation.accuracy import evaluate

RNG = np.random.default_rng(7)
W = RNG.normal(size=(4, 6)).astype(np.float32)
X = RNG.normal(size=(40, 6)).astype(np.float32)
LOGITS = X @ W.T
LABELS = LOGITS.argmax(1)
WRONG = np.where(np.arange(40) < 10, (LABELS + 1) % 4, LABELS)  # ten labels made wrong
INT8 = quantized_io_model(W, ("int8", 0.05, 3), ("int8", 0.1, -5))
UINT8 = quantized_io_model(W, ("uint8", 0.05, 131), ("uint8", 0.1, 123))


def batches(labels=None, size=8):
    for k in range(0, len(X), size):
        yield {"x": X[k : k + size]}, None if labels is None else labels[k : k + size]


def rounded(x, scale):
    return np.rint(x / scale) * scale


def test_counts_of_the_float_model():
    got = evaluate({"float": dense_model(W)}, batches(WRONG))["float"]
    assert (got.n, got.labelled, got.top1) == (40, 40, 0.75)
    assert got.top1_interval == wilson_interval(30, 40)
    assert (got.agreement, got.sqnr_db, got.drop) == (1.0, float("inf"), None)


def test_quantized_io_against_numpy():
    got = evaluate({"float": dense_model(W), "int8": INT8, "uint8": UINT8}, batches(WRONG))
    simulated = rounded(rounded(X, 0.05) @ W.T, 0.1)
    noise, signal = np.square(LOGITS - simulated).sum(), np.square(LOGITS).sum()
    # Half an LSB either way on a few of 160 values: hundredths of a dB.
    assert got["int8"].sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    assert got["uint8"] == got["int8"]  # the same grid, shifted by 128 codes
    same = (simulated.argmax(1) == LABELS).mean()
    assert got["int8"].agreement == pytest.approx(same, abs=1 / 40)
    assert 0 < got["int8"].agreement_interval[0] < got["int8"].agreement_interval[1] <= 1


def test_drop_is_paired_and_signed():
    # The candidate's classes are rolled for the samples that score high on feature 0.
    def worse(inputs):
        y = inputs["x"] @ W.T
        return {"y": np.where(inputs["x"][:, :1] > 0.5, np.roll(y, 1, axis=1), y)}

    lost = int((X[:, 0] > 0.5).sum())
    got = evaluate({"float": dense_model(W), "worse": worse}, batches(LABELS))
    drop = got["worse"].drop
    assert drop.drop == pytest.approx(lost / 40)
    assert drop.lo < drop.drop < drop.hi
    swapped = evaluate(
        {"float": dense_model(W), "worse": worse}, batches(LABELS), reference="worse"
    )
    assert swapped["float"].drop.drop == pytest.approx(-lost / 40)
    assert swapped["worse"].drop is None


@pytest.mark.parametrize("size", [1, 7, 40])
def test_batching_changes_nothing(size):
    models = {"float": dense_model(W), "int8": INT8}
    one, other = (evaluate(models, batches(WRONG, n))["int8"] for n in (size, 8))
    assert (one.top1, one.drop) == (other.top1, other.drop)
    assert one.agreement == pytest.approx(other.agreement)
    assert one.sqnr_db == pytest.approx(other.sqnr_db, abs=1e-4)


def test_without_labels_and_with_some():
    models = {"float": dense_model(W), "int8": INT8}
    none = evaluate(models, batches())["int8"]
    assert (none.top1, none.top1_interval, none.drop, none.labelled) == (None, None, None, 0)
    assert none.agreement is not None
    mixed = [({"x": X[:3]}, LABELS[:3]), ({"x": X[3:4]}, None), ({"x": X[4:5]}, LABELS[4])]
    some = evaluate(models, mixed)["float"]
    assert (some.n, some.labelled, some.top1) == (5, 4, 1.0)


def test_samples_are_read_once_and_not_collected():
    alive = []

    def stream():
        for k in range(5):
            alive.append(k)
            yield {"x": X[k : k + 1]}, LABELS[k]

    assert evaluate({"float": dense_model(W)}, stream())["float"].n == 5
    assert alive == [0, 1, 2, 3, 4]


def test_spatial_logits_and_single_values():
    def spatial(inputs):
        return {"y": (inputs["x"] @ W.T)[:, None, None, :]}

    def one_value(inputs):
        return {"y": inputs["x"][:, 0]}

    assert evaluate({"a": spatial}, batches(WRONG))["a"].top1 == 0.75
    got = evaluate({"a": one_value, "b": one_value}, batches())["b"]
    assert (got.agreement, got.agreement_interval) == (None, None)
    assert got.sqnr_db == float("inf")


def test_output_by_name():
    def two(inputs):
        return {"aux": inputs["x"], "y": inputs["x"] @ W.T}

    models = {"two": two, "float": dense_model(W)}
    assert evaluate(models, batches(LABELS), output="y")["float"].sqnr_db > 100
    with pytest.raises(DataError, match="two: no output named 'z'; it has aux, y"):
        evaluate(models, batches(), output="z")


def test_errors_name_the_model():
    good = dense_model(W)
    with pytest.raises(DataError, match=r"bad: Cannot compare shapes \[8, 4\] and \[8, 6\]"):
        evaluate({"good": good, "bad": lambda x: {"y": x["x"]}}, batches())
    with pytest.raises(DataError, match=r"bad: .*NaN"):
        evaluate({"good": good, "bad": lambda x: {"y": x["x"] @ W.T * np.nan}}, batches())
    with pytest.raises(ModelError, match="bad: "):
        evaluate({"good": good, "bad": b"not a model at all"}, batches())


def test_unusable_requests():
    good = {"good": dense_model(W)}
    with pytest.raises(DataError, match="no samples"):
        evaluate(good, [])
    with pytest.raises(DataError, match="no models"):
        evaluate({}, batches())
    with pytest.raises(DataError, match="No model named 'best'"):
        evaluate(good, batches(), reference="best")
    with pytest.raises(DataError, match=r"labels of shape \(8,\)"):
        evaluate(good, batches(np.eye(4)[LABELS]))
