"""The accumulator checker against every input there is, and as typed."""

from __future__ import annotations

import json

import integer_examples as examples
import numpy as np
import pytest
from click.testing import CliRunner
from integer_ops import OneOp, T, model_of
from small_nets import images, residual

import tfq_ext
from tfq_ext.cli import main
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.repair.accumulators import accumulators
from tfq_ext.tflite.read import Model


def dense(codes, bias=None, zero: int = 0, weight_zero: int = 0, dtype: str = "int8") -> OneOp:
    """One dense layer; codes are int8[C, n]."""
    codes = np.asarray(codes, dtype)
    x = T((1, codes.shape[1]), dtype, 0.1, zero)
    w = T((), dtype, 0.1, weight_zero, codes)
    b = None if bias is None else T((), "int32", 0.01, 0, np.asarray(bias, np.int32))
    options = ("FullyConnectedOptions", {"fusedActivationFunction": 0})
    return OneOp("FULLY_CONNECTED", (x, w, b), (T((), dtype, 1.0, 0),), options, 5)


def row_of(one: OneOp, bits: int = 32):
    (row,) = accumulators(model_of(one).to_bytes(), bits)
    return row


def bits_for(worst: int) -> int:
    """Counted: the smallest P whose 2^(P-1) - 1 is no less."""
    p = 1
    while 2 ** (p - 1) - 1 < worst:
        p += 1
    return p


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_every_input_there_is(seed, dtype):
    """Two weights: all 65,536 pairs of codes, both orders of adding, the bias first and last."""
    rng = np.random.default_rng(seed)
    low = -128 if dtype == "int8" else 0
    q = rng.integers(low, low + 256, (1, 2)) // int(rng.choice([1, 5, 40]))
    zero = int(rng.choice([low, low + 255, rng.integers(low, low + 256)]))
    weight_zero = 0 if dtype == "int8" else int(rng.integers(256))
    bias = int(rng.integers(-(10**5), 10**5))
    row = row_of(dense(q, [bias], zero, weight_zero, dtype))
    x = np.arange(low, low + 256) - zero
    a, b = (x * int(c - weight_zero) for c in q[0])
    total = a[:, None] + b[None, :]
    assert row.needed == bits_for(max(np.abs(part).max() for part in (a, b, total)))
    both = max(abs(bias), *(np.abs(part + bias).max() for part in (a, b, total)))
    assert row.with_bias == bits_for(max(both, np.abs(total).max()))
    assert (row.lo, row.hi, row.fan_in, row.channels) == (x[0], x[-1], 2, 1)


OPS = {
    "CONV_2D": (examples.conv_2d, 0),
    "DEPTHWISE_CONV_2D": (examples.depthwise_conv_2d, 3),
    "FULLY_CONNECTED": (examples.fully_connected, 0),
    "TRANSPOSE_CONV": (examples.transpose_conv, 0),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("seed", range(4))
def test_random_layers_channel_by_channel(op, dtype, seed):
    """Loops over channels and weights; also that the bound by type holds whatever the codes."""
    make, axis = OPS[op]
    one = make(np.random.default_rng(seed), dtype)
    row = row_of(one, 14)
    at = 2 if op == "TRANSPOSE_CONV" else 0
    x, w = one.inputs[at], one.inputs[1]
    width = 16 if dtype == "int16" else 8
    lo = (0 if dtype == "uint8" else -(2 ** (width - 1))) - int(x.zero)
    hi = lo + 2**width - 1
    codes = np.moveaxis(np.asarray(w.values, np.int64), axis, 0)
    needs = []
    for channel in codes.reshape(len(codes), -1):
        sums = [0, 0]
        for q in channel - int(np.atleast_1d(w.zero)[0]):
            sums = [sums[0] + min(q * lo, q * hi), sums[1] + max(q * lo, q * hi)]
        needs.append(bits_for(max(-sums[0], sums[1])))
    assert row.op == op
    assert row.needed == max(needs) <= row.by_type
    assert row.over == tuple(c for c, bits in enumerate(needs) if bits > 14)
    assert row.fits == (max(needs) <= 14)
    assert row.fan_in == codes[0].size


def test_int4_weights_are_counted_as_such():
    one = examples.conv_2d(np.random.default_rng(3), "int8", "int4")
    row = row_of(one)
    assert row.weight_bits == 4
    assert row.needed <= row.by_type


def test_weights_of_zeros_need_one_bit():
    assert row_of(dense(np.zeros((3, 4)))).needed == 1


def test_float_and_hybrid_layers_have_no_row():
    assert accumulators(residual().to_bytes()) == ()
    hybrid = tfq_ext.quantize(residual().to_bytes(), recipe="dynamic")
    assert accumulators(hybrid.content) == ()


def test_a_file_of_ours_in_execution_order(tmp_path):
    content = tfq_ext.quantize(residual().to_bytes(), images(16), recipe="int8-minmax").content
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    rows = accumulators(path, 16)
    assert rows == accumulators(content, 16)
    assert [row.op for row in rows] == [
        "CONV_2D",
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "FULLY_CONNECTED",
    ]
    assert [row.fan_in for row in rows] == [27, 72, 9, 8]
    assert all(row.needed <= row.with_bias <= 32 for row in rows)


def test_what_is_no_question():
    with pytest.raises(SpecError, match="2 to 64 bits"):
        accumulators(residual().to_bytes(), 1)
    with pytest.raises(ModelError):
        accumulators(b"nothing")


@pytest.mark.parametrize("quantization", [None, "empty"])
def test_a_file_without_grids_counts_its_codes_as_they_are(quantization):
    model = model_of(dense([[3, -4]]))
    for tensor in model.graphs[0].tensors:
        if quantization is None:
            tensor.quantization = None
        else:
            tensor.quantization.zeroPoint = None
    (row,) = accumulators(model.to_bytes())
    assert row.needed == bits_for(7 * 128)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("sums") / "net.tflite"
    recipe = {"base": "int8-minmax", "rules": [{"position": "first", "rounding": "a2q:16"}]}
    path.write_bytes(tfq_ext.quantize(residual().to_bytes(), images(16), recipe=recipe).content)
    return path


def typed(*arguments, columns=80):
    return CliRunner().invoke(
        main, ["inspect", *map(str, arguments)], env={"COLUMNS": str(columns)}
    )


def test_typed_it_prints_a_line_a_layer_and_the_verdict(path):
    result = typed(path, "--accumulator", 16)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "1 of 4 layers cannot overflow 16 bits" in result.stdout
    assert "a2q:16" in result.stdout
    assert sum("of 8" in line for line in lines) == 2
    assert max(map(len, lines)) <= 80
    assert "Where the bytes are" not in result.stdout


def test_typed_for_machines_and_filtered(path):
    found = json.loads(typed(path, "--accumulator", 16, "--json", "--op", "conv*").stdout)
    assert found["accumulator_bits"] == 16
    assert [row["op"] for row in found["layers"]] == ["CONV_2D", "CONV_2D"]
    assert [row["fits"] for row in found["layers"]] == [True, False]
    assert found["layers"][1]["over"]
    assert json.loads(typed(path, "--accumulator", 32, "--json").stdout)["layers"][1]["fits"]


def test_typed_for_a_float_file(tmp_path):
    path = tmp_path / "float.tflite"
    path.write_bytes(Model.to_bytes(residual()))
    assert "No layer with integer weights" in typed(path, "--accumulator", 16).stdout
    assert typed(path, "--accumulator", 1).exit_code == 2
