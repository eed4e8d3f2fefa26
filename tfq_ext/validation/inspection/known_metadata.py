"""Tables of flatbuffer schemas that are not at hand, read by field numbers, and what they say.

Two schemas matter: TensorFlow's conversion_metadata.fbs (who converted, how) and
metadata_schema.fbs of the TFLite support library (name, licence, normalization of the inputs).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

LONGEST = 200  # characters of one text
MOST = 16  # rows of one vector
# ModelOptimizationMode of conversion_metadata.fbs
_MODES = {
    1001: "float16 weights",
    1002: "dynamic range",
    1003: "full integer",
    1004: "int16 activations",
    2000: "quantization-aware training",
    3001: "random sparsity",
    3002: "block sparsity",
    3003: "structured sparsity",
}
# Texts of metadata_schema.fbs, ModelMetadata, by field number
_MODEL_FIELDS = {0: "name", 1: "description", 2: "version", 4: "author", 5: "license", 7: "parser"}
_SUBGRAPHS, _INPUTS, _STEPS, _OPTIONS = 3, 2, 4, 1  # fields on the way to the normalization
_NORMALIZATION = 1  # of the union ProcessUnitOptions


class Table:
    """A flatbuffer table of a schema that is not at hand, by field numbers."""

    def __init__(self, raw: bytes, at: int):
        self.raw, self.at = raw, at
        self.fields = at - struct.unpack_from("<i", raw, at)[0]
        if self.fields < 0:
            raise IndexError("vtable before the file")
        self.length = struct.unpack_from("<H", raw, self.fields)[0]

    def place(self, field: int) -> int:
        """Where a field's value lies; 0 where it is absent."""
        slot = 4 + 2 * field
        if slot + 2 > self.length:
            return 0
        offset = int(struct.unpack_from("<H", self.raw, self.fields + slot)[0])
        return self.at + offset if offset else 0

    def follow(self, field: int) -> int:
        """Where the table, vector or text of a field begins; 0 where it is absent."""
        at = self.place(field)
        return at + int(struct.unpack_from("<I", self.raw, at)[0]) if at else 0

    def string(self, field: int) -> str:
        """Text of a field."""
        at = self.follow(field)
        if not at:
            return ""
        length = struct.unpack_from("<I", self.raw, at)[0]
        return self.raw[at + 4 : at + 4 + min(length, LONGEST)].decode("utf-8", "replace")

    def child(self, field: int) -> Table | None:
        """The table of a field."""
        at = self.follow(field)
        return Table(self.raw, at) if at else None

    def children(self, field: int) -> Iterator[Table]:
        """The tables of a vector."""
        at = self.follow(field)
        count = struct.unpack_from("<I", self.raw, at)[0] if at else 0
        for k in range(min(count, MOST)):
            place = at + 4 + 4 * k
            yield Table(self.raw, place + struct.unpack_from("<I", self.raw, place)[0])

    def numbers(self, field: int, form: str) -> list[float]:
        """The 4-byte numbers of a vector; `form` as struct has them, "f" or "i"."""
        at = self.follow(field)
        count = struct.unpack_from("<I", self.raw, at)[0] if at else 0
        return list(struct.unpack_from(f"<{min(count, MOST)}{form}", self.raw, at + 4 if at else 0))


def root(raw: bytes) -> Table:
    """The table that a flatbuffer begins with."""
    return Table(raw, struct.unpack_from("<I", raw, 0)[0])


def guarded(reader: Callable[[bytes], Iterator[str]]) -> Callable[[bytes], str]:
    """A damaged table says what it says before the damage."""

    def read(raw: bytes) -> str:
        parts = []
        try:
            for part in reader(raw):
                parts.append(part)
        except (struct.error, IndexError, OverflowError):
            parts.append("(damaged)")
        return ", ".join(parts)

    return read


def described(raw: bytes) -> Iterator[str]:
    """TFLITE_METADATA: its texts, and how each input is to be normalized."""
    table = root(raw)
    for graph in table.children(_SUBGRAPHS):
        for tensor in graph.children(_INPUTS):
            for step in tensor.children(_STEPS):
                kind = step.place(0)
                options = step.child(_OPTIONS)
                if kind and raw[kind] == _NORMALIZATION and options is not None:
                    mean, std = (_few(options.numbers(k, "f")) for k in (0, 1))
                    yield f"{tensor.string(0) or 'input'} = (pixel - {mean}) / {std}"
    for field, name in _MODEL_FIELDS.items():
        if said := table.string(field):
            yield f"{name}: {said}"


def _few(numbers: list[float]) -> str:
    texts = list(dict.fromkeys(f"{x:.6g}" for x in numbers))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def converted(raw: bytes) -> Iterator[str]:
    """CONVERSION_METADATA: environment {version, api, kind of model}, options {modes}."""
    table = root(raw)
    if (environment := table.child(0)) is not None and (said := environment.string(0)):
        yield f"TensorFlow {said}"
    if (options := table.child(1)) is not None:
        for mode in options.numbers(0, "i"):
            yield _MODES.get(int(mode), f"optimization {mode}")


READERS: dict[str, Callable[[bytes], str]] = {
    "TFLITE_METADATA": guarded(described),
    "CONVERSION_METADATA": guarded(converted),
}
