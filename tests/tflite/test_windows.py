"""A layer's windows times its rows are what LiteRT computes."""

from __future__ import annotations

import numpy as np
import pytest
from one_op import Net, X, f32, i32
from one_op import run as run_op

from tfq_ext.rounding import apply_rows, to_rows
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.windows import READERS

SAME, VALID = 0, 1


def conv(padding, stride=(1, 1), gap=(1, 1), **more):
    options = {"padding": padding, "strideH": stride[0], "strideW": stride[1]}
    return options | {"dilationHFactor": gap[0], "dilationWFactor": gap[1]} | more


CASES = {
    "conv": ("CONV_2D", (2, 7, 6, 3), f32(5, 3, 3, 3), conv(SAME)),
    "conv valid, strides": ("CONV_2D", (1, 9, 8, 3), f32(5, 3, 2, 3), conv(VALID, (2, 3))),
    "conv same, strides": ("CONV_2D", (1, 8, 9, 3), f32(5, 3, 3, 3), conv(SAME, (2, 2))),
    "conv dilated": ("CONV_2D", (1, 9, 9, 3), f32(5, 3, 3, 3), conv(SAME, gap=(2, 2))),
    "conv grouped": ("CONV_2D", (1, 5, 5, 6), f32(4, 3, 3, 3), conv(SAME)),
    "1 x 1": ("CONV_2D", (2, 4, 4, 8), f32(3, 1, 1, 8), conv(SAME)),
    "depthwise": (
        "DEPTHWISE_CONV_2D",
        (2, 6, 7, 4),
        f32(1, 3, 3, 4),
        conv(SAME, (2, 2), depthMultiplier=1),
    ),
    "depthwise, multiplier": (
        "DEPTHWISE_CONV_2D",
        (1, 6, 7, 2),
        f32(1, 3, 3, 6),
        conv(VALID, depthMultiplier=3),
    ),
    "dense": ("FULLY_CONNECTED", (4, 8), f32(5, 8), {}),
    "dense, rank 3": ("FULLY_CONNECTED", (2, 3, 8), f32(5, 8), {"keepNumDims": True}),
}
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
}


def check(net, code, x, weight, axis):
    model = net.done("y")
    (graph,) = model.graphs
    op, reader = graph.ops[0], READERS[code]
    want = run_op(model.to_bytes(), {"x": x})[0].reshape(-1, weight.shape[axis])
    count = reader.count(graph, op, x.shape)
    assert count == len(want)
    few = np.random.default_rng(1).permutation(count)[: max(1, count // 2)]
    rows = to_rows(weight, axis)
    found = reader.take(graph, op, x, few)
    assert found.shape == (len(few), found.shape[1], rows.shape[1])
    np.testing.assert_allclose(apply_rows(rows, found), want[few], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_rows_times_windows_are_the_outputs(name):
    code, shape, weight, options = CASES[name]
    net = Net()
    net.input("x", X(shape))
    net.const("w", weight)
    net.const("b", np.zeros(weight.shape[WEIGHTS[code].axis], np.float32))
    net.op(code, "y", "x", "w", "b", options=(OPTIONS[code], options))
    x = f32(*shape, seed=3)
    check(net, code, x, weight, WEIGHTS[code].axis)


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("size", [2, 3])
def test_of_a_transposed_convolution_too(padding, stride, size):
    high, wide = 5, 4
    grow = (lambda d: d * stride) if padding == SAME else (lambda d: (d - 1) * stride + size)
    if padding == VALID and size < stride:
        grow = lambda d: (d - 1) * stride + size  # noqa: E731
    weight = f32(3, size, size, 2)
    net = Net()
    net.input("x", X((1, high, wide, 2)))
    net.const("shape", i32(1, grow(high), grow(wide), 3))
    net.const("w", weight)
    options = {"padding": padding, "strideH": stride, "strideW": stride}
    net.op("TRANSPOSE_CONV", "y", "shape", "w", "x", options=("TransposeConvOptions", options))
    check(net, "TRANSPOSE_CONV", f32(1, high, wide, 2, seed=3), weight, 0)
