"""Seeded damage: case k is always the same bytes, whatever ran before it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import numpy as np
import one_op
import small_nets
import tiny_models
from bad_models import endless_loop

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan

ZOO = Path(os.environ.get("TFQ_ZOO", "does-not-exist"))
LARGEST = 400_000  # bytes; larger files only make a case slower, not worse
WORDS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**16, 2**20, 2**30)


@cache
def seeds() -> dict[str, bytes]:
    """name -> an honest file."""
    weights = np.ones((2, 3), np.float32)
    grid = ("int8", 0.5, 0)
    made = {
        "float": small_nets.residual().to_bytes(),
        "int8": _int8(),
        "two signatures": tiny_models.two_signatures(weights, weights),
        "integer ports": tiny_models.quantized_io_model(weights, grid, grid),
        "dynamic batch": tiny_models.dense_model(weights),
        "stateful": tiny_models.rnn_model(),
        "loop": endless_loop(),
    }
    zoo = {p.name: p.read_bytes() for p in sorted(ZOO.glob("*.tflite"))}
    return made | {name: data for name, data in zoo.items() if len(data) <= LARGEST}


def _int8() -> bytes:
    model = small_nets.residual()
    ranges = one_op.observe(model, {"image": small_nets.images(1)})
    return static.emit(model, Plan(ranges, one_op.weights_of(model))).content


def _flip(data: bytearray, rng: Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, rng: Random) -> None:
    del data[rng.randrange(len(data)) :]


def _insert(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data))
    data[at:at] = rng.randbytes(rng.choice((1, 4, 8)))


def _delete(data: bytearray, rng: Random) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.choice((1, 4, 8))]


def _word(data: bytearray, rng: Random) -> None:
    """An aligned word of 32 bits becomes an edge, a small number, or anything."""
    at = 4 * rng.randrange(len(data) // 4)
    word = rng.choice((*WORDS, len(data), rng.randrange(256), rng.randrange(2**32)))
    data[at : at + 4] = word.to_bytes(4, "little")


def _copy(data: bytearray, rng: Random) -> None:
    """A piece over another: offsets that meet where they should not."""
    n = rng.choice((4, 16, 64))
    a, b = (rng.randrange(max(len(data) - n, 1)) for _ in range(2))
    data[a : a + n] = data[b : b + n]


MUTATIONS: dict[str, Callable[[bytearray, Random], None]] = {
    "flip": _flip,
    "truncate": _truncate,
    "insert": _insert,
    "delete": _delete,
    "word": _word,
    "copy": _copy,
}
_DRAWN = ("flip",) * 4 + ("word",) * 4 + ("copy", "copy", "truncate", "insert", "delete")


def case(k: int) -> tuple[str, bytes]:
    """(what was done to which file, the bytes)."""
    rng = Random(f"tfq {k}")
    name = rng.choice(sorted(seeds()))
    kind = rng.choice(_DRAWN)
    data = bytearray(seeds()[name])
    MUTATIONS[kind](data, rng)
    return f"case {k}: {kind} of {name!r}", bytes(data)
