"""A float network with a residual branch, PAD, concat and a dense head; no TensorFlow needed."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from one_op import Net, X, f32

from tfq_ext.tflite.read import Model

RELU6 = schema.ActivationFunctionType.RELU6
SHAPE = (1, 8, 8, 3)


def conv_options(activation: int = 0, stride: int = 1):
    values = {
        "padding": schema.Padding.SAME,
        "strideH": stride,
        "strideW": stride,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": activation,
    }
    return ("Conv2DOptions", values)


def residual(*, spread: float = 1.0, seed: int = 0) -> Model:
    """conv -> [conv, +] -> depthwise -> mean -> dense; `spread` scales one conv's channels."""
    net = Net()
    net.input("image", X(SHAPE, -1.0, 1.0))
    gain = np.geomspace(1, spread, 8).astype(np.float32)[:, None, None, None]
    net.const("w1", f32(8, 3, 3, 3, seed=seed) * gain)
    net.const("b1", f32(8, seed=seed + 1))
    net.op("CONV_2D", "a", "image", "w1", "b1", options=conv_options(RELU6), version=1)
    net.const("w2", f32(8, 3, 3, 8, seed=seed + 2) * 0.2)
    net.const("b2", f32(8, seed=seed + 3))
    net.op("CONV_2D", "branch", "a", "w2", "b2", options=conv_options(), version=1)
    net.op("ADD", "sum", "a", "branch", options=("AddOptions", {}))
    net.const("w3", f32(1, 3, 3, 8, seed=seed + 4) * 0.4)
    net.const("b3", f32(8, seed=seed + 5))
    depthwise = ("DepthwiseConv2DOptions", {**conv_options(RELU6)[1], "depthMultiplier": 1})
    net.op("DEPTHWISE_CONV_2D", "deep", "sum", "w3", "b3", options=depthwise, version=1)
    net.const("axes", np.array([1, 2], np.int32))
    net.op("MEAN", "mean", "deep", "axes", options=("ReducerOptions", {}))
    net.const("w4", f32(5, 8, seed=seed + 6))
    net.const("b4", f32(5, seed=seed + 7))
    net.op("FULLY_CONNECTED", "logits", "mean", "w4", "b4", options=("FullyConnectedOptions", {}))
    return net.done("logits")


def images(n: int = 24, seed: int = 0) -> np.ndarray:
    """float32[n, 8, 8, 3] in [-1, 1]."""
    return np.random.default_rng(seed).uniform(-1, 1, (n, *SHAPE[1:])).astype(np.float32)
