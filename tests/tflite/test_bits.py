"""Packed codes, against shifting by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfq_ext.errors import ModelError
from tfq_ext.tflite.bits import pack, stored_bytes, unpack


def test_int4_holds_the_first_code_in_the_low_nibble():
    assert pack(np.array([1, -1, 7]), "int4").tolist() == [0xF1, 0x07]


def test_int2_holds_four_codes_lowest_first():
    assert pack(np.array([1, -1, 0, -2, 1]), "int2").tolist() == [0b10_00_11_01, 0b01]


@given(st.lists(st.integers(-8, 7), max_size=33))
def test_int4_round_trip(codes):
    raw = pack(np.array(codes, np.int8), "int4")
    assert len(raw) == (len(codes) + 1) // 2
    assert unpack(raw, "int4", (len(codes),)).tolist() == codes


@given(st.lists(st.integers(-2, 1), max_size=17))
def test_int2_round_trip(codes):
    assert unpack(pack(np.array(codes), "int2"), "int2", (len(codes),)).tolist() == codes


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int16", "int64", "bool"])
def test_plain_types_round_trip(dtype):
    values = np.array([[0, 1, 2], [3, 1, 0]]).astype(dtype)
    assert np.array_equal(unpack(pack(values, dtype), dtype, (2, 3)), values)


def test_stored_bytes_are_those_that_packing_gives():
    for dtype in ("int2", "int4", "int8", "float16", "float32", "int64", "bool"):
        for shape in ((), (1,), (3, 3), (5, 0), (2, 4)):
            assert stored_bytes(dtype, shape) == len(pack(np.zeros(shape, np.int64), dtype))
    assert stored_bytes("int8", (-1, 4)) is None
    assert stored_bytes("string", (4,)) is None


def test_a_constant_with_too_few_bytes_is_refused():
    with pytest.raises(ModelError, match=r"\(2, 2\) float32 has only 12 bytes"):
        unpack(np.zeros(12, np.uint8), "float32", (2, 2))


def test_text_is_refused():
    with pytest.raises(ModelError, match="string"):
        unpack(np.zeros(4, np.uint8), "string", (1,))
