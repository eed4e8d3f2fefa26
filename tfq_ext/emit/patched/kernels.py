"""What LiteRT's built-in kernels take: one row per op, read down the columns.

Versions are those of TensorFlow's `op_version.cc` (the oldest op version whose kernel takes the
type). Which operands share a grid and which outputs are prescribed: `tflite/facts.py`. Every row
is run against the float op in `tests/emit`; a type that fails there is None here.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext._table import Table
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams
from tfq_ext.tflite.facts import FIXED_OUTPUT


@dataclass(frozen=True)
class Kernel:
    """Which op version takes integers.

    Args:
        int8, int16: op version whose kernel takes activations of that type; None: no kernel.
        clips: a constant operand is clipped to the shared grid instead of widening it
            (padding with -inf, masks of -1e9, clamps).
    """

    int8: int | None
    int16: int | None
    clips: bool = False

    def version(self, dtype: str) -> int | None:
        """Op version for activations of `dtype` ("int8" or "int16"), or None."""
        return {"int8": self.int8, "int16": self.int16}[dtype]


def fixed_grid(code: str, dtype: str) -> QParams | None:
    """The grid that the kernel demands of its output, or None when it leaves the choice."""
    fixed = FIXED_OUTPUT.get(code)
    if fixed is None:
        return None
    if dtype == "int16":
        return QParams(INT16_ACTIVATION, fixed.scale16)
    return QParams(INT8_ACTIVATION, fixed.scale8, fixed.zero8)


KERNELS: Table[Kernel] = Table(
    "integer kernel",
    {
        # weights
        "CONV_2D": Kernel(3, 4),
        "DEPTHWISE_CONV_2D": Kernel(3, 5),
        "FULLY_CONNECTED": Kernel(4, 7),
        "TRANSPOSE_CONV": Kernel(3, 3),
        "BATCH_MATMUL": Kernel(2, 3),
        # two operands
        "ADD": Kernel(2, 3),
        "SUB": Kernel(2, 5),
        "MUL": Kernel(3, 4),
        "DIV": Kernel(1, 1),
        "SQUARED_DIFFERENCE": Kernel(2, None),
        "MAXIMUM": Kernel(2, 4, clips=True),
        "MINIMUM": Kernel(2, 4, clips=True),
        "SELECT": Kernel(2, 1, clips=True),
        "SELECT_V2": Kernel(1, 1, clips=True),
        "PRELU": Kernel(1, None),
        # one operand
        "RELU": Kernel(2, 3),
        "RELU6": Kernel(2, 3),
        "RELU_N1_TO_1": Kernel(1, None),
        "LEAKY_RELU": Kernel(1, 2),
        "ELU": Kernel(1, None),
        "GELU": Kernel(2, 1),
        "HARD_SWISH": Kernel(1, None),
        "LOGISTIC": Kernel(2, 3),
        "TANH": Kernel(2, 3),
        "SOFTMAX": Kernel(2, 3),
        "LOG_SOFTMAX": Kernel(2, None),
        "L2_NORMALIZATION": Kernel(2, None),
        "ABS": Kernel(2, 3),
        "EXP": Kernel(2, 2),
        "LOG": Kernel(2, 2),
        "SQRT": Kernel(2, 2),
        "RSQRT": Kernel(2, 3),
        # reductions
        "MEAN": Kernel(2, 3),
        "SUM": Kernel(2, 1),
        "REDUCE_MAX": Kernel(2, 3),
        "REDUCE_MIN": Kernel(2, 3),
        "REDUCE_PROD": Kernel(2, 2),
        "ARG_MAX": Kernel(2, None),
        "ARG_MIN": Kernel(2, None),
        "TOPK_V2": Kernel(2, 3),
        # comparisons: bool out
        "EQUAL": Kernel(2, 5),
        "NOT_EQUAL": Kernel(2, 4),
        "GREATER": Kernel(2, 2),
        "GREATER_EQUAL": Kernel(2, 3),
        "LESS": Kernel(2, 3),
        "LESS_EQUAL": Kernel(2, 2),
        # pooling and resizing
        "AVERAGE_POOL_2D": Kernel(2, 3),
        "MAX_POOL_2D": Kernel(2, 3),
        "RESIZE_BILINEAR": Kernel(2, 4),
        "RESIZE_NEAREST_NEIGHBOR": Kernel(2, 4),
        # layout
        "RESHAPE": Kernel(1, 1),
        "SHAPE": Kernel(1, 1),
        "FILL": Kernel(3, 3),
        "SQUEEZE": Kernel(1, 1),
        "EXPAND_DIMS": Kernel(1, 1),
        "TRANSPOSE": Kernel(2, 5),
        "SLICE": Kernel(2, 4),
        "STRIDED_SLICE": Kernel(2, 1),
        "SPLIT": Kernel(2, 4),
        "SPLIT_V": Kernel(2, 1),
        "PACK": Kernel(2, 3),
        "UNPACK": Kernel(2, 4),
        "CONCATENATION": Kernel(2, 3),
        "PAD": Kernel(2, 3),
        "PADV2": Kernel(2, 3, clips=True),
        "MIRROR_PAD": Kernel(2, 3),
        "GATHER": Kernel(2, 4),
        "GATHER_ND": Kernel(1, 3),
        "TILE": Kernel(3, 1),
        "REVERSE_V2": Kernel(3, 1),
        "BROADCAST_TO": Kernel(3, 3),
        "SPACE_TO_DEPTH": Kernel(2, None),
        "DEPTH_TO_SPACE": Kernel(2, None),
        "SPACE_TO_BATCH_ND": Kernel(2, 4),
        "BATCH_TO_SPACE_ND": Kernel(2, 4),
        "DYNAMIC_UPDATE_SLICE": Kernel(1, 4),
    },
)
