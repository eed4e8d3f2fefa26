"""Runner: any .tflite as a function of reals, checked against numpy."""

import numpy as np
import pytest
from tiny_models import (
    add_model,
    cast_model,
    dense_model,
    quantized_io_model,
    rnn_model,
    two_signatures,
)

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.runner import Port, Runner

W = np.array([[1.0, 2.0, -1.0], [0.5, -0.25, 4.0]], np.float32)
X = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0], [0.0, 1.0, 1.0], [7.0, 1.0, -1.0]], np.float32)


def test_float_model_by_signature_name():
    runner = Runner(dense_model(W))
    assert list(runner.inputs) == ["x"]
    assert list(runner.outputs) == ["y"]
    assert runner.inputs["x"].shape == (-1, 3)
    np.testing.assert_allclose(runner({"x": X})["y"], X @ W.T, rtol=1e-6)


def test_tensor_names_without_a_signature():
    runner = Runner(dense_model(W, signature=None))
    assert list(runner.inputs) == ["in"]
    np.testing.assert_allclose(runner({"in": X[:1]})["y0"], X[:1] @ W.T, rtol=1e-6)


def test_a_path_is_as_good_as_bytes(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(dense_model(W))
    np.testing.assert_allclose(Runner(path)({"x": X})["y"], X @ W.T, rtol=1e-6)


def test_dynamic_batch_goes_up_and_down():
    runner = Runner(dense_model(W))
    for rows in (1, 4, 2, 1):
        assert runner({"x": X[:rows]})["y"].shape == (rows, 2)


def test_fixed_batch_runs_in_pieces():
    runner = Runner(dense_model(W, batch=2))
    np.testing.assert_allclose(runner({"x": X})["y"], X @ W.T, rtol=1e-6)
    with pytest.raises(DataError, match=r"shape \(3, 3\); the model takes \(2, 3\)"):
        runner({"x": X[:3]})


def test_outputs_outlive_the_next_call():
    runner = Runner(dense_model(W))
    first = runner({"x": X[:1]})["y"]
    kept = first.copy()
    runner({"x": X[1:2]})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(("dtype", "zero_in", "zero_out"), [("int8", -28, 5), ("uint8", 100, 133)])
def test_quantized_io_is_encoded_and_decoded(dtype, zero_in, zero_out):
    runner = Runner(quantized_io_model(W, (dtype, 0.5, zero_in), (dtype, 0.25, zero_out)))
    x = np.array([[1.26, -2.24, 0.74]], np.float32)  # a hair beyond the half: codes 3, -4, 1
    exact = np.array([[1.5, -2.0, 0.5]], np.float32) @ W.T
    got = runner({"x": x})["y"]
    assert got.dtype == np.float32
    assert np.abs(got - exact).max() <= 0.125 + 1e-6  # half an LSB of the output grid
    assert np.all(got % 0.25 == 0)


@pytest.mark.parametrize(
    ("real", "code"),
    [(-60.0, -128), (-50.0, -128), (-0.25, -29), (-0.24, -28), (0.25, -27), (77.5, 127), (99, 127)],
)
def test_port_encodes_at_the_edges(real, code):
    port = Port("x", 0, (1,), np.dtype("int8"), 0.5, -28)
    assert port.encode(np.array([real], np.float32)).tolist() == [code]


def test_port_reads_integer_arrays_as_reals():
    port = Port("x", 0, (1, 2), np.dtype("uint8"), 2.0, 10)
    codes = port.encode(np.array([[0, 200]], np.uint8))
    assert codes.tolist() == [[10, 110]]
    np.testing.assert_array_equal(port.decode(codes), [[0.0, 200.0]])


def test_port_refuses_nan():
    port = Port("x", 0, (1,), np.dtype("int8"), 0.5, 0)
    with pytest.raises(DataError, match="NaN"):
        port.encode(np.array([np.nan]))


def test_ids_keep_their_values_or_are_refused():
    runner = Runner(cast_model())
    ids = np.array([[1, 2, 70000]], np.int64)
    np.testing.assert_array_equal(runner({"ids": ids})["reals"], [[1.0, 2.0, 70000.0]])
    with pytest.raises(DataError, match="takes int32"):
        runner({"ids": np.array([[1.5, 2.0, 3.0]])})


def test_signatures_on_other_subgraphs():
    model = two_signatures(W, -2 * W)
    np.testing.assert_allclose(Runner(model)({"x": X[:1]})["y"], X[:1] @ W.T, rtol=1e-6)
    other = Runner(model, signature="second")
    np.testing.assert_allclose(other({"x": X})["y"], X @ W.T * -2, rtol=1e-6)
    with pytest.raises(ModelError, match=r"no signature 'third'\. Known: first, second"):
        Runner(model, signature="third")


def test_several_inputs_go_by_name():
    runner = Runner(add_model())
    a, b = np.float32([[1, 2]]), np.float32([[10, 20]])
    np.testing.assert_array_equal(runner({"b": b, "a": a})["sum"], [[11, 22]])
    with pytest.raises(DataError, match="Got inputs a, c; the model takes a, b"):
        runner({"a": a, "c": b})


def test_state_does_not_leak_from_call_to_call():
    runner = Runner(rnn_model())
    x = {"in": np.float32([[[2.0]]])}
    assert [float(runner(x)["out"].item()) for _ in range(3)] == [2.0, 2.0, 2.0]
    steps = []
    for _ in range(3):  # the bare steps keep it, as LiteRT does
        runner.feed(x)
        runner.invoke()
        steps.append(float(runner.read()["out"].item()))
    assert steps == [4.0, 6.0, 8.0]


def test_not_a_model():
    with pytest.raises(ModelError, match=r"not a \.tflite"):
        Runner(b"PK\x03\x04 something else entirely")
