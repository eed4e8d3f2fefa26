"""The sets of kernels that LiteRT can run a file with."""

from __future__ import annotations

from dataclasses import dataclass

from ai_edge_litert.interpreter import OpResolverType

from tfq_ext._table import Table
from tfq_ext.tflite.run import KERNEL_SETS


@dataclass(frozen=True)
class KernelSet:
    """One of them.

    Args:
        resolver: LiteRT's name for it.
        mode: `kernel_mode` of the compiled model's CPU options, for the profiler; None: it has
            none (LiteRT 2.3 runs builtin kernels when asked for reference ones).
        what: one sentence.
    """

    resolver: OpResolverType
    mode: int | None
    what: str


KERNELS: Table[KernelSet] = Table(
    "kernel set",
    {
        "xnnpack": KernelSet(
            KERNEL_SETS["xnnpack"],
            0,
            "XNNPACK where it can, builtin kernels elsewhere: the default",
        ),
        "builtin": KernelSet(KERNEL_SETS["builtin"], 2, "LiteRT's own optimised kernels"),
        "reference": KernelSet(
            KERNEL_SETS["reference"], None, "LiteRT's plain kernels: slow, bit for bit the same"
        ),
    },
)
