"""A file on its delegates: XNNPACK's share, the GPU against the CPU, the fp16 risk.

check      check_delegates: the story
sides      one side in a child process: numbers, times, log, death
compiled   what runs in that child: LiteRT's CompiledModel, or its interpreter
log        what LiteRT and the driver say on stderr
gpu        fp32 and fp16 judged against XNNPACK
bisect     the first op that goes wrong
fp16/      the fp16 risk, from the CPU
static     ops that the GPU is known to refuse or get wrong
coverage   which ops XNNPACK took
"""

from tfq_ext.validation.delegates.check import check_delegates
from tfq_ext.validation.delegates.fp16 import Fp16Risk, TensorRisk
from tfq_ext.validation.delegates.rules import RULES
from tfq_ext.validation.delegates.values import (
    STATUSES,
    BadOp,
    Bisection,
    DelegateReport,
    GpuRow,
    OutputError,
    Probe,
    RefusedOp,
    XnnpackCoverage,
)

__all__ = [
    "RULES",
    "STATUSES",
    "BadOp",
    "Bisection",
    "DelegateReport",
    "Fp16Risk",
    "GpuRow",
    "OutputError",
    "Probe",
    "RefusedOp",
    "TensorRisk",
    "XnnpackCoverage",
    "check_delegates",
]
