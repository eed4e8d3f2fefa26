"""Float flatbuffers for the cases that break others, built without TensorFlow."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from one_op import Net, X, f32

from tfq_ext.tflite.patch import add_buffer
from tfq_ext.tflite.read import Model

DENSE = ("FullyConnectedOptions", {})
CONV = ("Conv2DOptions", {"padding": 0, "strideW": 1, "strideH": 1})


def tied_table() -> Model:
    """GATHER rows of a table, a dense layer, and scores by FULLY_CONNECTED with that table."""
    net = Net()
    net.input("ids", X((5,), 0, 6, "int32"))
    net.const("table", f32(7, 6))
    net.const("w", f32(6, 6, seed=2))
    net.op("GATHER", "rows", "table", "ids", options=("GatherOptions", {}))
    net.op("FULLY_CONNECTED", "hidden", "rows", "w", options=DENSE)
    net.op("FULLY_CONNECTED", "scores", "hidden", "table", options=DENSE)
    return net.done("scores")


def shared_weight() -> Model:
    """x -> dense -> relu -> the same dense again."""
    net = Net()
    net.input("x", X((3, 8)))
    net.const("w", f32(8, 8) * 0.4)
    net.op("FULLY_CONNECTED", "one", "x", "w", options=DENSE)
    net.op("RELU", "bent", "one")
    net.op("FULLY_CONNECTED", "two", "bent", "w", options=DENSE)
    return net.done("two")


def names_that_end_in_digits() -> Model:
    """dense "d" -> relu "d1" -> dense "d11" -> relu "d111": fused ops get names that look alike."""
    net = Net()
    at = net.input("x", X((3, 8)))
    for k, (dense, relu) in enumerate((("d", "d1"), ("d11", "d111"))):
        net.const(f"w{k}", f32(8 + k, 8, seed=k) * 0.4)
        net.const(f"b{k}", f32(8 + k, seed=k + 9) * 0.1)
        net.op("FULLY_CONNECTED", dense, at, f"w{k}", f"b{k}", options=DENSE)
        at = net.op("RELU", relu, dense)
    return net.done(at)


def unequal_concat(ratio: float) -> Model:
    """Two 1x1 convolutions whose outputs differ `ratio` times in range, joined (a YOLO head)."""
    net = Net()
    net.input("image", X((1, 6, 6, 4), -1.0, 1.0))
    for k, gain in enumerate((1.0, ratio)):
        net.const(f"w{k}", f32(4, 1, 1, 4, seed=k) * np.float32(gain))
        net.const(f"b{k}", np.zeros(4, np.float32))
        net.op("CONV_2D", f"head{k}", "image", f"w{k}", f"b{k}", options=CONV)
    net.op("CONCATENATION", "both", "head0", "head1", options=("ConcatenationOptions", {"axis": 3}))
    return net.done("both")


def sparse_dense() -> tuple[Model, np.ndarray]:
    """y = x w.T with `w` stored in CSR behind DENSIFY; the dense weight beside it."""
    full = f32(6, 8)
    full[np.abs(full) < 0.8] = 0
    net = Net()
    net.input("x", X((2, 8)))
    net.const("stored", full)
    net.op("DENSIFY", "w", "stored", options=("DensifyOptions", {}))
    net.op("FULLY_CONNECTED", "y", "x", "w", options=DENSE)
    tensor = net.graph.tensors[net.graph.by_name["stored"]]
    tensor.sparsity = _csr(full)
    packed = full[full != 0]
    tensor.buffer = add_buffer(net.model, packed.view(np.uint8))
    return net.done("y"), full


def _csr(full: np.ndarray) -> schema.SparsityParametersT:
    rows, columns = np.nonzero(full)
    dense, packed = schema.DimensionMetadataT(), schema.DimensionMetadataT()
    dense.format, dense.denseSize = schema.DimensionType.DENSE, len(full)
    packed.format = schema.DimensionType.SPARSE_CSR
    segments = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(full)))])
    for field, values in (("arraySegments", segments), ("arrayIndices", columns)):
        vector = schema.Int32VectorT()
        vector.values = values.astype(np.int32)
        setattr(packed, field, vector)
        setattr(packed, f"{field}Type", schema.SparseIndexVector.Int32Vector)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = [0, 1], [dense, packed]
    return sparsity


def custom_op() -> Model:
    """dense -> an op that LiteRT has never heard of."""
    net = Net()
    net.input("x", X((2, 8)))
    net.const("w", f32(8, 8))
    net.op("FULLY_CONNECTED", "y", "x", "w", options=DENSE)
    net.op("RELU", "z", "y")
    model = net.done("z")
    entry = model.tree.operatorCodes[model.graphs[0].ops[1].opcodeIndex]
    entry.builtinCode, entry.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM, 32
    entry.customCode = b"MyOwnOp"
    return model


def with_metadata(model: Model, name: str, payload: bytes) -> Model:
    """The model with one metadata entry, as the TFLite metadata writer adds it."""
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), add_buffer(model, np.frombuffer(payload, np.uint8))
    model.tree.metadata = [*(model.tree.metadata or ()), entry]
    return model


def dense_chain(layers: int = 3, width: int = 12) -> Model:
    """x -> dense -> relu -> ... with outputs "d0", "d1", ..."""
    net = Net()
    at = net.input("x", X((4, width)))
    for k in range(layers):
        net.const(f"w{k}", f32(width, width, seed=k) * np.float32(1.4 / np.sqrt(width)))
        net.const(f"b{k}", f32(width, seed=k + 50) * 0.1)
        at = net.op("FULLY_CONNECTED", f"d{k}", at, f"w{k}", f"b{k}", options=RELU)
    return net.done(at)


RELU = ("FullyConnectedOptions", {"fusedActivationFunction": 1})
