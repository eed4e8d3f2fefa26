"""A .tflite in the hand: the flatbuffer's object tree with the look-ups that every stage needs."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from tfq_ext.errors import ModelError
from tfq_ext.tflite import bits
from tfq_ext.tflite.facts import DTYPES, NO_BUFFER, OP_NAMES
from tfq_ext.tflite.guard import guard
from tfq_ext.tflite.guard_tree import guard_tree

MAX_BYTES = 2**31 - 1  # flatbuffer offsets are 32 bit, signed in most readers


class Graph:
    """One subgraph: tensors, ops, and who makes and who reads each tensor.

    The look-ups (`producer`, `consumers`) are computed on first use; a pass that edits the
    tree calls `changed()` afterwards.
    """

    def __init__(self, model: Model, index: int):
        self.model = model
        self.index = index
        self.tree: Any = model.tree.subgraphs[index]

    @property
    def tensors(self) -> list[Any]:
        """schema TensorT objects, by tensor index."""
        return self.tree.tensors

    @property
    def ops(self) -> list[Any]:
        """schema OperatorT objects, in execution order."""
        return self.tree.operators

    @property
    def inputs(self) -> list[int]:
        """Tensor indices of the subgraph's inputs."""
        return list(self.tree.inputs)

    @property
    def outputs(self) -> list[int]:
        """Tensor indices of the subgraph's outputs."""
        return list(self.tree.outputs)

    @property
    def is_entry(self) -> bool:
        """Whether callers start here; False for the body of a loop or branch."""
        entries = {s.subgraphIndex for s in self.model.tree.signatureDefs or ()}
        return self.index == 0 or self.index in entries

    def code(self, op: Any) -> str:
        """The op's name: "CONV_2D", or "CUSTOM:name" / "FLEX:name" for ops outside the builtins."""
        return self.model.op_name(op.opcodeIndex)

    def name(self, tensor: int) -> str:
        """The tensor's name as text (bytes that are not UTF-8 are escaped)."""
        raw = self.tensors[tensor].name or b""
        return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)

    def dtype(self, tensor: int) -> str:
        """numpy-like type name: "float32", "int8", "int4", ..."""
        return DTYPES.get(self.tensors[tensor].type, f"type{self.tensors[tensor].type}")

    def shape(self, tensor: int) -> tuple[int, ...]:
        """The static shape; -1 where it is dynamic (from shapeSignature)."""
        t = self.tensors[tensor]
        signature = t.shapeSignature
        return tuple(int(d) for d in (t.shape if signature is None else signature) or ())

    def is_constant(self, tensor: int) -> bool:
        """True when the tensor's values are stored in the file."""
        if tensor < 0:
            return False
        data = self.model.tree.buffers[self.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def constant(self, tensor: int) -> np.ndarray | None:
        """The stored values (4- and 2-bit codes unpacked to int8), or None. Read-only view."""
        if not self.is_constant(tensor):
            return None
        t = self.tensors[tensor]
        raw = np.asarray(self.model.tree.buffers[t.buffer].data, np.uint8)
        return bits.unpack(raw, self.dtype(tensor), tuple(t.shape or ()))

    @cached_property
    def producer(self) -> dict[int, int]:
        """tensor index -> index of the op that writes it."""
        return {t: k for k, op in enumerate(self.ops) for t in op.outputs or () if t >= 0}

    @cached_property
    def consumers(self) -> dict[int, list[int]]:
        """tensor index -> indices of the ops that read it, in order, each once."""
        table: dict[int, list[int]] = {}
        for k, op in enumerate(self.ops):
            for t in dict.fromkeys(op.inputs if op.inputs is not None else ()):
                if t >= 0:
                    table.setdefault(int(t), []).append(k)
        return table

    @cached_property
    def by_name(self) -> dict[str, int]:
        """tensor name -> index (the last one where names repeat)."""
        return {self.name(i): i for i in range(len(self.tensors))}

    def changed(self) -> None:
        """Forget the look-ups after an edit."""
        for key in ("producer", "consumers", "by_name"):
            self.__dict__.pop(key, None)


class Model:
    """A parsed .tflite.

    Raises:
        ModelError: not a .tflite, truncated, or over the 2 GB that a flatbuffer can hold.
    """

    def __init__(self, tree: Any):
        self.tree = tree
        self.graphs = [Graph(self, k) for k in range(len(tree.subgraphs or ()))]

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, *, source: str = "model") -> Model:
        """Read the bytes of a .tflite into an editable tree."""
        check_header(data, source)
        guard(data, source)
        try:
            tree = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
            if not tree.subgraphs or tree.buffers is None:
                raise ValueError("no subgraph")
        except Exception as error:  # flatbuffers raises struct.error, IndexError, TypeError, ...
            raise ModelError(
                f"{source} starts like a .tflite but cannot be read ({type(error).__name__}: "
                f"{error}). The file is truncated or damaged; copy or export it again."
            ) from None
        guard_tree(tree, source)
        return cls(tree)

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | bytearray) -> Model:
        """Read a path or bytes."""
        data = read_bytes(source)
        return cls.parse(data, source=describe(source))

    def to_bytes(self) -> bytes:
        """Serialise; the inverse of `parse`."""
        size = sum(len(b.data) for b in self.tree.buffers if b.data is not None)
        if size > MAX_BYTES:
            raise ModelError(
                f"The model's constants take {size / 2**30:.2f} GiB; a .tflite holds 2 GiB. "
                "Use fewer bits for the weights or split the model."
            )
        builder = flatbuffers.Builder(size + 65536)
        builder.Finish(self.tree.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def copy(self) -> Model:
        """An independent tree; the large constant buffers are shared, never written in place."""
        memo = {id(b.data): b.data for b in self.tree.buffers if b.data is not None}
        return Model(copy.deepcopy(self.tree, memo))

    def op_name(self, opcode_index: int) -> str:
        """Name of an entry of the op code table."""
        entry = self.tree.operatorCodes[opcode_index]
        code = max(entry.builtinCode, entry.deprecatedBuiltinCode)
        if code != schema.BuiltinOperator.CUSTOM:
            return OP_NAMES.get(code, f"BUILTIN_{code}")
        raw = entry.customCode or b""
        name = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else str(raw)
        return f"FLEX:{name[4:]}" if name.startswith("Flex") else f"CUSTOM:{name}"

    def walk(self) -> Iterator[tuple[Graph, int, Any, str]]:
        """Every op of every subgraph: (graph, op index, OperatorT, name)."""
        for graph in self.graphs:
            for k, op in enumerate(graph.ops):
                yield graph, k, op, graph.code(op)

    @property
    def signatures(self) -> dict[str, Any]:
        """signature key -> SignatureDefT."""
        return {text(s.signatureKey): s for s in self.tree.signatureDefs or ()}

    @property
    def primary(self) -> str | None:
        """Key of the first subgraph's signature; None where it has none."""
        return next((k for k, s in self.signatures.items() if not s.subgraphIndex), None)

    def key_of(self, signature: str | None) -> str | None:
        """The signature that is run: the one asked for, else that of the first subgraph.

        Raises:
            ModelError: there is no such signature.
        """
        if signature is not None and signature not in self.signatures:
            known = ", ".join(self.signatures) or "none"
            raise ModelError(f"The model has no signature {signature!r}. Known: {known}.")
        return self.primary if signature is None else signature

    def graph_of(self, signature: str | None) -> Graph:
        """The subgraph that a signature runs; the first one for None."""
        if signature is None or signature not in self.signatures:
            return self.graphs[0]
        return self.graphs[self.signatures[signature].subgraphIndex]


def text(raw: bytes | str | None) -> str:
    """Flatbuffer string to str."""
    return raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else (raw or "")


def check_header(data: bytes | bytearray | memoryview, source: str) -> None:
    """Refuse what cannot be a .tflite before flatbuffers touches it."""
    if len(data) == 0:
        raise ModelError(f"{source} is empty (0 bytes).")
    if len(data) > MAX_BYTES:
        raise ModelError(f"{source} has {len(data)} bytes; a .tflite holds at most 2 GiB.")
    check_magic(bytes(data[:8]), source)
    if len(data) < 16:
        raise ModelError(f"{source} has only {len(data)} bytes: it is truncated. Copy it again.")


_OTHERS = {  # first bytes -> what people give by mistake
    b"PK\x03\x04": "a .keras file or another zip",
    b"\x89HDF": "a Keras .h5 file",
}


def check_magic(head: bytes, source: str) -> None:
    """Refuse what does not begin as a .tflite does."""
    if head[4:8] != b"TFL3":
        for magic, kind in _OTHERS.items():
            if bytes(head).startswith(magic):
                raise ModelError(
                    f"{source} is {kind}, not a .tflite. Where a reference is asked for it may be "
                    "given as it is; else convert it first: tfq quantize makes a .tflite."
                )
        raise ModelError(
            f"{source} is not a .tflite: bytes 4..8 should be b'TFL3', the file begins {head!r}."
        )


def read_bytes(source: str | os.PathLike[str] | bytes | bytearray, *, magic: bool = True) -> bytes:
    """The bytes of a path, or the bytes themselves.

    Args:
        source: path or bytes.
        magic: refuse a path that does not begin as a .tflite, before it is read.
    """
    if isinstance(source, bytes | bytearray):
        return bytes(source)
    try:
        if (size := Path(source).stat().st_size) > MAX_BYTES:  # before it fills the memory
            raise ModelError(f"{source} has {size} bytes; a .tflite holds at most 2 GiB.")
        with Path(source).open("rb") as file:
            head = file.peek(8)[:8]
            if magic and len(head) == 8:  # before 2 GB of something else are read
                check_magic(head, str(source))
            content = file.read(MAX_BYTES + 1)  # a device has no size and no end
    except OSError as error:
        raise ModelError(f"Cannot read {source}: {error.strerror or error}.") from None
    if len(content) > MAX_BYTES:
        raise ModelError(f"{source} does not end after 2 GiB; a .tflite holds at most that.")
    return content


def is_tflite(source: object) -> bool:
    """Whether it is a .tflite's path: by its content where there is a file, for names lie."""
    if not isinstance(source, str | os.PathLike) or Path(source).is_dir():
        return False
    if Path(source).suffix in (".tflite", ".lite"):  # read_bytes says what is wrong with it
        return True
    try:
        with Path(source).open("rb") as file:
            return file.read(8)[4:] == b"TFL3"
    except OSError:
        return False


def describe(source: object) -> str:
    """A short name for messages."""
    return str(source) if isinstance(source, str | os.PathLike) else "the model"


def digest(data: bytes) -> str:
    """sha256 of a file's bytes, hex."""
    return hashlib.sha256(data).hexdigest()


__all__ = [
    "NO_BUFFER",
    "Graph",
    "Model",
    "check_header",
    "describe",
    "digest",
    "is_tflite",
    "read_bytes",
    "text",
]
