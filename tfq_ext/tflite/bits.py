"""Packing of codes into flatbuffer bytes: INT4 two a byte, INT2 four, lowest bits first."""

from __future__ import annotations

import math

import numpy as np

from tfq_ext.errors import ModelError

_PACKED = {"int4": 4, "int2": 2}
_NUMPY = {
    "float32": "<f4",
    "float16": "<f2",
    "float64": "<f8",
    "int8": "i1",
    "uint8": "u1",
    "int16": "<i2",
    "uint16": "<u2",
    "int32": "<i4",
    "uint32": "<u4",
    "int64": "<i8",
    "uint64": "<u8",
    "bool": "?",
    "complex64": "<c8",
    "complex128": "<c16",
}


def stored_bytes(dtype: str, shape: tuple[int, ...]) -> int | None:
    """Bytes that a constant takes in a file; None for an open shape or a type without a size."""
    n = math.prod(shape)
    if min(shape, default=0) < 0:
        return None
    if dtype in _PACKED:
        return -(-n * _PACKED[dtype] // 8)
    return n * np.dtype(_NUMPY[dtype]).itemsize if dtype in _NUMPY else None


def pack(codes: np.ndarray, dtype: str) -> np.ndarray:
    """Codes to file bytes.

    Args:
        codes: integers of any shape, row-major.
        dtype: "int4" or "int2" (packed), else a plain type that `codes` is cast to.

    Returns:
        uint8[n] bytes.
    """
    if dtype not in _PACKED:
        flat = np.ascontiguousarray(codes, _NUMPY[dtype]).reshape(-1)
        return flat.view(np.uint8)
    width = _PACKED[dtype]
    per_byte = 8 // width
    flat = np.ascontiguousarray(codes).reshape(-1).astype(np.int8).view(np.uint8)
    flat = np.concatenate([flat, np.zeros(-len(flat) % per_byte, np.uint8)]) & (2**width - 1)
    shifts = np.arange(per_byte, dtype=np.uint8) * width
    return np.bitwise_or.reduce(flat.reshape(-1, per_byte) << shifts, axis=1).astype(np.uint8)


def unpack(raw: np.ndarray, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """File bytes to values; 4- and 2-bit codes come back as int8.

    Raises:
        ModelError: fewer bytes than the shape needs, an open shape, or a type that is not plain
            (strings).
    """
    if min(shape, default=0) < 0:
        raise ModelError(f"A constant has the open shape {shape}; its values cannot be read.")
    n = int(np.prod(shape, dtype=np.int64))
    if dtype in _PACKED:
        width = _PACKED[dtype]
        shifts = np.arange(8 // width, dtype=np.uint8) * width
        fields = ((raw[:, None] >> shifts) & (2**width - 1)).reshape(-1)
        values = fields.astype(np.int16)
        values = np.where(values >= 2 ** (width - 1), values - 2**width, values).astype(np.int8)
    elif dtype in _NUMPY:
        itemsize = np.dtype(_NUMPY[dtype]).itemsize
        values = np.frombuffer(raw[: len(raw) // itemsize * itemsize].tobytes(), _NUMPY[dtype])
    else:
        raise ModelError(f"Constants of type {dtype} cannot be read as numbers.")
    if len(values) < n:
        raise ModelError(f"A constant of shape {shape} {dtype} has only {len(raw)} bytes.")
    return values[:n].reshape(shape)
