"""Small .tflite files for the lint rules, as Subjects; built from the schema, no TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.spec import Range
from tfq_ext.tflite import bits
from tfq_ext.tflite.facts import OP_CODES, TYPE_CODES
from tfq_ext.tflite.read import Model
from tfq_ext.validation.lint.observed import Observed
from tfq_ext.validation.lint.subject import Subject

OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "RESHAPE": "ReshapeOptions",
    "SOFTMAX": "SoftmaxOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
}
RELU, RELU6 = 1, 3


class Build:
    """A flatbuffer, piece by piece; methods give tensor indices."""

    def __init__(self) -> None:
        tree = schema.ModelT()
        tree.version, tree.description = 3, b"built by hand"
        tree.operatorCodes, tree.buffers, tree.metadata = [], [schema.BufferT()], []
        tree.signatureDefs, tree.subgraphs = [], []
        self.tree = tree
        self.graph()

    def graph(self) -> None:
        """Begin another subgraph."""
        sub = schema.SubGraphT()
        sub.tensors, sub.operators, sub.inputs, sub.outputs = [], [], [], []
        self.tree.subgraphs.append(sub)
        self.sub = sub

    def tensor(
        self, shape: Any, dtype: str = "int8", scale: Any = None, zero: Any = 0, **more: Any
    ) -> int:
        """more: name, axis, values, signature."""
        t = schema.TensorT()
        t.name = more.get("name", f"t{len(self.sub.tensors)}").encode()
        t.type, t.shape, t.hasRank = TYPE_CODES[dtype], [abs(d) for d in shape], True
        t.shapeSignature = list(shape) if -1 in shape else None
        t.buffer = 0
        if "values" in more:
            buffer = schema.BufferT()
            buffer.data = bits.pack(np.asarray(more["values"]), dtype)
            self.tree.buffers.append(buffer)
            t.buffer = len(self.tree.buffers) - 1
        if scale is not None:
            q = schema.QuantizationParametersT()
            q.scale = [float(s) for s in np.atleast_1d(scale)]
            q.zeroPoint = [int(z) for z in np.broadcast_to(zero, len(q.scale))]
            q.quantizedDimension = more.get("axis", 0)
            t.quantization = q
        self.sub.tensors.append(t)
        return len(self.sub.tensors) - 1

    def const(self, values: Any, dtype: str, scale: Any = None, **more: Any) -> int:
        """A constant tensor."""
        values = np.asarray(values)
        return self.tensor(values.shape, dtype, scale, values=values, **more)

    def op(self, code: str, inputs: list[int], outputs: list[int], **more: Any) -> None:
        """more: version, activation, custom."""
        entry = schema.OperatorCodeT()
        entry.builtinCode = OP_CODES[code]
        entry.deprecatedBuiltinCode = min(entry.builtinCode, 127)
        entry.version = more.get("version", 1)
        entry.customCode = more.get("custom")
        self.tree.operatorCodes.append(entry)
        op = schema.OperatorT()
        op.opcodeIndex = len(self.tree.operatorCodes) - 1
        op.inputs, op.outputs = inputs, outputs
        if code in OPTIONS:
            op.builtinOptionsType = getattr(schema.BuiltinOptions, OPTIONS[code])
            op.builtinOptions = getattr(schema, OPTIONS[code] + "T")()
            for field in ("strideW", "strideH", "depthMultiplier"):
                if hasattr(op.builtinOptions, field):
                    setattr(op.builtinOptions, field, 1)
            if "activation" in more:
                op.builtinOptions.fusedActivationFunction = more["activation"]
        self.sub.operators.append(op)

    def end(self, inputs: list[int], outputs: list[int], **more: Any) -> Subject:
        """Close; `more` goes to Subject. The bytes are written and read once."""
        self.sub.inputs, self.sub.outputs = inputs, outputs
        content = Model(self.tree).to_bytes()
        return Subject(Model.parse(content), size=len(content), **more)


CODES = np.array([[100, -50, 3], [127, 20, -20], [5, 127, 9], [-9, 90, 127]], np.int8)
SCALES = np.array([0.01, 0.02, 0.015, 0.01], np.float32)
X_SCALE, X_ZERO = 0.05, -10


def dense(code: str = "CONV_2D", **change: Any) -> Subject:
    """x -> CONV_2D (1x1, 3 to 4 channels), DEPTHWISE_CONV_2D or FULLY_CONNECTED -> y, all int8.

    change: codes, scales, zeros, axis, wtype, bias, bias_scale, bias_type, bias_zero, x, y (grids),
    xtype, activation, subject (for Subject), shape (of the input).
    """
    b = Build()
    axis = 3 if code == "DEPTHWISE_CONV_2D" else 0
    codes = np.asarray(change.get("codes", CODES))
    if code != "FULLY_CONNECTED":
        codes = codes[:, None, None, :]
    if code == "DEPTHWISE_CONV_2D":
        codes = codes[:, :, :, :1].transpose(3, 1, 2, 0)
    channels = codes.shape[axis]
    scales = np.atleast_1d(np.asarray(change.get("scales", SCALES), np.float32))
    xtype = change.get("xtype", "int8")
    x_scale, x_zero = change.get("x", (X_SCALE, X_ZERO))
    columns = channels if code == "DEPTHWISE_CONV_2D" else codes.shape[-1]
    shape = change.get("shape", (1, columns) if code == "FULLY_CONNECTED" else (1, 4, 4, columns))
    x = b.tensor(shape, xtype, x_scale, x_zero, name="x")
    wtype = change.get("wtype", "int8")
    zeros, axis = change.get("zeros", 0), change.get("axis", axis)
    w = b.const(codes, wtype, scales, zero=zeros, axis=axis, name="w")
    bias = np.asarray(change.get("bias", np.arange(1, channels + 1) * 100))
    stated = np.float32(X_SCALE if x_scale is None else x_scale) * scales
    stated = change.get("bias_scale", stated)
    dtype, zero = change.get("bias_type", "int32"), change.get("bias_zero", 0)
    c = b.const(bias.astype(dtype), dtype, stated, zero=zero, name="b")
    y_scale, y_zero = change.get("y", (0.2, 0))
    made = (*shape[:-1], channels)
    y = b.tensor(made, change.get("ytype", xtype), y_scale, y_zero, name="y")
    b.op(code, [x, w, c], [y], activation=change.get("activation", 0))
    return b.end([x], [y], **change.get("subject", {}))


def chain(*steps: tuple[str, Any, Any], x: Any = (0.1, 0), **more: Any) -> Subject:
    """x[1, 8] -> unary ops; a step is (code, dtype, (scale, zero) or None). more: to Subject."""
    b = Build()
    first = more.pop("first", "int8")
    shape = more.pop("shape", (1, 8))
    tensors = [b.tensor(shape, first, *(x or (None, 0)), name="x")]
    for k, (code, dtype, grid) in enumerate(steps):
        tensors.append(b.tensor(shape, dtype, *(grid or (None, 0)), name=f"y{k}"))
        b.op(code, tensors[-2:-1], tensors[-1:])
    return b.end(tensors[:1], tensors[-1:], **more)


def join(
    code: str = "CONCATENATION",
    first: tuple[float, int] = (0.1, 0),
    second: tuple[float, int] = (0.1, 0),
    out: tuple[float, int] = (0.1, 0),
    dtype: str = "int8",
    made_by: tuple[str, tuple[float, int]] | None = None,
    requantized: tuple[float, int] | None = None,
    **more: Any,
) -> Subject:
    """x0, x1 -> CONCATENATION or ADD; the second may come from an op, or through QUANTIZE."""
    b = Build()
    inputs = [b.tensor((1, 8), dtype, *first, name="x0")]
    ends = list(inputs)
    if made_by is not None:
        inner = b.tensor((1, 8), dtype, 0.05, 0, name="inner")
        made = b.tensor((1, 8), dtype, *made_by[1], name="made")
        b.op(made_by[0], [inner], [made])
        step = b.tensor((1, 8), dtype, *second, name="x1")
        b.op("QUANTIZE", [made], [step])
        ends.append(inner)
    elif requantized is not None:
        made = b.tensor((1, 8), dtype, *requantized, name="made")
        step = b.tensor((1, 8), dtype, *second, name="x1")
        b.op("QUANTIZE", [made], [step])
        ends.append(made)
    else:
        step = b.tensor((1, 8), dtype, *second, name="x1")
        ends.append(step)
    y = b.tensor((1, 16) if code == "CONCATENATION" else (1, 8), dtype, *out, name="y")
    b.op(code, [inputs[0], step], [y])
    return b.end(ends, [y], **more)


def floats(values: Any, dtype: str = "float32", **more: Any) -> Subject:
    """y = x + constant in floats (float16 through DEQUANTIZE)."""
    b = Build()
    x = b.tensor((1, 2048), "float32", name="x")
    c = b.const(np.asarray(values, dtype), dtype, name="c")
    if dtype != "float32":
        real = b.tensor(np.shape(values), "float32", name="real")
        b.op("DEQUANTIZE", [c], [real])
        c = real
    y = b.tensor((1, 2048), "float32", name="y")
    b.op("ADD", [x, c], [y])
    subject = more.pop("twice", 0)
    for k in range(subject):  # the same constant stored again, read or not
        extra = b.const(np.asarray(values, dtype), dtype, name=f"again{k}")
        if more.pop("read", True):
            z = b.tensor((1, 2048), "float32", name=f"z{k}")
            b.op("ADD", [y, extra], [z])
            y = z
    return b.end([x], [y], **more)


def hybrid(code: str = "CONV_2D") -> Subject:
    """Float activations, int8 weights."""
    return dense(code, xtype="float32", x=(None, 0), y=(None, 0), bias_type="float32",
                 bias_scale=None)  # fmt: skip


def mixed(code: str) -> Subject:
    """An integer RESHAPE in front of a float or integer op."""
    dtype, grid = ("float32", None) if code == "SIN" else ("int8", (0.1, 0))
    steps = [("RESHAPE", "int8", (0.1, 0)), ("DEQUANTIZE", "float32", None)]
    steps += [(code, dtype, grid)]
    return chain(*(steps if code == "SIN" else [steps[0], ("RESHAPE", "int8", (0.1, 0))]))


def custom(name: str) -> Subject:
    """One custom op."""
    b = Build()
    x, y = b.tensor((1, 8), "float32", name="x"), b.tensor((1, 8), "float32", name="y")
    b.op("CUSTOM", [x], [y], custom=name.encode())
    return b.end([x], [y])


def softmaxes(code: str, rows: int = 8) -> Subject:
    """LOGISTIC or SOFTMAX, then SOFTMAX."""
    b = Build()
    x, m, y = (b.tensor((1, rows), "float32", name=n) for n in "xmy")
    b.op(code, [x], [m])
    b.op("SOFTMAX", [m], [y])
    return b.end([x], [y])


def argmax(shared: bool) -> Subject:
    """ARG_MAX of SOFTMAX; the probabilities are an output too, or not."""
    b = Build()
    x, m = (b.tensor((1, 8), "float32", name=n) for n in "xm")
    axis, y = b.const(np.int32([1]), "int32"), b.tensor((1,), "int32", name="y")
    b.op("SOFTMAX", [x], [m])
    b.op("ARG_MAX", [m, axis], [y])
    return b.end([x], [m, y] if shared else [y])


def shaped(*shape: int) -> Subject:
    """A float ABS of that input shape."""
    return chain(("ABS", "float32", None), first="float32", x=None, shape=shape)


def annotated(signature: bool = False, metadata: bool = False) -> Subject:
    """A file with or without a signature and metadata."""
    b = Build()
    x, y = (b.tensor((1, 8), "float32", name=n) for n in "xy")
    b.op("ABS", [x], [y])
    if signature:
        entry = schema.SignatureDefT()
        entry.signatureKey, entry.subgraphIndex = b"serving_default", 0
        entry.inputs, entry.outputs = [_map("x", x)], [_map("y", y)]
        b.tree.signatureDefs = [entry]
    if metadata:
        entry = schema.MetadataT()
        entry.name, entry.buffer = b"TFLITE_METADATA", 0
        b.tree.metadata = [entry]
    return b.end([x], [y])


def _map(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry


def graphs(n: int) -> Subject:
    """n equal subgraphs."""
    b = Build()
    for k in range(n):
        if k:
            b.graph()
        x, y = (b.tensor((1, 8), "float32", name=f"{name}{k}") for name in "xy")
        b.op("ABS", [x], [y])
        b.sub.inputs, b.sub.outputs = [x], [y]
    return b.end([x], [y])


def picture(scale: float) -> Subject:
    """A 192 x 192 picture in, [1, 192, 192, 4] out with the given scale."""
    return dense(shape=(1, 192, 192, 3), y=(scale, 0))


def seen(low: float, high: float, at: float = 0.0, **more: Any) -> Subject:
    """dense() after a run of 8 samples that saw y in codes low..high, `at` of them at the end."""
    values = {(0, 3): Observed(low, high, 0.0, at, count=5120)}
    return dense(subject={"values": values, "samples": 8}, **more)


def fed(outside: float) -> Subject:
    """dense() whose input values lay outside in part."""
    values = {(0, 0): Observed(-128, 127, outside=outside, count=512)}
    return dense(subject={"values": values, "samples": 8})


def beside(low: float, high: float) -> Subject:
    """dense() with the float model's range of y; the grid spans [-25.6, 25.4]."""
    values = {(0, 3): Observed(-128, 127, count=512)}
    return dense(subject={"values": values, "samples": 8, "reference": {"y": Range(low, high)}})


