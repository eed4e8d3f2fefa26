"""KERNELS: op -> its integer arithmetic, and which rounding each of LiteRT's kernel sets uses.

Found by experiment on LiteRT 2.3 (tests/contracts/test_integer_kernels.py compares every entry
with every kernel set, bit by bit).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

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


@dataclass(frozen=True)
class Kernel:
    """How one op computes on codes, and how LiteRT's three kernel sets round it.

    Args:
        compute: outputs of a Call by its `rounding`.
        reference: arithmetic of LiteRT's reference kernels (BUILTIN_REF).
        builtin: of its optimized kernels, which also run what XNNPACK leaves.
        xnnpack: of the default delegate, where it takes the op.
        lsb: codes that an output may differ by; 0 = exact, as all are.
        other: type of the output -> the optimized kernels' arithmetic, where it is another.
        broken: kernel set -> why its result is not compared.
        layer: accumulators before rescaling, of ops that have weights or sum products.
    """

    compute: Compute
    reference: str = "double"
    builtin: str = "double"
    xnnpack: str = "double"
    lsb: int = 0
    other: Mapping[str, str] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    layer: Callable[[Call], linear.Layer] | None = None

    @property
    def exact(self) -> bool:
        """Whether equality is demanded."""
        return self.lsb == 0

    def rounding(self, kernels: str, delegated: bool, dtype: str = "int8") -> str:
        """The arithmetic of an op in a run on a kernel set; `dtype`: of its output."""
        column = "builtin" if kernels == "xnnpack" and not delegated else kernels
        if column == "builtin" and dtype in self.other:
            return self.other[dtype]
        chosen: str = getattr(self, column)
        return chosen


def _weighted(layer: Callable[[Call], linear.Layer], **columns: Any) -> Kernel:
    chosen = {"builtin": "upward", "xnnpack": "xnnpack"} | columns
    return Kernel(lambda call: (linear.rescale(call, layer(call)),), layer=layer, **chosen)


def _tabulated(function: unary.Function) -> Kernel:
    return Kernel(unary.table(function), xnnpack="xnnpack")


_WRAPS = (
    "LiteRT 2.3's reference SUM between different grids gives values that have nothing to do "
    "with the sum (found by experiment)"
)
KERNELS: Table[Kernel] = Table(
    "integer kernel",
    {
        "CONV_2D": _weighted(linear.conv_2d),
        "DEPTHWISE_CONV_2D": _weighted(linear.depthwise_conv_2d, other={"uint8": "double"}),
        "FULLY_CONNECTED": _weighted(linear.fully_connected, reference="away"),
        "TRANSPOSE_CONV": _weighted(linear.transpose_conv, other={"int16": "double"}),
        "BATCH_MATMUL": _weighted(linear.batch_matmul, builtin="double"),
        "ADD": Kernel(elementwise.add, xnnpack="xnnpack", other={"int16": "mixed"}),
        "SUB": Kernel(elementwise.sub, xnnpack="xnnpack"),
        "MUL": Kernel(elementwise.mul, xnnpack="xnnpack"),
        "SQUARED_DIFFERENCE": Kernel(elementwise.squared_difference),
        "MAXIMUM": Kernel(elementwise.maximum),
        "MINIMUM": Kernel(elementwise.minimum),
        "AVERAGE_POOL_2D": Kernel(pooling.average_pool_2d),
        "MAX_POOL_2D": Kernel(pooling.max_pool_2d),
        "MEAN": Kernel(pooling.mean, builtin="upward", xnnpack="xnnpack"),
        "SUM": Kernel(
            pooling.sum_, builtin="upward", xnnpack="xnnpack", broken={"reference": _WRAPS}
        ),
        "REDUCE_MAX": Kernel(pooling.reduce_max),
        "REDUCE_MIN": Kernel(pooling.reduce_min),
        "ARG_MAX": Kernel(pooling.arg_max),
        "ARG_MIN": Kernel(pooling.arg_min),
        "SOFTMAX": Kernel(softmax.softmax, builtin="upward"),
        "LOGISTIC": _tabulated(unary.sigmoid),
        "TANH": _tabulated(np.tanh),
        "ELU": _tabulated(unary.elu),
        "EXP": _tabulated(np.exp),
        "LOG": _tabulated(np.log),
        "RELU": Kernel(unary.relu_to(1), xnnpack="xnnpack"),
        "RELU_N1_TO_1": Kernel(unary.relu_to(2), xnnpack="xnnpack"),
        "RELU6": Kernel(unary.relu_to(3), xnnpack="xnnpack"),
        "LEAKY_RELU": Kernel(unary.leaky_relu, xnnpack="xnnpack"),
        "PRELU": Kernel(unary.prelu),
        "HARD_SWISH": Kernel(unary.hard_swish, xnnpack="xnnpack"),
        "ABS": Kernel(unary.absolute),
        "QUANTIZE": Kernel(unary.quantize, builtin="upward", xnnpack="xnnpack"),
        "DEQUANTIZE": Kernel(unary.dequantize, builtin="upward"),
        "RESIZE_NEAREST_NEIGHBOR": Kernel(resize.resize_nearest_neighbor),
        "RESIZE_BILINEAR": Kernel(resize.resize_bilinear, xnnpack="xnnpack"),
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
