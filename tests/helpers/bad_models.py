"""Files that no runtime should be given: they crash it, hang it, or eat its memory."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from tiny_models import Builder

WHOLE = 1  # SparseIndexVector.Int32Vector


def crash() -> bytes:
    """DENSIFY with indices 2^30 elements away: LiteRT 2.3 writes there while it allocates."""
    b = Builder()
    x = b.tensor("x", (4, 8))
    w = b.tensor("w", (4, 8), values=np.ones(4, np.float32))
    dense, y = b.tensor("dense", (4, 8)), b.tensor("y", (4, 8))
    rows, columns = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    rows.denseSize = 4
    columns.format = schema.DimensionType.SPARSE_CSR
    columns.arraySegmentsType = columns.arrayIndicesType = WHOLE
    columns.arraySegments = _vector([0, 1, 2, 3, 4])
    columns.arrayIndices = _vector([0, 2**30, -(2**30), 3])
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [rows, columns]
    b.graph.tensors[w].sparsity = sparsity
    b.op("DENSIFY", [w], [dense])
    b.op("ADD", [x, dense], [y], "AddOptions")
    b.end([x], [y])
    return b.bytes()


def _vector(values: list[int]) -> schema.Int32VectorT:
    made = schema.Int32VectorT()
    made.values = values
    return made


def endless_loop() -> bytes:
    """WHILE whose condition is true for ever: z = z + z, until z differs from itself."""
    b = Builder()
    x, y = b.tensor("x", (1,)), b.tensor("y", (1,))
    b.op("WHILE", [x], [y], "WhileOptions")
    options = b.graph.operators[0].builtinOptions
    options.condSubgraphIndex, options.bodySubgraphIndex = 1, 2
    b.end([x], [y])
    b.begin()
    z, same = b.tensor("z", (1,)), b.tensor("same", (1,))
    b.graph.tensors[same].type = schema.TensorType.BOOL
    b.op("EQUAL", [z, z], [same], "EqualOptions")
    b.end([z], [same])
    b.begin()
    z, w = b.tensor("z", (1,)), b.tensor("w", (1,))
    b.op("ADD", [z, z], [w], "AddOptions")
    b.end([z], [w])
    return b.bytes()


def calls_itself(through: int = 1) -> bytes:
    """IF whose branches are `through` subgraphs in a ring: LiteRT runs out of its stack."""
    b = Builder()
    for k in range(through):
        if k:
            b.begin()
        condition, x, y = b.tensor("c", (1,)), b.tensor("x", (1, 8)), b.tensor("y", (1, 8))
        b.graph.tensors[condition].type = schema.TensorType.BOOL
        b.op("IF", [condition, condition, x], [y], "IfOptions")
        options = b.graph.operators[0].builtinOptions
        options.thenSubgraphIndex = options.elseSubgraphIndex = (k + 1) % through
        b.end([condition, x], [y])
    return b.bytes()


def hundred_gigabytes() -> bytes:
    """BROADCAST_TO 25.6 milliard floats."""
    side = 160_000
    b = Builder()
    x = b.tensor("x", (1, 1))
    shape = b.tensor("shape", (2,), "int32", values=np.array([side, side], np.int32))
    y = b.tensor("y", (side, side))
    b.op("BROADCAST_TO", [x, shape], [y])
    b.tree.operatorCodes[-1].version = 2
    b.end([x], [y])
    return b.bytes()


def row_out_of_range() -> bytes:
    """GATHER of rows that the table does not have."""
    b = Builder()
    x = b.tensor("x", (4, 8))
    rows = b.tensor("rows", (2,), "int32", values=np.array([10**9, -5], np.int32))
    y = b.tensor("y", (2, 8))
    b.op("GATHER", [x, rows], [y], "GatherOptions")
    b.end([x], [y])
    return b.bytes()


def weight_without_bytes() -> bytes:
    """A weight of 4096 x 64 whose buffer holds 16 values."""
    b = Builder()
    x = b.tensor("x", (1, 64))
    w = b.tensor("w", (4096, 64), values=np.ones(16, np.float32))
    y = b.tensor("y", (1, 4096))
    b.op("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
    b.end([x], [y])
    return b.bytes()
