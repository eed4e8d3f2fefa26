"""Float models of one op, built from the schema, with an example for every kernel row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.spec import INT4_WEIGHT, INT8_WEIGHT, QParams, Range
from tfq_ext.tflite import bits, patch
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.grids import float_activations
from tfq_ext.tflite.read import Graph, Model

OUT = "out"


@dataclass(frozen=True)
class X:
    """An input: float32 in [lo, hi], or integers/booleans where `dtype` says so."""

    shape: tuple[int, ...]
    lo: float = -3.0
    hi: float = 5.0
    dtype: str = "float32"


@dataclass(frozen=True)
class Example:
    """How to build one op: X is fed, an array is a constant.

    `lsb` is how many output codes the kernel may be off: half for rounding, the rest for its
    fixed-point multipliers. 16-bit tables (EXP, RSQRT, LOG) interpolate between 513 points and
    RESIZE_BILINEAR has 10-bit coordinates, hence their `lsb16`.
    """

    inputs: tuple[Any, ...]
    options: tuple[str, dict[str, Any]] | None = None
    outputs: tuple[str, ...] = ("float32",)
    lsb: float = 1.0
    lsb16: float | None = None  # 16 bits, where LiteRT's kernel is coarser than its codes
    version: int = 1  # of the float op


def f32(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def i32(*values: Any) -> np.ndarray:
    return np.array(values, np.int32)


def empty_model() -> Model:
    tree = schema.ModelT()
    tree.version, tree.description = 3, b"one op"
    tree.operatorCodes, tree.buffers = [], [schema.BufferT()]
    sub = schema.SubGraphT()
    sub.name, sub.tensors, sub.operators, sub.inputs, sub.outputs = b"main", [], [], [], []
    tree.subgraphs = [sub]
    return Model(tree)


def options_of(options: tuple[str, dict[str, Any]] | None) -> tuple[str, Any] | None:
    if options is None:
        return None
    made = getattr(schema, options[0] + "T")()
    for key, value in options[1].items():
        assert hasattr(made, key), key
        setattr(made, key, value)
    return options[0], made


def add_input(graph: Graph, name: str, x: X) -> int:
    tensor = patch.add_tensor(graph, name, x.dtype, x.shape)
    graph.tree.inputs.append(tensor)
    return tensor


def build(code: str, example: Example) -> Model:
    """The float model of one op; outputs are called out, out_1, ..."""
    model = empty_model()
    graph = model.graphs[0]
    tensors = []
    for k, item in enumerate(example.inputs):
        if isinstance(item, X):
            tensors.append(add_input(graph, f"x{k}", item))
        else:
            dtype = str(item.dtype)
            tensors.append(patch.add_tensor(graph, f"c{k}", dtype, item.shape, values=item))
    outputs = [patch.add_tensor(graph, OUT, dtype, ()) for dtype in example.outputs]
    patch.insert_op(
        graph,
        0,
        code,
        tensors,
        outputs,
        version=example.version,
        options=options_of(example.options),
    )
    graph.tree.outputs = outputs
    settle_shapes(model)
    return model


def settle_shapes(model: Model) -> None:
    """Write the shapes that LiteRT infers into the outputs."""
    interpreter = Interpreter(model_content=model.to_bytes())
    interpreter.allocate_tensors()
    graph = model.graphs[0]
    for t, detail in zip(graph.outputs, interpreter.get_output_details(), strict=True):
        graph.tensors[t].shape = [int(d) for d in detail["shape"]]


def run(content: bytes, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a model in LiteRT with XNNPACK."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]].astype(detail["dtype"]))
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


def samples(example: Example) -> dict[str, np.ndarray]:
    """One feed per input, ends of the range included."""
    rng = np.random.default_rng(7)
    feeds = {}
    for k, item in enumerate(example.inputs):
        if isinstance(item, X):
            values = rng.uniform(item.lo, item.hi, item.shape)
            if item.dtype == "float32" and values.size > 1:
                values.reshape(-1)[:2] = item.lo, item.hi
            feeds[f"x{k}"] = values.astype(item.dtype) if item.dtype != "bool" else values > 0
    return feeds


def range_of(values: np.ndarray) -> Range:
    return Range.of(float(values.min()), float(values.max()))


def weight_codes(values: np.ndarray, axis: int | None, bits: int = 8) -> WeightCodes:
    """Max-abs codes, the way a plan would hold them."""
    spec = (INT8_WEIGHT if bits == 8 else INT4_WEIGHT).on(axis)
    others = None if axis is None else tuple(d for d in range(values.ndim) if d != axis)
    largest = np.maximum(np.abs(values).max(axis=others), 1e-6)
    params = QParams(spec, largest / spec.qmax)
    return WeightCodes(params.encode(values).astype(np.int8), params, f"int{bits}")


def on_grid(model: Model, codes: dict[str, WeightCodes]) -> Model:
    """The model with its weights replaced by what the codes stand for: no weight error left."""
    model = model.copy()
    for graph in model.graphs:
        for name, chosen in codes.items():
            buffer = model.tree.buffers[graph.tensors[graph.by_name[name]].buffer]
            buffer.data = bits.pack(chosen.params.decode(chosen.codes), "float32")
    return model


def observe(model: Model, feeds: dict[str, np.ndarray]) -> dict[str, Range]:
    """Min-max ranges of all float activations of the first subgraph, from one run."""
    interpreter = Interpreter(
        model_content=model.to_bytes(), experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]].astype(detail["dtype"]))
    interpreter.invoke()
    graph = model.graphs[0]
    return {graph.name(t): range_of(interpreter.get_tensor(t)) for t in float_activations(graph)}


def weights_of(model: Model, bits: int = 8, per_channel: bool = True) -> dict[str, WeightCodes]:
    """Codes for the weight of every op that has one."""
    found = {}
    for graph, _, op, code in model.walk():
        fact = WEIGHTS.get(code)
        if fact is not None and graph.is_constant(op.inputs[fact.weight]):
            tensor = int(op.inputs[fact.weight])
            axis = fact.axis if per_channel else None
            values = np.asarray(graph.constant(tensor))
            found[graph.name(tensor)] = weight_codes(values, axis, bits)
    return found


IMAGE = X((1, 6, 6, 4))
ROW = X((2, 8))
CONV = {"padding": 0, "strideW": 1, "strideH": 1}
POOL = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2}
SQUARE2 = np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32)


def unary(lo: float = -3.0, hi: float = 5.0, options: Any = None, **more: Any) -> Example:
    return Example((X((2, 8), lo, hi),), options, **more)


def binary(options: str | None, other: Any = None, **more: Any) -> Example:
    second = X((2, 8), -1.0, 4.0) if other is None else other
    return Example((ROW, second), None if options is None else (options, {}), **more)


def compare(options: str) -> Example:
    return Example((ROW, X((2, 8))), (options, {}), ("bool",))


def reduce(lsb: float = 1.0) -> Example:
    return Example((IMAGE, i32(1, 2)), ("ReducerOptions", {"keepDims": True}), lsb=lsb)


EXAMPLES: dict[str, Example] = {
    "CONV_2D": Example((IMAGE, f32(5, 3, 3, 4), f32(5)), ("Conv2DOptions", CONV), lsb16=1.5),
    "DEPTHWISE_CONV_2D": Example(
        (IMAGE, f32(1, 3, 3, 4), f32(4)),
        ("DepthwiseConv2DOptions", CONV | {"depthMultiplier": 1}),
        lsb16=1.5,
    ),
    "FULLY_CONNECTED": Example((ROW, f32(5, 8), f32(5)), ("FullyConnectedOptions", {})),
    "TRANSPOSE_CONV": Example(
        (i32(1, 12, 12, 5), f32(5, 2, 2, 4), IMAGE, f32(5)),
        ("TransposeConvOptions", {"padding": 0, "strideW": 2, "strideH": 2}),
        lsb16=1.5,
    ),
    "BATCH_MATMUL": Example((X((2, 3, 4)), X((2, 4, 5), -1, 1)), ("BatchMatMulOptions", {})),
    "ADD": binary("AddOptions"),
    "SUB": binary("SubOptions"),
    "MUL": binary("MulOptions"),
    "DIV": binary("DivOptions", X((2, 8), 1.0, 4.0)),
    "SQUARED_DIFFERENCE": binary("SquaredDifferenceOptions"),
    "MAXIMUM": binary("MaximumMinimumOptions"),
    "MINIMUM": binary("MaximumMinimumOptions"),
    "SELECT": Example((X((2, 8), -1, 1, "bool"), ROW, X((2, 8))), ("SelectOptions", {})),
    "SELECT_V2": Example((X((2, 8), -1, 1, "bool"), ROW, X((2, 8))), ("SelectV2Options", {})),
    "PRELU": Example((IMAGE, np.abs(f32(1, 1, 4)) + 0.1)),
    "RELU": unary(),
    "RELU6": unary(hi=9.0),
    "RELU_N1_TO_1": unary(),
    "LEAKY_RELU": unary(options=("LeakyReluOptions", {"alpha": 0.2})),
    "ELU": unary(),
    "GELU": unary(options=("GeluOptions", {"approximate": False}), lsb16=1.5),
    "HARD_SWISH": unary(options=("HardSwishOptions", {})),
    "LOGISTIC": unary(),
    "TANH": unary(lsb16=2.0),
    "SOFTMAX": unary(options=("SoftmaxOptions", {"beta": 1.0}), lsb16=2.0),
    "LOG_SOFTMAX": unary(options=("LogSoftmaxOptions", {})),
    "L2_NORMALIZATION": Example((IMAGE,), ("L2NormOptions", {})),
    "ABS": unary(),
    "EXP": unary(hi=2.0, lsb16=100.0),
    "LOG": unary(lo=0.5, lsb16=8.0),
    "SQRT": unary(lo=0.1),
    "RSQRT": unary(lo=0.5, lsb16=200.0),
    "MEAN": reduce(),
    "SUM": reduce(),
    "REDUCE_MAX": reduce(),
    "REDUCE_MIN": reduce(),
    "REDUCE_PROD": Example((X((2, 3), 0.5, 2.0), i32(1)), ("ReducerOptions", {}), lsb=3.0),
    "ARG_MAX": Example(
        (ROW, np.array(1, np.int32)), ("ArgMaxOptions", {"outputType": 2}), ("int32",)
    ),
    "ARG_MIN": Example(
        (ROW, np.array(1, np.int32)), ("ArgMinOptions", {"outputType": 2}), ("int32",)
    ),
    "TOPK_V2": Example((ROW, np.array(3, np.int32)), ("TopKV2Options", {}), ("float32", "int32")),
    "EQUAL": compare("EqualOptions"),
    "NOT_EQUAL": compare("NotEqualOptions"),
    "GREATER": compare("GreaterOptions"),
    "GREATER_EQUAL": compare("GreaterEqualOptions"),
    "LESS": compare("LessOptions"),
    "LESS_EQUAL": compare("LessEqualOptions"),
    "AVERAGE_POOL_2D": Example((IMAGE,), ("Pool2DOptions", POOL)),
    "MAX_POOL_2D": Example((IMAGE,), ("Pool2DOptions", POOL)),
    "RESIZE_BILINEAR": Example(
        (IMAGE, i32(9, 11)), ("ResizeBilinearOptions", {"halfPixelCenters": True}), lsb16=200.0
    ),
    "RESIZE_NEAREST_NEIGHBOR": Example(
        (IMAGE, i32(9, 11)), ("ResizeNearestNeighborOptions", {"halfPixelCenters": True})
    ),
    "RESHAPE": Example((ROW, i32(4, 4)), ("ReshapeOptions", {"newShape": [4, 4]})),
    "SHAPE": Example((ROW,), ("ShapeOptions", {"outType": 2}), ("int32",)),
    "FILL": Example((i32(2, 3), X(())), ("FillOptions", {})),
    "SQUEEZE": Example((X((2, 1, 8)),), ("SqueezeOptions", {"squeezeDims": [1]})),
    "EXPAND_DIMS": Example((ROW, np.array(1, np.int32)), ("ExpandDimsOptions", {})),
    "TRANSPOSE": Example((IMAGE, i32(0, 3, 1, 2)), ("TransposeOptions", {})),
    "SLICE": Example((ROW, i32(0, 2), i32(2, 4)), ("SliceOptions", {})),
    "STRIDED_SLICE": Example((ROW, i32(0, 1), i32(2, 8), i32(1, 2)), ("StridedSliceOptions", {})),
    "SPLIT": Example(
        (np.array(1, np.int32), ROW), ("SplitOptions", {"numSplits": 2}), ("float32",) * 2
    ),
    "SPLIT_V": Example(
        (ROW, i32(3, 5), np.array(1, np.int32)),
        ("SplitVOptions", {"numSplits": 2}),
        ("float32",) * 2,
    ),
    "PACK": Example((ROW, X((2, 8))), ("PackOptions", {"valuesCount": 2, "axis": 1})),
    "UNPACK": Example((ROW,), ("UnpackOptions", {"num": 2, "axis": 0}), ("float32",) * 2),
    "CONCATENATION": Example((ROW, X((2, 3))), ("ConcatenationOptions", {"axis": 1})),
    "PAD": Example((IMAGE, SQUARE2), ("PadOptions", {})),
    "PADV2": Example((IMAGE, SQUARE2, np.float32([-2.0])[0:1].reshape(())), ("PadV2Options", {})),
    "MIRROR_PAD": Example((IMAGE, SQUARE2), ("MirrorPadOptions", {"mode": 0})),
    "GATHER": Example((ROW, i32(3, 1)), ("GatherOptions", {"axis": 1})),
    "GATHER_ND": Example((ROW, np.array([[1, 2], [0, 3]], np.int32)), ("GatherNdOptions", {})),
    "TILE": Example((ROW, i32(1, 2)), ("TileOptions", {})),
    "REVERSE_V2": Example((ROW, i32(1)), ("ReverseV2Options", {})),
    "BROADCAST_TO": Example((X((1, 8)), i32(3, 8)), ("BroadcastToOptions", {}), version=2),
    "SPACE_TO_DEPTH": Example((IMAGE,), ("SpaceToDepthOptions", {"blockSize": 2})),
    "DEPTH_TO_SPACE": Example((IMAGE,), ("DepthToSpaceOptions", {"blockSize": 2})),
    "SPACE_TO_BATCH_ND": Example(
        (IMAGE, i32(2, 2), np.zeros((2, 2), np.int32)), ("SpaceToBatchNDOptions", {})
    ),
    "BATCH_TO_SPACE_ND": Example(
        (X((4, 3, 3, 4)), i32(2, 2), np.zeros((2, 2), np.int32)), ("BatchToSpaceNDOptions", {})
    ),
    "DYNAMIC_UPDATE_SLICE": Example((ROW, X((1, 3)), i32(1, 2)), ("DynamicUpdateSliceOptions", {})),
}


class Net:
    """A float model of several ops, tensors by name."""

    def __init__(self) -> None:
        self.model = empty_model()
        self.graph = self.model.graphs[0]
        self.inputs: dict[str, X] = {}

    def input(self, name: str, x: X) -> str:
        """Declare an input."""
        add_input(self.graph, name, x)
        self.inputs[name] = x
        return name

    def const(self, name: str, values: np.ndarray) -> str:
        """Store a constant."""
        patch.add_tensor(self.graph, name, str(values.dtype), values.shape, values=values)
        return name

    def op(self, code: str, out: str, *inputs: str, options: Any = None, version: int = 1) -> str:
        """Append an op that writes the new float tensor `out`."""
        graph = self.graph
        read = [graph.by_name[i] for i in inputs]
        made = [patch.add_tensor(graph, out, "float32", ())]
        patch.insert_op(
            graph, len(graph.ops), code, read, made, version=version, options=options_of(options)
        )
        return out

    def done(self, *outputs: str) -> Model:
        """Close with the given outputs, shapes settled and one signature."""
        self.graph.tree.outputs = [self.graph.by_name[o] for o in outputs]
        self._settle()
        return self.model

    def _settle(self) -> None:
        interpreter = Interpreter(
            model_content=self.model.to_bytes(), experimental_preserve_all_tensors=True
        )
        interpreter.allocate_tensors()
        for detail in interpreter.get_tensor_details():
            if detail["index"] < len(self.graph.tensors):
                self.graph.tensors[detail["index"]].shape = [int(d) for d in detail["shape"]]

    def samples(self) -> dict[str, np.ndarray]:
        """A feed that reaches the ends of every input."""
        fed = samples(Example(tuple(self.inputs.values())))
        return dict(zip(self.inputs, fed.values(), strict=True))


def add_signature(model: Model, key: str = "serving_default") -> None:
    """One signature over the first subgraph; tensors are called in_0, out_0, ..."""
    graph = model.graphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key.encode(), 0
    signature.inputs = [_entry(f"in_{k}", t) for k, t in enumerate(graph.inputs)]
    signature.outputs = [_entry(f"out_{k}", t) for k, t in enumerate(graph.outputs)]
    model.tree.signatureDefs = [signature]


def _entry(name: str, tensor: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name.encode(), tensor
    return entry
