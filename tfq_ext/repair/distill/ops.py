"""Float ops of a flatbuffer in TensorFlow, which can differentiate them: one table.

Each entry takes a `Call` and gives the op's first output, before the fused activation. Samples lie
along the first axis: where the flatbuffer says 1 there, any number goes. What the table holds is
held against LiteRT on samples before anything is learned (`network.Network.distance`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Graph

Op = Callable[["Call"], Any]


class NotDifferentiable(ModelError):
    """An op, or a use of it, that the table does not have."""


@dataclass(frozen=True)
class Call:
    """One op with its inputs.

    Args:
        tf: TensorFlow.
        graph, op: of the flatbuffer.
        x: one tensor an input of the op; numpy arrays where they are constants that nobody
            learns; None where the op leaves one out.
    """

    tf: Any
    graph: Graph
    op: Any
    x: Sequence[Any]

    @property
    def options(self) -> Any:
        """The flatbuffer's options of the op."""
        return self.op.builtinOptions

    def constant(self, position: int) -> np.ndarray:
        """A constant input, as numpy."""
        values = self.graph.constant(int(self.op.inputs[position]))
        if values is None:
            raise NotDifferentiable(f"{self.graph.code(self.op)} on computed shapes")
        return values

    @property
    def padding(self) -> str:
        """SAME or VALID."""
        return "SAME" if self.options.padding == 0 else "VALID"

    @property
    def strides(self) -> list[int]:
        """Of four axes."""
        return [1, self.options.strideH, self.options.strideW, 1]

    def with_bias(self, y: Any, position: int = 2) -> Any:
        """Plus the bias, where there is one."""
        given = len(self.x) > position and self.x[position] is not None
        return y + self.x[position] if given else y


def _conv(call: Call) -> Any:
    tf, o, (x, w) = call.tf, call.options, call.x[:2]
    if int(w.shape[3]) != int(x.shape[3]):
        raise NotDifferentiable("CONV_2D in groups")
    kernel = tf.transpose(w, (1, 2, 3, 0))
    dilations = [1, o.dilationHFactor, o.dilationWFactor, 1]
    return call.with_bias(tf.nn.conv2d(x, kernel, call.strides, call.padding, dilations=dilations))


