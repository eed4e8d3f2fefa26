"""The TFRecord container and the tf.train.Example message, read without TensorFlow."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import DataError

Feature = np.ndarray | list[bytes]
_MASK = 0xA282EAD8
_MAX_RECORD = 1 << 31


def records(path: Path) -> Iterator[bytes]:
    """The payloads of one file, in order; gzip is recognised by its first bytes.

    A record is: uint64 length, masked CRC32C of those 8 bytes, payload, masked CRC32C of it.

    Raises:
        DataError: not a TFRecord, truncated, or a checksum that does not hold.
    Source: tensorflow/core/lib/io/record_writer.h.
    """
    number = 0
    try:
        with _opened(path) as file:
            while head := file.read(12):
                yield _payload(file, head, f"{path.name}, record {number}")
                number += 1
    except (OSError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}).") from None


def example(payload: bytes, what: str) -> dict[str, Feature]:
    """The features of one tf.train.Example: int64[N], float32[N] or a list of bytes, by name.

    Raises:
        DataError: the payload is no Example.
    Source: tensorflow/core/example/{example,feature}.proto; protobuf wire format.
    """
    features: dict[str, Feature] = {}
    try:
        for number, value in _fields(payload):
            if number == 1:
                for _, entry in _fields(_bytes(value)):
                    pair = {key: _bytes(part) for key, part in _fields(_bytes(entry))}
                    features[pair[1].decode()] = _feature(pair.get(2, b""))
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise DataError(
            f"{what} is no tf.train.Example ({type(error).__name__}). For another encoding, pass a "
            "tf.data.Dataset that parses it."
        ) from None
    return features


def masked_crc(data: bytes) -> int:
    """CRC32C, rotated and offset as TFRecord stores it."""
    crc = int(_crc_loop()(np.frombuffer(data, np.uint8), _crc_table()))
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


def _opened(path: Path) -> BinaryIO:
    with open(path, "rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if zipped else open(path, "rb")  # type: ignore[return-value]


def _payload(file: BinaryIO, head: bytes, where: str) -> bytes:
    if len(head) < 12:
        raise DataError(f"{where}: truncated, {len(head)} of 12 header bytes. Copy it again.")
    length, check = struct.unpack("<QI", head)
    if check != masked_crc(head[:8]) or length > _MAX_RECORD:
        raise DataError(f"{where}: the length's checksum fails: no TFRecord file, or damaged.")
    body = file.read(length + 4)
    if len(body) < length + 4:
        raise DataError(f"{where}: truncated, {len(body)} of {length + 4} bytes. Copy it again.")
    payload, (check,) = body[:length], struct.unpack("<I", body[length:])
    if check != masked_crc(payload):
        raise DataError(f"{where}: the payload's checksum fails; the file is damaged.")
    return payload


def _feature(data: bytes) -> Feature:
    for kind, body in _fields(data):  # one of bytes_list, float_list, int64_list
        return _LISTS[kind](_bytes(body))
    return []


def _byte_list(data: bytes) -> list[bytes]:
    return [_bytes(value) for _, value in _fields(data)]


def _float_list(data: bytes) -> np.ndarray:
    parts = [np.frombuffer(_bytes(value), "<f4") for _, value in _fields(data)]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _int_list(data: bytes) -> np.ndarray:
    values: list[int] = []
    for _, value in _fields(data):
        values += [value] if isinstance(value, int) else _varints(value)
    return np.array(values, np.uint64).view(np.int64)  # negative numbers are two's complement


_LISTS: dict[int, Callable[[bytes], Feature]] = {1: _byte_list, 2: _float_list, 3: _int_list}


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """(field number, value) of one message: int for varints, bytes for all else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}[wire]
        if at + length > len(data):
            raise ValueError("a field reaches past the end")
        yield number, data[at : at + length]
        at += length


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message belongs")
    return value


def _varints(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _varint(data: Sequence[int], at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint of over ten bytes")


@cache
def _crc_table() -> np.ndarray:
    """The byte table of CRC32C (Castagnoli, reflected polynomial 0x82F63B78): uint32[256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table.astype(np.uint32)


@cache
def _crc_loop():  # type: ignore[no-untyped-def]  # numba's dispatcher has no public type
    numba = need("numba", why="checking TFRecord files")

    def crc32c(data, table):  # type: ignore[no-untyped-def]
        crc = np.uint32(0xFFFFFFFF)
        for byte in data:
            crc = table[(crc ^ byte) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
        return crc ^ np.uint32(0xFFFFFFFF)

    try:
        return numba.njit(cache=True, nogil=True)(crc32c)
    except RuntimeError:  # no folder that can be written: see numerics/jit.py
        return numba.njit(nogil=True)(crc32c)
