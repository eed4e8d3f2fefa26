"""RANDOM: op -> a random example of it, for every integer kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from integer_examples import (
    arg,
    batch_matmul,
    binary,
    binary_same,
    concatenation,
    conv_2d,
    copying,
    depthwise_conv_2d,
    dequantize,
    fully_connected,
    i32,
    packing,
    padv2,
    pool,
    prelu,
    quantize,
    reduction,
    resize,
    same_grid,
    selecting,
    strided_slice,
    transpose_conv,
    unary,
    update_slice,
)
from integer_ops import OneOp, T

SOFT = {"int8": (1 / 256, -128), "uint8": (1 / 256, 0), "int16": (1 / 32768, 0)}
TAN = {"int8": (1 / 128, 0), "uint8": (1 / 128, 128), "int16": (1 / 32768, 0)}
PADS = i32([[0, 0], [1, 2], [2, 0], [0, 1]])
SIDES = i32([[0, 0], [1, 1], [1, 0], [0, 0]])
BLOCK = i32([2, 2])
AXIS1 = T((), "int32", None, 0, np.array(1, np.int32))

RANDOM: dict[str, Callable[..., OneOp]] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": depthwise_conv_2d,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
    "BATCH_MATMUL": batch_matmul,
    "ADD": binary("ADD", "AddOptions"),
    "SUB": binary("SUB", "SubOptions"),
    "MUL": binary("MUL", "MulOptions"),
    "SQUARED_DIFFERENCE": binary("SQUARED_DIFFERENCE", "SquaredDifferenceOptions", False),
    "MAXIMUM": binary_same("MAXIMUM", "MaximumMinimumOptions"),
    "MINIMUM": binary_same("MINIMUM", "MaximumMinimumOptions"),
    "AVERAGE_POOL_2D": pool("AVERAGE_POOL_2D"),
    "MAX_POOL_2D": pool("MAX_POOL_2D"),
    "MEAN": reduction("MEAN", True),
    "SUM": reduction("SUM", True),
    "REDUCE_MAX": reduction("REDUCE_MAX", False),
    "REDUCE_MIN": reduction("REDUCE_MIN", False),
    "ARG_MAX": arg("ARG_MAX", "ArgMaxOptions"),
    "ARG_MIN": arg("ARG_MIN", "ArgMinOptions"),
    "SOFTMAX": unary(
        "SOFTMAX", lambda r: ("SoftmaxOptions", {"beta": float(r.choice([1.0, 0.7]))}), SOFT
    ),
    "LOGISTIC": unary("LOGISTIC", None, SOFT),
    "TANH": unary("TANH", None, TAN),
    "ELU": unary("ELU", version=1),
    "EXP": unary("EXP", hi=0.02),
    "LOG": unary("LOG", positive=True),
    "RELU": unary("RELU"),
    "RELU_N1_TO_1": unary("RELU_N1_TO_1", version=1),
    "RELU6": unary("RELU6"),
    "LEAKY_RELU": unary(
        "LEAKY_RELU", lambda r: ("LeakyReluOptions", {"alpha": float(r.choice([0.1, 0.2, 0.01]))})
    ),
    "PRELU": prelu,
    "HARD_SWISH": unary("HARD_SWISH", lambda r: ("HardSwishOptions", {}), version=1),
    "ABS": unary("ABS"),
    "QUANTIZE": quantize,
    "DEQUANTIZE": dequantize,
    "RESIZE_NEAREST_NEIGHBOR": resize("RESIZE_NEAREST_NEIGHBOR", "ResizeNearestNeighborOptions"),
    "RESIZE_BILINEAR": resize("RESIZE_BILINEAR", "ResizeBilinearOptions"),
    "CONCATENATION": same_grid(concatenation),
    "RESHAPE": copying(
        "RESHAPE", (2, 6), i32([3, 4]), options=("ReshapeOptions", {"newShape": [3, 4]}), version=1
    ),
    "SQUEEZE": copying(
        "SQUEEZE", (2, 1, 6), options=("SqueezeOptions", {"squeezeDims": [1]}), version=1
    ),
    "EXPAND_DIMS": copying(
        "EXPAND_DIMS", (2, 6), AXIS1, options=("ExpandDimsOptions", {}), version=1
    ),
    "TRANSPOSE": copying(
        "TRANSPOSE", (2, 3, 4, 5), i32([0, 3, 1, 2]), options=("TransposeOptions", {})
    ),
    "SLICE": copying("SLICE", (4, 6), i32([1, 2]), i32([2, -1]), options=("SliceOptions", {})),
    "STRIDED_SLICE": same_grid(strided_slice),
    "SPLIT": copying(
        "SPLIT", (2, 6), AXIS1, options=("SplitOptions", {"numSplits": 2}), first=False, outputs=2
    ),
    "SPLIT_V": copying(
        "SPLIT_V",
        (2, 6),
        i32([2, 4]),
        AXIS1,
        options=("SplitVOptions", {"numSplits": 2}),
        outputs=2,
    ),
    "PACK": same_grid(packing),
    "UNPACK": copying(
        "UNPACK", (2, 3, 4), options=("UnpackOptions", {"num": 3, "axis": 1}), outputs=3
    ),
    "PAD": copying("PAD", (1, 4, 5, 3), PADS, options=("PadOptions", {})),
    "PADV2": same_grid(padv2),
    "MIRROR_PAD": copying(
        "MIRROR_PAD", (1, 4, 5, 3), SIDES, options=("MirrorPadOptions", {"mode": 0})
    ),
    "GATHER": copying("GATHER", (3, 6), i32([4, 0, 4]), options=("GatherOptions", {"axis": 1})),
    "GATHER_ND": copying(
        "GATHER_ND", (3, 6), i32([[1, 2], [0, 3]]), options=("GatherNdOptions", {})
    ),
    "TILE": copying("TILE", (3, 2), i32([2, 3]), options=("TileOptions", {})),
    "BROADCAST_TO": copying(
        "BROADCAST_TO", (1, 4), i32([3, 4]), options=("BroadcastToOptions", {})
    ),
    "REVERSE_V2": copying("REVERSE_V2", (3, 4), i32([1]), options=("ReverseV2Options", {})),
    "SPACE_TO_DEPTH": copying(
        "SPACE_TO_DEPTH", (2, 4, 6, 3), options=("SpaceToDepthOptions", {"blockSize": 2})
    ),
    "DEPTH_TO_SPACE": copying(
        "DEPTH_TO_SPACE", (2, 4, 6, 8), options=("DepthToSpaceOptions", {"blockSize": 2}), version=1
    ),
    "SPACE_TO_BATCH_ND": copying(
        "SPACE_TO_BATCH_ND",
        (1, 4, 5, 3),
        BLOCK,
        i32([[0, 0], [1, 0]]),
        options=("SpaceToBatchNDOptions", {}),
    ),
    "BATCH_TO_SPACE_ND": copying(
        "BATCH_TO_SPACE_ND",
        (4, 3, 3, 2),
        BLOCK,
        i32([[0, 1], [1, 0]]),
        options=("BatchToSpaceNDOptions", {}),
    ),
    "SELECT": selecting("SELECT"),
    "SELECT_V2": selecting("SELECT_V2"),
    "DYNAMIC_UPDATE_SLICE": same_grid(update_slice),
}
