"""tf.functions with state, branches and inputs that are no floats."""

from __future__ import annotations

import numpy as np
import pytest
from strangers import MINMAX, details, quantized

import tfq_ext
from tfq_ext.tflite.runner import Runner

tf = pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytestmark = pytest.mark.tf
FLOAT = tf.TensorSpec([1, 8], tf.float32, name="x")


class Stateful(tf.Module):
    """Adds a running sum of what it has seen: the second call differs from the first."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.weight = tf.constant(rng.normal(size=(8, 4)), tf.float32)
        self.seen = tf.Variable(tf.zeros([1, 4]))

    @tf.function(input_signature=[FLOAT])
    def __call__(self, x):
        y = tf.matmul(x, self.weight)
        self.seen.assign_add(y)
        return {"y": tf.nn.relu(self.seen + y)}


def _saved(module: tf.Module, folder) -> str:
    tf.saved_model.save(module, str(folder), signatures=module.__call__)
    return str(folder)


def test_state_is_float_at_its_borders_and_does_not_leak_between_samples(tmp_path):
    rng = np.random.default_rng(1)
    rows = [{"x": rng.uniform(-1, 1, (1, 8)).astype(np.float32)} for _ in range(6)]
    path = _saved(Stateful(), tmp_path / "model")
    result = tfq_ext.quantize(path, lambda: iter(rows), recipe=MINMAX, show_progress=False)
    reasons = {row.op: row.reason for row in result.account.float_ops}
    assert "borders" in reasons["READ_VARIABLE"]
    assert ("FULLY_CONNECTED", "int8", "int8") in set(details(result.content))
    backwards = tfq_ext.quantize(path, lambda: iter(rows[::-1]), recipe=MINMAX, show_progress=False)
    ranges = [{r.tensors: r.range for r in a.account.ranges} for a in (result, backwards)]
    assert ranges[0] == ranges[1], "the order of samples changes no range"


@pytest.mark.parametrize("recipe", ["int8", "int16x8", "int4", "dynamic", "weight_only", "fp16"])
def test_every_recipe_takes_a_stateful_model(recipe, tmp_path):
    rows = [{"x": np.linspace(-1, 1, 8, dtype=np.float32)[None] * k} for k in range(1, 7)]
    path = _saved(Stateful(), tmp_path / "model")
    data = None if recipe in ("dynamic", "weight_only", "fp16") else lambda: iter(rows)
    result = tfq_ext.quantize(path, data, recipe=recipe, show_progress=False)
    got = Runner(result.content)(rows[0])["y"]
    wanted = np.maximum(2 * rows[0]["x"] @ Stateful().weight.numpy(), 0)
    assert np.max(np.abs(got - wanted)) < 0.5 * np.max(wanted)  # 4 bits; a leak adds 20 times that


@tf.function(input_signature=[FLOAT])
def branches(x):
    weight = tf.constant(np.random.default_rng(2).normal(size=(8, 8)), tf.float32)
    y = tf.matmul(x, weight)
    z = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.sin(y), lambda: tf.exp(-tf.square(y)))
    return tf.matmul(z, weight)


def test_a_branch_is_float_with_a_reason_and_the_rest_integer():
    done = quantized(branches)
    assert "borders" in done.islands["IF"]
    dense = [row for row in details(done.content) if row[0] == "FULLY_CONNECTED"]
    assert dense == [("FULLY_CONNECTED", "int8", "int8")] * 2
    assert done.sqnr() > 20


def test_strict_refuses_a_branch_by_name():
    with pytest.raises(tfq_ext.errors.StrictError, match="IF"):
        quantized(branches, {"base": MINMAX, "strict": True})


@tf.function(
    input_signature=[FLOAT, tf.TensorSpec([1], tf.string, name="tag")],
)
def tagged(x, tag):
    weight = tf.constant(np.random.default_rng(3).normal(size=(8, 4)), tf.float32)
    return {"y": tf.matmul(x, weight), "tag": tf.identity(tag)}


def test_a_string_input_passes_through():
    rng = np.random.default_rng(4)
    rows = [
        {"x": rng.uniform(-1, 1, (1, 8)).astype(np.float32), "tag": np.array([b"a"], object)}
        for _ in range(4)
    ]
    result = tfq_ext.quantize(tagged, lambda: iter(rows), recipe=MINMAX, show_progress=False)
    assert result.account.float_ops == ()
    assert ("FULLY_CONNECTED", "int8", "int8") in set(details(result.content))


@tf.function(input_signature=[tf.TensorSpec([2, 4, 8], tf.float32)])
def products(x):
    """BATCH_MATMUL of two activations, and an island that no integer op can express."""
    scores = tf.nn.softmax(tf.matmul(x, x, transpose_b=True))
    return tf.matmul(scores, tf.sin(x))


def test_products_of_activations_are_integer_and_a_sine_is_an_island():
    done = quantized(products)
    assert done.islands == {"SIN": "TFLite has no int8 kernel for SIN"}
    assert [r for r in details(done.content) if r[0] == "BATCH_MATMUL"] == [
        ("BATCH_MATMUL", "int8", "int8")
    ] * 2
    assert done.sqnr() > 28


@tf.function(input_signature=[tf.TensorSpec([1, 6, 6, 3], tf.float32)])
def from_other_frameworks(x):
    """GELU by tanh with x**3, rsqrt as a power, add_n, a division by a constant."""
    weight = tf.constant(np.random.default_rng(5).normal(size=(3, 3, 3, 4)) * 0.3, tf.float32)
    y = tf.nn.conv2d(x, weight, 1, "SAME")
    gelu = 0.5 * y * (1 + tf.tanh(0.79788456 * (y + 0.044715 * tf.pow(y, 3.0))))
    power = tf.pow(tf.reduce_mean(tf.square(gelu), -1, keepdims=True) + 0.1, -0.5)
    return tf.add_n([gelu * power, y / 7.0, -y])


def test_what_jax_and_pytorch_write_leaves_no_island():
    done = quantized(from_other_frameworks)
    assert done.islands == {}
    assert done.sqnr() > 20


def test_the_runner_agrees_that_a_string_goes_in(tmp_path):
    """Not only the file: LiteRT takes the string beside the codes."""
    rows = [{"x": np.ones((1, 8), np.float32), "tag": np.array([b"a"], object)}]
    result = tfq_ext.quantize(tagged, lambda: iter(rows * 2), recipe="dynamic")
    assert set(Runner(result.content).outputs) == {"y", "tag"}