def targeted(release: tuple[int, ...]) -> Subject:
    """CONV_2D version 5 came with 2.4 (int16), the rest is old."""
    b = Build()
    x, y = (b.tensor((1, 4, 4, 3), "float32", name=n) for n in "xy")
    w = b.const(np.ones((3, 1, 1, 3), np.float32), "float32")
    b.op("CONV_2D", [x, w, -1], [y], version=5)
    return b.end([x], [y], target=release)


def loose(read: bool) -> Subject:
    """A constant that an op reads, or nobody."""
    b = Build()
    x, y = (b.tensor((1, 8), "float32", name=n) for n in "xy")
    c = b.const(np.ones((1, 8), np.float32), "float32", name="left")
    b.op("ADD", [x, c if read else x], [y])
    return b.end([x], [y])


def padded(more: int) -> Subject:
    """Five int4 weights in three bytes, and so many bytes behind them."""
    made = dense("FULLY_CONNECTED", codes=np.array([[1, -2, 3, -4, 5]]), wtype="int4")
    graph = made.model.graphs[0]
    (weight,) = (t for t in range(len(graph.tensors)) if graph.dtype(t) == "int4")
    buffer = made.model.tree.buffers[graph.tensors[weight].buffer]
    assert len(buffer.data) == 3
    buffer.data = np.concatenate([buffer.data, np.zeros(more, np.uint8)])
    return made


def activation_channels(n: int) -> Subject:
    """RELU whose output has n scales."""
    b = Build()
    x, y = b.tensor((1, 4), "int8", 0.1), b.tensor((1, 4), "int8", np.full(n, 0.1), axis=1)
    b.op("RELU", [x], [y])
    return b.end([x], [y])


def behind(code: str, constant: tuple[int, ...] | None = None, shared: bool = False) -> Subject:
    """CONV_2D (4 channels) -> `code`; MUL (in floats) gets a constant of that shape."""
    b = Build()
    grid = ("float32",) if code == "MUL" else ("int8", 0.1)
    x, m, y = (b.tensor((1, 4, 4, 4), *grid, name=n) for n in "xmy")
    w = b.const(np.ones((4, 1, 1, 4)), *grid)
    b.op("CONV_2D", [x, w, -1], [m])
    more = [] if constant is None else [b.const(np.ones(constant, np.float32), "float32")]
    b.op(code, [m, *more], [y])
    return b.end([x], [m, y] if shared else [y])
