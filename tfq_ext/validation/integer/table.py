"""KERNELS: op -> its integer arithmetic, and which rounding each of LiteRT's kernel sets uses.

Found by experiment on LiteRT 2.3 (tests/contracts/test_integer_kernels.py compares every entry
with every kernel set, bit by bit).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext._table import Table
from tfq_ext.validation.integer import (
    elementwise,
    linear,
    moving,
    pooling,
    resize,
    softmax,
    unary,
)
from tfq_ext.validation.integer.call import Array, Call

Compute = Callable[[Call], tuple[Array, ...]]
ANY = ("double",)  # one arithmetic for all: no rounding in it
FIXED = ("double", "single")


@dataclass(frozen=True)
class Kernel:
    """How one op computes on codes.

    Args:
        compute: outputs of a Call; its `rounding` is one of the names below.
        reference, builtin, xnnpack: arithmetics that LiteRT's reference kernels, optimized
            kernels, and default (XNNPACK, optimized for what it leaves) use; first the usual one.
        lsb: codes that the outputs may differ by where no arithmetic here is exact; 0 = exact.
        note: what is not covered, or why `lsb` is not 0.
    """

    compute: Compute
    reference: tuple[str, ...] = ANY
    builtin: tuple[str, ...] = ANY
    xnnpack: tuple[str, ...] = ANY
    lsb: int = 0
    note: str = ""
    layer: Callable[[Call], linear.Layer] | None = None

    @property
    def exact(self) -> bool:
        """Whether equality is demanded."""
        return self.lsb == 0

    def arithmetics(self, kernels: str) -> tuple[str, ...]:
        """Those of a kernel set: "reference", "builtin" or "xnnpack"."""
        chosen: tuple[str, ...] = getattr(self, kernels)
        return chosen


def _weighted(layer: Callable[[Call], linear.Layer]) -> Kernel:
    return Kernel(
        lambda call: (linear.rescale(call, layer(call)),),
        ("double",),
        ("single", "double"),
        ("xnnpack", "single", "double"),
        layer=layer,
    )


def _tabulated(function: unary.Function) -> Kernel:
    return Kernel(unary.table(function), ANY, ANY, ("xnnpack", "double"))


_THREE = ("xnnpack", "double")
KERNELS: Table[Kernel] = Table(
    "integer kernel",
    {
        "CONV_2D": _weighted(linear.conv_2d),
        "DEPTHWISE_CONV_2D": _weighted(linear.depthwise_conv_2d),
        "FULLY_CONNECTED": _weighted(linear.fully_connected),
        "TRANSPOSE_CONV": _weighted(linear.transpose_conv),
        "BATCH_MATMUL": _weighted(linear.batch_matmul),
        "ADD": Kernel(elementwise.add, xnnpack=_THREE),
        "SUB": Kernel(elementwise.sub, xnnpack=_THREE),
        "MUL": Kernel(elementwise.mul, xnnpack=_THREE),
        "SQUARED_DIFFERENCE": Kernel(elementwise.squared_difference),
        "MAXIMUM": Kernel(elementwise.maximum),
        "MINIMUM": Kernel(elementwise.minimum),
        "AVERAGE_POOL_2D": Kernel(pooling.average_pool_2d),
        "MAX_POOL_2D": Kernel(pooling.max_pool_2d),
        "MEAN": Kernel(pooling.mean, ANY, FIXED, ("xnnpack", "single", "double")),
        "SUM": Kernel(pooling.sum_, xnnpack=_THREE),
        "REDUCE_MAX": Kernel(pooling.reduce_max),
        "REDUCE_MIN": Kernel(pooling.reduce_min),
        "ARG_MAX": Kernel(pooling.arg_max),
        "ARG_MIN": Kernel(pooling.arg_min),
        "SOFTMAX": Kernel(softmax.softmax, ANY, ("single",), ("single",)),
        "LOGISTIC": _tabulated(unary.sigmoid),
        "TANH": _tabulated(np.tanh),
        "ELU": _tabulated(unary.elu),
        "EXP": _tabulated(np.exp),
        "LOG": _tabulated(np.log),
        "RELU": Kernel(unary.relu_to(1), xnnpack=_THREE),
        "RELU_N1_TO_1": Kernel(unary.relu_to(2), xnnpack=_THREE),
        "RELU6": Kernel(unary.relu_to(3), xnnpack=_THREE),
        "LEAKY_RELU": Kernel(unary.leaky_relu, xnnpack=_THREE),
        "PRELU": Kernel(unary.prelu),
        "HARD_SWISH": Kernel(unary.hard_swish, xnnpack=_THREE),
        "ABS": Kernel(unary.absolute),
        "QUANTIZE": Kernel(unary.quantize, xnnpack=_THREE),
        "DEQUANTIZE": Kernel(unary.dequantize),
        "RESIZE_NEAREST_NEIGHBOR": Kernel(resize.resize_nearest_neighbor),
        "RESIZE_BILINEAR": Kernel(resize.resize_bilinear, xnnpack=_THREE),
        "CONCATENATION": Kernel(moving.concatenation),
        "RESHAPE": Kernel(moving.reshape),
        "SQUEEZE": Kernel(moving.reshape),
        "EXPAND_DIMS": Kernel(moving.reshape),
        "TRANSPOSE": Kernel(moving.transpose),
        "SLICE": Kernel(moving.slice_),
        "STRIDED_SLICE": Kernel(moving.strided_slice),
        "SPLIT": Kernel(moving.split),
        "SPLIT_V": Kernel(moving.split_v),
        "PACK": Kernel(moving.pack),
        "UNPACK": Kernel(moving.unpack),
        "PAD": Kernel(moving.pad),
        "PADV2": Kernel(moving.pad),
        "MIRROR_PAD": Kernel(moving.mirror_pad),
        "GATHER": Kernel(moving.gather),
        "GATHER_ND": Kernel(moving.gather_nd),
        "TILE": Kernel(moving.tile),
        "BROADCAST_TO": Kernel(moving.broadcast_to),
        "REVERSE_V2": Kernel(moving.reverse_v2),
        "SPACE_TO_DEPTH": Kernel(moving.space_to_depth),
        "DEPTH_TO_SPACE": Kernel(moving.depth_to_space),
        "SPACE_TO_BATCH_ND": Kernel(moving.space_to_batch_nd),
        "BATCH_TO_SPACE_ND": Kernel(moving.batch_to_space_nd),
        "SELECT": Kernel(moving.select),
        "SELECT_V2": Kernel(moving.select),
        "DYNAMIC_UPDATE_SLICE": Kernel(moving.dynamic_update_slice),
    },
)


def compute(call: Call, rounding: str) -> tuple[Array, ...]:
    """Outputs of a call by one arithmetic."""
    return KERNELS[call.code].compute(replace(call, rounding=rounding))