def _depthwise(call: Call) -> Any:
    tf, o, (x, w) = call.tf, call.options, call.x[:2]
    height, width, channels = int(w.shape[1]), int(w.shape[2]), int(x.shape[3])
    kernel = tf.reshape(w, (height, width, channels, int(w.shape[3]) // channels))
    dilations = [o.dilationHFactor, o.dilationWFactor]
    y = tf.nn.depthwise_conv2d(x, kernel, call.strides, call.padding, dilations=dilations)
    return call.with_bias(y)


def _dense(call: Call) -> Any:
    tf, (x, w) = call.tf, call.x[:2]
    if not call.options.keepNumDims:
        x = tf.reshape(x, (-1, int(w.shape[1])))
    return call.with_bias(tf.tensordot(x, w, [[-1], [1]]))


def _transposed_conv(call: Call) -> Any:
    tf, w, x = call.tf, call.x[1], call.x[2]
    shape = [tf.shape(x)[0], *(int(n) for n in call.constant(0)[1:])]
    kernel = tf.transpose(w, (1, 2, 0, 3))
    return call.with_bias(
        tf.nn.conv2d_transpose(x, kernel, shape, call.strides, call.padding), position=3
    )


def _pooled(name: str) -> Op:
    def pool(call: Call) -> Any:
        o = call.options
        window = [1, o.filterHeight, o.filterWidth, 1]
        return getattr(call.tf.nn, name)(call.x[0], window, call.strides, call.padding)

    return pool


def _reduced(name: str) -> Op:
    def reduce(call: Call) -> Any:
        axes = [int(n) for n in np.atleast_1d(call.constant(1))]
        if 0 in axes or -len(call.x[0].shape) in axes:
            raise NotDifferentiable(f"{call.graph.code(call.op)} over the samples")
        return getattr(call.tf.math, name)(call.x[0], axes, bool(call.options.keepDims))

    return reduce


def _reshape(call: Call) -> Any:
    """To the shape of the output, whose first axis must hold the samples."""
    shape = call.graph.tensors[int(call.op.outputs[0])].shape
    rest = [int(n) for n in shape[1:]]
    before = call.graph.tensors[int(call.op.inputs[0])].shape
    if not len(shape) or int(shape[0]) != int(before[0]):
        raise NotDifferentiable("RESHAPE across samples")
    return call.tf.reshape(call.x[0], (-1, *rest))


def _transpose(call: Call) -> Any:
    order = [int(n) for n in call.constant(1)]
    if order[0] != 0:
        raise NotDifferentiable("TRANSPOSE of the samples")
    return call.tf.transpose(call.x[0], order)


def _padded(call: Call) -> Any:
    value = call.x[2] if len(call.x) > 2 else 0.0
    return call.tf.pad(call.x[0], call.constant(1), constant_values=value)


def _concatenated(call: Call) -> Any:
    axis = call.options.axis
    if axis in (0, -len(call.x[0].shape)):
        raise NotDifferentiable("CONCATENATION of samples")
    return call.tf.concat(list(call.x), axis)


def _resized(method: str) -> Op:
    def resize(call: Call) -> Any:
        if not call.options.halfPixelCenters or call.options.alignCorners:
            raise NotDifferentiable(f"{call.graph.code(call.op)} without half-pixel centres")
        return call.tf.image.resize(call.x[0], [int(n) for n in call.constant(1)], method)

    return resize


def _matmul(call: Call) -> Any:
    o, (a, b) = call.options, call.x[:2]
    return call.tf.matmul(a, b, transpose_a=bool(o.adjX), transpose_b=bool(o.adjY))


def _one(function: Callable[[Any, Any], Any]) -> Op:
    return lambda call: function(call.tf, call.x[0])


def _two(function: Callable[[Any, Any], Any]) -> Op:
    return lambda call: function(call.x[0], call.x[1])


def _both(name: str) -> Op:
    return lambda call: getattr(call.tf, name)(call.x[0], call.x[1])


def _looked_up(call: Call) -> Any:
    """Rows of a constant table."""
    if call.options.axis or not call.graph.is_constant(int(call.op.inputs[0])):
        raise NotDifferentiable("GATHER from what is computed")
    return call.tf.gather(call.x[0], call.x[1])


def _mirrored(call: Call) -> Any:
    mode = "REFLECT" if call.options.mode == 0 else "SYMMETRIC"
    return call.tf.pad(call.x[0], call.constant(1), mode)


def _prelu(call: Call) -> Any:
    tf, (x, slope) = call.tf, call.x
    return tf.nn.relu(x) - slope * tf.nn.relu(-x)


def _leaky(call: Call) -> Any:
    return call.tf.nn.leaky_relu(call.x[0], call.options.alpha)


def _softmax(call: Call) -> Any:
    return call.tf.nn.softmax(call.x[0] * call.options.beta)


def _gelu(call: Call) -> Any:
    return call.tf.nn.gelu(call.x[0], approximate=bool(call.options.approximate))


OPS: Table[Op] = Table(
    "op that distillation knows",
    {
        "CONV_2D": _conv,
        "DEPTHWISE_CONV_2D": _depthwise,
        "FULLY_CONNECTED": _dense,
        "TRANSPOSE_CONV": _transposed_conv,
        "ADD": _two(lambda a, b: a + b),
        "SUB": _two(lambda a, b: a - b),
        "MUL": _two(lambda a, b: a * b),
        "DIV": _two(lambda a, b: a / b),
        "SQUARED_DIFFERENCE": _two(lambda a, b: (a - b) ** 2),
        "MAXIMUM": _both("maximum"),
        "MINIMUM": _both("minimum"),
        "BATCH_MATMUL": _matmul,
        "GATHER": _looked_up,
        "RELU": _one(lambda tf, x: tf.nn.relu(x)),
        "RELU6": _one(lambda tf, x: tf.clip_by_value(x, 0.0, 6.0)),
        "RELU_N1_TO_1": _one(lambda tf, x: tf.clip_by_value(x, -1.0, 1.0)),
        "LEAKY_RELU": _leaky,
        "PRELU": _prelu,
        "ELU": _one(lambda tf, x: tf.nn.elu(x)),
        "GELU": _gelu,
        "HARD_SWISH": _one(lambda tf, x: x * tf.clip_by_value(x + 3.0, 0.0, 6.0) / 6.0),
        "LOGISTIC": _one(lambda tf, x: tf.sigmoid(x)),
        "TANH": _one(lambda tf, x: tf.tanh(x)),
        "SOFTMAX": _softmax,
        "LOG_SOFTMAX": _one(lambda tf, x: tf.nn.log_softmax(x)),
        "LOG": _one(lambda tf, x: tf.math.log(x)),
        "EXP": _one(lambda tf, x: tf.exp(x)),
        "SQRT": _one(lambda tf, x: tf.sqrt(x)),
        "RSQRT": _one(lambda tf, x: tf.math.rsqrt(x)),
        "NEG": _one(lambda tf, x: -x),
        "ABS": _one(lambda tf, x: tf.abs(x)),
        "MEAN": _reduced("reduce_mean"),
        "SUM": _reduced("reduce_sum"),
        "REDUCE_MAX": _reduced("reduce_max"),
        "AVERAGE_POOL_2D": _pooled("avg_pool2d"),
        "MAX_POOL_2D": _pooled("max_pool2d"),
        "PAD": _padded,
        "PADV2": _padded,
        "MIRROR_PAD": _mirrored,
        "CONCATENATION": _concatenated,
        "RESHAPE": _reshape,
        "SQUEEZE": _reshape,
        "EXPAND_DIMS": _reshape,
        "TRANSPOSE": _transpose,
        "RESIZE_BILINEAR": _resized("bilinear"),
        "RESIZE_NEAREST_NEIGHBOR": _resized("nearest"),
    },
)

FUSED: dict[str, Callable[[Any, Any], Any]] = {
    "NONE": lambda tf, y: y,
    "RELU": lambda tf, y: tf.nn.relu(y),
    "RELU6": lambda tf, y: tf.clip_by_value(y, 0.0, 6.0),
    "RELU_N1_TO_1": lambda tf, y: tf.clip_by_value(y, -1.0, 1.0),
    "TANH": lambda tf, y: tf.tanh(y),
}
