"""Files that no runtime should be given: they crash it, hang it, or eat its memory."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny_models import TYPES, Builder


def out_of_range_gather() -> bytes:
    """GATHER with constant rows far outside of the table."""
    b = Builder()
    x = b.tensor("x", (4, 8))
    rows = b.tensor("rows", (3,), "int32", values=np.array([10**9, -(10**9), 2**31 - 1], np.int32))
    y = b.tensor("y", (3, 8))
    b.op("GATHER", [x, rows], [y], "GatherOptions")
    b.end([x], [y])
    return b.bytes()


def endless_loop() -> bytes:
    """WHILE whose condition is true for ever."""
    b = Builder()
    x, y = b.tensor("x", (1,)), b.tensor("y", (1,))
    b.op("WHILE", [x], [y], "WhileOptions")
    options = b.graph.operators[0].builtinOptions
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    b.end([x], [y])
    b.begin()
    z = b.tensor("z", (1,))
    same = b.tensor("same", (1,), "int32")
    b.graph.tensors[same].type = schema.TensorType.BOOL
    b.op("EQUAL", [z, z], [same], "EqualOptions")
    b.end([z], [same])
    b.begin()
    z, w = b.tensor("z", (1,)), b.tensor("w", (1,))
    b.op("ADD", [z, z], [w], "AddOptions")
    b.end([z], [w])
    return b.bytes()


def hundred_gigabytes() -> bytes:
    """BROADCAST_TO 25 milliard floats."""
    b = Builder()
    x = b.tensor("x", (1, 1))
    shape = b.tensor("shape", (2,), "int32", values=np.array([160_000, 160_000], np.int32))
    y = b.tensor("y", (160_000, 160_000))
    b.op("BROADCAST_TO", [x, shape], [y])
    b.tree.operatorCodes[-1].version = 2
    b.end([x], [y])
    return b.bytes()


def lying_conv() -> bytes:
    """A weight whose buffer is far smaller than its shape says."""
    b = Builder()
    x = b.tensor("x", (1, 64))
    w = b.tensor("w", (4096, 64), values=np.ones(16, np.float32))
    y = b.tensor("y", (1, 4096))
    b.op("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    b.end([x], [y])
    return b.bytes()

def ids_out_of_range() -> bytes:
    """EMBEDDING_LOOKUP."""
    b = Builder()
    ids = b.tensor("ids", (2,), "int32", values=np.array([2**30, 2**30], np.int32))
    t = b.tensor("table", (4, 8))
    y = b.tensor("y", (2, 8))
    b.op("EMBEDDING_LOOKUP", [ids, t], [y])
    b.end([t], [y])
    return b.bytes()

def scatter() -> bytes:
    b = Builder()
    i = b.tensor("i", (1,1), "int32", values=np.array([[2**29]], np.int32))
    u = b.tensor("u", (1, 8))
    s = b.tensor("s", (2,), "int32", values=np.array([4, 8], np.int32))
    y = b.tensor("y", (4, 8))
    b.op("SCATTER_ND", [i, u, s], [y])
    b.end([u], [y])
    return b.bytes()
assert TYPES
