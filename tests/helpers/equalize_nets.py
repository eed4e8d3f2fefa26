"""Small float networks whose channels are badly balanced, one per way in which layers may meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from one_op import Net, X, run

from tfq_ext.tflite.read import Model

RELU, RELU6 = schema.ActivationFunctionType.RELU, schema.ActivationFunctionType.RELU6
VALID, SAME = schema.Padding.VALID, schema.Padding.SAME
STEP = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"filterWidth": 2, "filterHeight": 2, "strideW": 2, "strideH": 2, "padding": SAME}


class Sketch(Net):
    """A net with layers of random, unbalanced weights."""

    def __init__(self, shape: tuple[int, ...] = (2, 8, 8, 3), lo: float = -1.0, hi: float = 1.0):
        super().__init__()
        self.rng = np.random.default_rng(5)
        self.input("x", X(shape, lo, hi))

    def weights(self, *shape: int, fan: int) -> np.ndarray:
        """Normal, each channel at either end with a size of its own."""
        ends = [np.exp(self.rng.normal(size=n)) for n in (shape[0], shape[-1])]
        w = self.rng.normal(size=shape) / np.sqrt(fan)
        return (w * ends[0].reshape(-1, *[1] * (len(shape) - 1)) * ends[1]).astype(np.float32)

    def bias(self, name: str, n: int) -> str:
        return self.const(name, self.rng.normal(size=n).astype(np.float32) * 0.3)

    def conv(self, out: str, x: str, i: int, o: int, k: int = 3, *, act: int = RELU, **more: Any):
        """CONV_2D of `i` input channels a group; more: padding, stride, bias."""
        self.const(f"{out}/w", self.weights(o, k, k, i, fan=i * k * k))
        zero = np.zeros(o, np.float32)  # LiteRT wants a bias
        bias = self.bias(f"{out}/b", o) if more.get("bias", True) else self.const(f"{out}/0", zero)
        reads = [x, f"{out}/w", bias]
        values = {**STEP, "padding": more.get("padding", SAME), "fusedActivationFunction": act}
        return self.op("CONV_2D", out, *reads, options=("Conv2DOptions", values))

    def depthwise(self, out: str, x: str, i: int, m: int = 1, *, act: int = RELU, **more: Any):
        self.const(f"{out}/w", self.weights(1, 3, 3, i * m, fan=9))
        self.bias(f"{out}/b", i * m)
        values = {**STEP, "padding": more.get("padding", SAME), "fusedActivationFunction": act}
        options = ("DepthwiseConv2DOptions", {**values, "depthMultiplier": m})
        return self.op("DEPTHWISE_CONV_2D", out, x, f"{out}/w", f"{out}/b", options=options)

    def dense(self, out: str, x: str, i: int, o: int, *, act: int = 0, keep: bool = False):
        self.const(f"{out}/w", self.weights(o, i, fan=i))
        self.bias(f"{out}/b", o)
        values = {"fusedActivationFunction": act, "keepNumDims": keep}
        options = ("FullyConnectedOptions", values)
        return self.op("FULLY_CONNECTED", out, x, f"{out}/w", f"{out}/b", options=options)

    def ints(self, name: str, *values: Any) -> str:
        return self.const(name, np.array(values, np.int32))

    def add(self, out: str, a: str, b: str, act: int = 0) -> str:
        return self.op("ADD", out, a, b, options=("AddOptions", {"fusedActivationFunction": act}))

    def mean(self, out: str, x: str) -> str:
        self.ints(f"{out}/axes", 1, 2)
        return self.op("MEAN", out, x, f"{out}/axes", options=("ReducerOptions", {}))

    def reshape(self, out: str, x: str, *shape: int) -> str:
        self.ints(f"{out}/shape", *shape)
        options = ("ReshapeOptions", {"newShape": list(shape)})
        return self.op("RESHAPE", out, x, f"{out}/shape", options=options)


def triple() -> Model:
    """conv, depthwise, conv, flattened into dense, dense."""
    n = Sketch()
    n.conv("a", "x", 3, 8)
    n.depthwise("b", "a", 8)
    n.conv("c", "b", 8, 6, 1)
    n.op("AVERAGE_POOL_2D", "pool", "c", options=("Pool2DOptions", POOL))
    n.reshape("flat", "pool", 2, 96)
    n.dense("d", "flat", 96, 7, act=RELU)
    n.dense("y", "d", 7, 4)
    return n.done("y")


def groups() -> Model:
    """Depthwise with multiplier 2, grouped conv, transpose conv."""
    n = Sketch((2, 6, 6, 4))
    n.conv("a", "x", 4, 6)
    n.depthwise("b", "a", 6, 2, act=0)
    n.conv("c", "b", 3, 8)  # 4 groups
    n.ints("size", 2, 12, 12, 5)
    n.const("d/w", n.weights(5, 3, 3, 8, fan=72))
    options = ("TransposeConvOptions", {"padding": SAME, "strideW": 2, "strideH": 2})
    n.op("TRANSPOSE_CONV", "d", "size", "d/w", "c", options=options)
    n.op("RELU", "e", "d")
    n.conv("y", "e", 5, 3, 1, act=0)
    return n.done("y")


def standing() -> Model:
    """Activations and paddings that stand alone, and a bias added by ADD."""
    n = Sketch()
    n.conv("a", "x", 3, 8, act=0, bias=False)
    n.add("a+", "a", n.bias("a/b", 8))
    n.const("slope", np.linspace(0.1, 0.9, 8).astype(np.float32).reshape(1, 1, 8))
    n.op("PRELU", "p", "a+", "slope")
    n.ints("pads", (0, 0), (1, 1), (2, 0), (0, 0))
    n.op("PAD", "padded", "p", "pads", options=("PadOptions", {}))
    n.conv("b", "padded", 8, 6, padding=VALID, act=0)
    n.op("LEAKY_RELU", "l", "b", options=("LeakyReluOptions", {"alpha": 0.2}))
    n.op("MAX_POOL_2D", "pool", "l", options=("Pool2DOptions", POOL))
    n.conv("c", "pool", 6, 5, act=0)
    n.op("RELU", "r", "c")
    n.mean("m", "r")
    n.dense("y", "m", 5, 4)
    return n.done("y")


def trunk() -> Model:
    """Two residual sums, one of them with ReLU; three layers write the trunk, three read it."""
    n = Sketch()
    n.conv("a", "x", 3, 8, act=0)
    n.conv("b1", "a", 8, 12, 1)
    n.conv("b2", "b1", 12, 8, act=0)
    n.add("s1", "a", "b2")
    n.conv("c1", "s1", 8, 6)
    n.conv("c2", "c1", 6, 8, act=0)
    n.add("s2", "s1", "c2", RELU)
    n.mean("m", "s2")
    n.dense("y", "m", 8, 4)
    return n.done("y")


def joined() -> Model:
    """Concatenation and split along channels, parts read twice, channels picked."""
    n = Sketch()
    n.conv("a", "x", 3, 4)
    n.conv("b", "x", 3, 6, act=0)
    n.op("CONCATENATION", "ab", "a", "b", options=("ConcatenationOptions", {"axis": -1}))
    n.conv("c", "ab", 10, 8)
    n.conv("d", "a", 4, 3)
    n.const("axis", np.array(3, np.int32))
    n.op("SPLIT", "c1", "axis", "c", options=("SplitOptions", {"numSplits": 1}))
    n.ints("picked", 3, 0, 2, 1, 7)
    n.op("GATHER", "g", "c1", "picked", options=("GatherOptions", {"axis": 3}))
    n.ints("from", 0, 0, 0, 2)
    n.ints("many", -1, -1, -1, 5)
    n.op("SLICE", "s", "c1", "from", "many", options=("SliceOptions", {}))
    n.add("gs", "g", "s")
    n.op("CONCATENATION", "all", "gs", "d", options=("ConcatenationOptions", {"axis": 3}))
    n.conv("y", "all", 8, 4, act=0)
    return n.done("y")


def gate() -> Model:
    """Squeeze and excite: the gate keeps its scale, what it multiplies does not."""
    n = Sketch()
    n.conv("a", "x", 3, 8)
    n.mean("m", "a")
    n.dense("g1", "m", 8, 4, act=RELU)
    n.dense("g2", "g1", 4, 8)
    n.op("LOGISTIC", "g", "g2")
    n.reshape("gate", "g", 2, 1, 1, 8)
    n.op("MUL", "h", "a", "gate", options=("MulOptions", {}))
    n.const("gain", np.linspace(0.5, 2, 8).astype(np.float32))
    n.op("MUL", "h2", "h", "gain", options=("MulOptions", {}))
    n.conv("y", "h2", 8, 4, act=0)
    return n.done("y")


def spaces() -> Model:
    """Space to depth and back, resizing, transposed positions, a batch of positions."""
    n = Sketch()
    n.conv("a", "x", 3, 4)
    n.op("SPACE_TO_DEPTH", "s", "a", options=("SpaceToDepthOptions", {"blockSize": 2}))
    n.conv("b", "s", 16, 12)
    n.op("DEPTH_TO_SPACE", "d", "b", options=("DepthToSpaceOptions", {"blockSize": 2}))
    n.conv("c", "d", 3, 6)
    n.ints("size", 12, 12)
    n.op("RESIZE_BILINEAR", "r", "c", "size", options=("ResizeBilinearOptions", {}))
    n.ints("order", 0, 2, 1, 3)
    n.op("TRANSPOSE", "t", "r", "order", options=("TransposeOptions", {}))
    n.reshape("rows", "t", 288, 6)
    n.dense("e", "rows", 6, 5, act=RELU)
    n.dense("y", "e", 5, 2)
    return n.done("y")


def inverted(*, cap: int = RELU6, scale: float = 1.0) -> Model:
    """MobileNetV2's blocks; `scale` of the input decides whether any ReLU6 is reached."""
    n = Sketch(lo=-scale, hi=scale)
    n.conv("stem", "x", 3, 8, act=cap)
    n.conv("p0", "stem", 8, 4, 1, act=0)
    n.conv("e1", "p0", 4, 16, 1, act=cap)
    n.depthwise("d1", "e1", 16, act=cap)
    n.conv("p1", "d1", 16, 4, 1, act=0)
    n.add("s1", "p0", "p1")
    n.conv("head", "s1", 4, 12, 1, act=0)
    n.op("RELU6" if cap == RELU6 else "RELU", "h", "head")
    n.mean("m", "h")
    n.dense("y", "m", 12, 5)
    return n.done("y")


# name -> (net, groups of layers that may be equalized)
NETS: dict[str, tuple[Callable[[], Model], int]] = {
    "triple": (triple, 4),
    "groups": (groups, 4),
    "standing": (standing, 3),
    "trunk": (trunk, 3),
    "joined": (joined, 2),
    "gate": (gate, 2),
    "spaces": (spaces, 4),
    "inverted": (lambda: inverted(cap=RELU), 5),
}


def feed(model: Model, seed: int = 0, low: float = -1.0, high: float = 1.0) -> dict[str, Any]:
    """Values for every input."""
    rng, graph = np.random.default_rng(seed), model.graphs[0]
    return {
        graph.name(t): rng.uniform(low, high, graph.shape(t)).astype(np.float32)
        for t in graph.inputs
    }


def relative(model: Model, other: Model, feeds: dict[str, Any]) -> float:
    """Largest difference of outputs over the largest output."""
    pairs = zip(run(model.to_bytes(), feeds), run(other.to_bytes(), feeds), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in pairs)
