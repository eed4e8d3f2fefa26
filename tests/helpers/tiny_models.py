"""Very small .tflite files for tests, made with the flatbuffer schema and without TensorFlow."""

from __future__ import annotations

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
}
Grid = tuple[str, float, int]  # dtype, scale, zero point


class Builder:
    """Tensors and ops of one or more subgraphs, then `bytes`."""

    def __init__(self) -> None:
        self.tree = schema.ModelT()
        self.tree.version = 3
        self.tree.buffers = [schema.BufferT()]
        self.tree.operatorCodes, self.tree.subgraphs, self.tree.signatureDefs = [], [], []
        self.begin()

    def begin(self) -> None:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        self.tree.subgraphs.append(graph)
        self.graph = graph

    def tensor(self, name, shape, dtype="float32", *, values=None, grid=None):
        t = schema.TensorT()
        t.name, t.type = name, TYPES[dtype]
        t.shape = [abs(n) for n in shape]
        t.shapeSignature = list(shape) if -1 in shape else None
        if values is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
            self.tree.buffers.append(buffer)
            t.buffer = len(self.tree.buffers) - 1
        if grid is not None:
            t.quantization = schema.QuantizationParametersT()
            t.quantization.scale, t.quantization.zeroPoint = [grid[1]], [grid[2]]
        self.graph.tensors.append(t)
        return len(self.graph.tensors) - 1

    def op(self, name, inputs, outputs, options=None):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        self.tree.operatorCodes.append(code)
        op = schema.OperatorT()
        op.opcodeIndex = len(self.tree.operatorCodes) - 1
        op.inputs, op.outputs = inputs, outputs
        if options is not None:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            op.builtinOptions = getattr(schema, options + "T")()
        self.graph.operators.append(op)

    def end(self, inputs, outputs, signature=None):
        """`signature`: key, or None; names in it are "x", "x1".. and "y", "y1".."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        if signature is None:
            return
        entry = schema.SignatureDefT()
        entry.signatureKey = signature
        entry.subgraphIndex = len(self.tree.subgraphs) - 1
        entry.inputs = [_map("x", k, i) for k, i in enumerate(inputs)]
        entry.outputs = [_map("y", k, i) for k, i in enumerate(outputs)]
        self.tree.signatureDefs.append(entry)

    def bytes(self) -> bytes:
        builder = flatbuffers.Builder(4096)
        builder.Finish(self.tree.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def dense(self, x, weights, rows=1):
        """FULLY_CONNECTED without bias; returns the output tensor."""
        weights = np.asarray(weights, np.float32)
        w = self.tensor(f"w{x}", weights.shape, values=weights)
        y = self.tensor(f"y{x}", (rows, len(weights)))
        self.op("FULLY_CONNECTED", [x, w, -1], [y], "FullyConnectedOptions")
        return y


def _map(letter, k, index):
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = letter + (str(k) if k else ""), index
    return entry


def dense_model(weights, *, batch=-1, signature="serve") -> bytes:
    """y = x @ weights.T in float32; weights float32[O, I]."""
    b = Builder()
    x = b.tensor("in", (batch, np.shape(weights)[1]))
    b.end([x], [b.dense(x, weights, batch)], signature)
    return b.bytes()


def quantized_io_model(weights, into: Grid, out: Grid) -> bytes:
    """The same with integer input and output around the float op."""
    b = Builder()
    rows, columns = np.shape(weights)
    q = b.tensor("q_in", (1, columns), into[0], grid=into)
    x = b.tensor("in", (1, columns))
    b.op("DEQUANTIZE", [q], [x], "DequantizeOptions")
    y = b.dense(x, weights)
    p = b.tensor("q_out", (1, rows), out[0], grid=out)
    b.op("QUANTIZE", [y], [p], "QuantizeOptions")
    b.end([q], [p], "serve")
    return b.bytes()


def two_signatures(first, second) -> bytes:
    """Signature "first" on subgraph 0, "second" on subgraph 1, two dense layers."""
    b = Builder()
    for k, (key, weights) in enumerate((("first", first), ("second", second))):
        if k:
            b.begin()
        x = b.tensor(f"in_{key}", (1, np.shape(weights)[1]))
        b.end([x], [b.dense(x, weights)], key)
    return b.bytes()


def cast_model() -> bytes:
    """int32[1, 3] to float32[1, 3]."""
    b = Builder()
    x, y = b.tensor("ids", (1, 3), "int32"), b.tensor("reals", (1, 3))
    b.op("CAST", [x], [y], "CastOptions")
    b.tree.subgraphs[0].operators[0].builtinOptions.inDataType = TYPES["int32"]
    b.end([x], [y])
    return b.bytes()


def add_model() -> bytes:
    """float32[1, 2] a + b, no signature."""
    b = Builder()
    x, z, y = (b.tensor(name, (1, 2)) for name in ("a", "b", "sum"))
    b.op("ADD", [x, z], [y], "AddOptions")
    b.end([x, z], [y])
    return b.bytes()


def rnn_model() -> bytes:
    """h = x + h over one time step of one unit; h is state that LiteRT keeps between runs."""
    b = Builder()
    x, h = b.tensor("in", (1, 1, 1)), b.tensor("state", (1, 1))
    b.graph.tensors[h].isVariable = True
    one = b.tensor("one", (1, 1), values=np.ones((1, 1), np.float32))
    bias = b.tensor("bias", (1,), values=np.zeros(1, np.float32))
    y = b.tensor("out", (1, 1, 1))
    b.op("UNIDIRECTIONAL_SEQUENCE_RNN", [x, one, one, bias, h], [y], "SequenceRNNOptions")
    b.end([x], [y])
    return b.bytes()
