"""Frames over a socket: a head, the sizes of the blobs, a JSON text, the blobs."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

from tfq_ext.validation.sandbox.wire import WireError, decode, encode

_HEAD = struct.Struct("<4sII")  # magic, bytes of JSON, number of blobs
_MAGIC = b"TFQ1"
_SMALL = 2**16  # blobs up to this size travel in one piece with what stands before them
_MOST = 2**35  # bytes of one blob; a damaged child claims more
_MANY = 2**20  # blobs of one frame


class Closed(ConnectionError):
    """The other end is gone."""


def send(sock: socket.socket, kind: str, value: Any = None) -> None:
    """One message. Nothing has been sent when the value cannot be encoded (WireError)."""
    text, blobs = encode(value)
    name = json.dumps(kind).encode("ascii")
    text = b"[" + name + b"," + text + b"]"
    sizes = struct.pack(f"<{len(blobs)}Q", *(b.nbytes for b in blobs))
    pending = bytearray(_HEAD.pack(_MAGIC, len(text), len(blobs)) + sizes + text)
    try:
        for blob in blobs:
            if blob.nbytes <= _SMALL:
                pending += blob
                continue
            sock.sendall(pending)
            sock.sendall(blob)
            pending = bytearray()
        sock.sendall(pending)
    except (BrokenPipeError, ConnectionResetError):
        raise Closed("the other end is gone") from None


def receive(sock: socket.socket) -> tuple[str, Any]:
    """The next message: (kind, value).

    Raises:
        Closed: the other end is gone.
        TimeoutError: nothing came for the socket's timeout.
        WireError: that was no message.
    """
    magic, length, count = _HEAD.unpack(_read(sock, _HEAD.size).data)
    if magic != _MAGIC or count > _MANY:
        raise WireError("what it sent is no message")
    sizes = struct.unpack(f"<{count}Q", _read(sock, 8 * count).data)
    if any(size > _MOST for size in sizes):
        raise WireError("what it sent claims an absurd size")
    text = _read(sock, length)
    blobs = [_read(sock, size) for size in sizes]
    kind, value = _parts(text.tobytes(), blobs)
    return kind, value


def _parts(text: bytes, blobs: list[np.ndarray]) -> tuple[str, Any]:
    message = decode(text, blobs)
    if not isinstance(message, list) or len(message) != 2 or not isinstance(message[0], str):
        raise WireError("what it sent is no message")
    return message[0], message[1]


def _read(sock: socket.socket, size: int) -> np.ndarray:
    """uint8[size], received in place."""
    room = np.empty(size, np.uint8)
    view, done = room.data, 0
    while done < size:
        try:
            n = sock.recv_into(view[done:])
        except ConnectionResetError:
            n = 0
        if n == 0:
            raise Closed("the other end is gone")
        done += n
    return room
