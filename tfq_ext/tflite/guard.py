"""Is it safe to build the object tree of these bytes? Before flatbuffers' Python reads them.

The generated Python API believes every offset and count: a vector may claim 2^30 tables, a million
tensors may share one name of 20 MB, and lists are made of all of them. This walks the tables as
the C++ verifier does (bounds, number of tables), with a budget for what is shared besides: time
and memory of the parse stay in proportion to the file. Indices are the matter of guard_tree.

Source: flatbuffers, "FlatBuffer Internals"; verifier.h (at most 1,000,000 tables, as in LiteRT).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from ai_edge_litert import schema_py_generated as schema

from tfq_ext.errors import ModelError

MOST_TABLES = 1_000_000
_TABLE_BYTES = 8  # the least that a table takes: its own offset to its layout, and one to it
_SHARED = 4  # times the file's size that shared vectors may add up to
_SLACK = 2**16  # bytes; small files may share more

_U16, _U32, _I32, _U64 = (struct.Struct(f"<{c}").unpack_from for c in "HIiQ")


@dataclass(frozen=True)
class _Field:
    """What a slot of a table points to.

    Args:
        item: bytes of a vector's element; 0 for tables.
        kind: of the table or of the vector's tables; "" for plain vectors and strings.
        many: a vector of tables.
        union: name of a schema enum whose value, in the slot before, says which table it is.
        data: the bytes stay in the file (views); they are not copied into lists.
    """

    item: int = 0
    kind: str = ""
    many: bool = False
    union: str = ""
    data: bool = False


_TEXT = _INT8 = _Field(1)
_INT16, _INT32, _INT64 = _Field(2), _Field(4), _Field(8)
_INDICES = _Field(union="SparseIndexVector")


def _one(kind: str) -> _Field:
    return _Field(kind=kind)


def _many(kind: str) -> _Field:
    return _Field(kind=kind, many=True)


def _row(item: _Field, *slots: int) -> dict[int, _Field]:
    return dict.fromkeys(slots, item)


# Kind of table -> slot -> what is there; scalars are not listed. Kinds that are absent hold
# scalars only. Source: the schema of LiteRT 2.3 (schema_py_generated).
TABLES: dict[str, dict[int, _Field]] = {
    "Model": {
        1: _many("OperatorCode"),
        2: _many("SubGraph"),
        3: _TEXT,
        4: _many("Buffer"),
        5: _INT32,
        6: _many("Metadata"),
        7: _many("SignatureDef"),
        8: _many("ExternalBufferGroup"),
        9: _many("ExternalBuffer"),
    },
    "OperatorCode": {1: _TEXT},
    "SubGraph": {
        0: _many("Tensor"),
        1: _INT32,
        2: _INT32,
        3: _many("Operator"),
        4: _TEXT,
    },
    "Tensor": {
        0: _INT32,
        3: _TEXT,
        4: _one("QuantizationParameters"),
        6: _one("SparsityParameters"),
        7: _INT32,
        9: _many("VariantSubType"),
    },
    "QuantizationParameters": {
        **_row(_INT32, 0, 1, 2),
        3: _INT64,
        5: _Field(union="QuantizationDetails"),
    },
    "CustomQuantization": {0: _INT8},
    "BlockwiseQuantization": {3: _INT32},
    "MultiAxisQuantization": {3: _INT32},
    "SparsityParameters": {0: _INT32, 1: _INT32, 2: _many("DimensionMetadata")},
    "DimensionMetadata": {3: _INDICES, 5: _INDICES},
    "Int32Vector": {0: _INT32},
    "Uint16Vector": {0: _INT16},
    "Uint8Vector": {0: _INT8},
    "VariantSubType": {0: _INT32},
    "Operator": {
        1: _INT32,
        2: _INT32,
        4: _Field(union="BuiltinOptions"),
        5: _INT8,
        7: _INT8,
        8: _INT32,
        12: _Field(union="BuiltinOptions2"),
    },
    "Buffer": {0: _Field(1, data=True)},
    "Metadata": {0: _TEXT},
    "SignatureDef": {0: _many("TensorMap"), 1: _many("TensorMap"), 2: _TEXT},
    "TensorMap": {0: _TEXT},
    "ExternalBufferGroup": {0: _TEXT},
    "ExternalBuffer": {4: _TEXT},
    "ReshapeOptions": {0: _INT32},
    "SqueezeOptions": {0: _INT32},
    "BucketizeOptions": {0: _INT32},
    "FullyConnectedOptions": {5: _INT8},
    "ConcatEmbeddingsOptions": {1: _INT32, 2: _INT32},
    "VarHandleOptions": {0: _TEXT, 1: _TEXT},
    "StableHLOCompositeOptions": {0: _TEXT, 2: _INT8},
    "StablehloBroadcastInDimOptions": {0: _INT64},
    "StablehloCaseOptions": {0: _INT32},
    "StablehloConvolutionOptions": {
        **_row(_INT64, 0, 1, 2, 3, 7, 10, 13),
        4: _INT8,
        16: _INT32,
    },
    "StablehloCustomCallOptions": {0: _TEXT, 2: _TEXT, 4: _INT32, 5: _INT8},
    "StablehloDotGeneralOptions": {**_row(_INT64, 0, 1, 2, 3), 4: _INT32},
    "StablehloDynamicSliceOptions": {0: _INT64},
    "StablehloGatherOptions": _row(_INT64, 0, 1, 2, 4),
    "StablehloPadOptions": _row(_INT64, 0, 1, 2),
    "StablehloReduceOptions": {0: _INT64},
    "StablehloReduceWindowOptions": _row(_INT64, 0, 1, 2, 3, 4),
    "StablehloScatterOptions": _row(_INT64, 1, 2, 3),
    "StablehloSliceOptions": _row(_INT64, 0, 1, 2),
    "StablehloTransposeOptions": {0: _INT64},
}

_SUBGRAPHS, _BUFFERS = 2, 4  # slots of Model
_NEEDED = {"SubGraph": (0, 3)}  # kind -> slots that LiteRT does not do without
_STORED = {"Tensor": 2, "Metadata": 1}  # kind -> slot of an index into the buffers
_BEHIND = {"Buffer": 1, "Operator": 9}  # kind -> slot of the offset of bytes behind the flatbuffer


def _members(union: str) -> dict[int, str]:
    names = vars(getattr(schema, union)).items()
    return {code: name for name, code in names if not name.startswith("_") and code}


_UNIONS: dict[str, dict[int, str]] = {
    f.union: _members(f.union) for fields in TABLES.values() for f in fields.values() if f.union
}


def guard(data: bytes | bytearray | memoryview, source: str = "model") -> None:
    """Refuse bytes that would cost more than their size to read, or that point outside.

    Raises:
        ModelError: says what is wrong and at which byte.
    """
    _Walk(data, source).model()


@dataclass
class _Walk:
    """One pass over the tables of a file, counting."""

    data: bytes | bytearray | memoryview
    source: str
    tables: int = 0
    copied: int = 0  # bytes of vectors and strings that the parse copies
    viewed: int = 0  # bytes of constants, and of what lies behind the flatbuffer
    layouts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    buffers: int = 0

    def __post_init__(self) -> None:
        self.size = len(self.data)

    def model(self) -> None:
        """The whole file."""
        root = self.u32(0, "the root offset")
        have = dict(enumerate(self.layout(root, "Model")))
        if not (have.get(_SUBGRAPHS) and have.get(_BUFFERS)):
            raise ModelError(f"{self.source} is a .tflite without subgraphs or without buffers.")
        where = root + have[_BUFFERS]
        self.buffers = self.u32(where + self.u32(where, "the buffers"), "the number of buffers")
        self.table(root, "Model")

    def u32(self, at: int, what: str) -> int:
        """An offset or count, after a look whether it lies in the file."""
        if not 0 <= at <= self.size - 4:
            raise self.outside(what, at)
        return int(_U32(self.data, at)[0])

    def outside(self, what: str, at: int) -> ModelError:
        """The error for something that is not in the file."""
        return ModelError(
            f"{self.source} is truncated or damaged: {what} lies at byte {at}, and the file has "
            f"{self.size}. Copy or export it again."
        )

    def missing(self, index: int, kind: str) -> ModelError:
        """The error for an index that points to no buffer."""
        return ModelError(
            f"{self.source} is damaged: an entry ({kind}) has its bytes in buffer {index}, and "
            f"there are {self.buffers}. Export it again."
        )

    def bomb(self, what: str) -> ModelError:
        """The error for a file that unpacks to far more than it is."""
        return ModelError(
            f"{self.source} is damaged or hostile: its {self.size} bytes claim {what}. It was not "
            "read further; export it again."
        )

    def layout(self, at: int, kind: str) -> tuple[int, ...]:
        """Offsets of a table's fields by slot, 0 for absent ones (many tables share a layout)."""
        if not 4 <= at <= self.size - 4:
            raise self.outside(f"a table ({kind})", at)
        start = at - _I32(self.data, at)[0]
        if (known := self.layouts.get(start)) is not None:
            return known
        if not 0 <= start <= self.size - 4:
            raise self.outside(f"the layout of a table ({kind})", start)
        length = _U16(self.data, start)[0]
        if length < 4 or length % 2 or start + length > self.size:
            raise self.outside(f"the end of the layout of a table ({kind})", start + length)
        offsets = struct.unpack_from(f"<{length // 2 - 2}H", self.data, start + 4)
        self.layouts[start] = offsets
        return offsets

    def table(self, at: int, kind: str) -> None:
        """A table and all below it."""
        self.tables += 1
        if self.tables > MOST_TABLES or self.tables * _TABLE_BYTES > self.size + _SLACK:
            raise self.bomb(f"more than {self.tables - 1} tables (ops, tensors, buffers, ...)")
        offsets = self.layout(at, kind)
        self.demands(at, offsets, kind)
        for slot, what in TABLES.get(kind, {}).items():
            if slot < len(offsets) and offsets[slot]:
                self.field(at, offsets, slot, what, kind)

    def demands(self, at: int, offsets: tuple[int, ...], kind: str) -> None:
        """What a kind of table must have, and where its scalars point."""
        if kind in _NEEDED and not all(s < len(offsets) and offsets[s] for s in _NEEDED[kind]):
            raise ModelError(
                f"{self.source} has a subgraph without a list of tensors or of ops; LiteRT does "
                "not take it either. Export it again."
            )
        if kind in _BEHIND:
            self.behind(at, offsets, kind)
        if (slot := _STORED.get(kind, len(offsets))) < len(offsets) and offsets[slot]:
            index = self.u32(at + offsets[slot], f"the buffer of a table ({kind})")
            if index >= self.buffers:
                raise self.missing(index, kind)

    def field(self, at: int, offsets: tuple[int, ...], slot: int, f: _Field, kind: str) -> None:
        """What one slot points to."""
        where = at + offsets[slot]
        target = where + self.u32(where, f"a field of {kind}")
        if f.union:
            code = at + offsets[slot - 1] if offsets[slot - 1] else self.size
            if code < self.size and (member := _UNIONS[f.union].get(self.data[code])):
                self.table(target, member)
        elif f.many:
            self.vector(target, f, kind)
        elif f.kind:
            self.table(target, f.kind)
        else:
            self.plain(target, f, kind)

    def vector(self, at: int, f: _Field, kind: str) -> None:
        """A vector of tables."""
        count = self.u32(at, f"a list of {f.kind}")
        first = at + 4
        if first + 4 * count > self.size:
            raise self.outside(f"the end of a list of {count} {f.kind} tables", first + 4 * count)
        for entry, (offset,) in enumerate(
            struct.iter_unpack("<I", memoryview(self.data)[first : first + 4 * count])
        ):
            self.table(first + 4 * entry + offset, f.kind)

    def plain(self, at: int, f: _Field, kind: str) -> None:
        """A vector of numbers, or a string."""
        size = f.item * self.u32(at, f"a list in {kind}")
        if at + 4 + size > self.size:
            raise self.outside(f"the end of a list in {kind}", at + 4 + size)
        self.spend(size, f.data, kind)

    def spend(self, size: int, viewed: bool, kind: str) -> None:
        """Count bytes, and stop where they are counted too often."""
        if viewed:
            self.viewed += size
        else:
            self.copied += size
        if max(self.viewed, self.copied) > _SHARED * self.size + _SLACK:
            raise self.bomb(f"more than {_SHARED} times as many bytes, shared by many ({kind})")

    def behind(self, at: int, offsets: tuple[int, ...], kind: str) -> None:
        """Bytes behind the flatbuffer (files near 2 GB): offset and size from its start."""
        first = _BEHIND[kind]
        pair = [
            int(_U64(self.data, at + o)[0])
            for o in offsets[first : first + 2]
            if o and at + o + 8 <= self.size
        ]
        if len(pair) == 2 and pair[0]:
            if sum(pair) > self.size:
                raise self.outside(f"the end of the data of a table ({kind})", sum(pair))
            self.spend(pair[1], True, kind)
