"""Where a file's time goes: each op's share, which ran in XNNPACK, where the graph is split.

capi       the wheel's C library by ctypes
session    run a file under its profiler -> events
partition  which ops a delegate took -> runs of ops
mapping    events -> graph ops
breaks     which op stops a delegate or an accelerator's compiler, and why
"""

from __future__ import annotations

from tfq_ext.validation.profile.breaks import Break, accelerator_breaks, xnnpack_breaks
from tfq_ext.validation.profile.measure import profile_model
from tfq_ext.validation.profile.partition import Partition
from tfq_ext.validation.profile.rows import BUILTIN, FOLDED, FUSED, XNNPACK, OpTime, Profile

__all__ = [
    "BUILTIN",
    "FOLDED",
    "FUSED",
    "XNNPACK",
    "Break",
    "OpTime",
    "Partition",
    "Profile",
    "accelerator_breaks",
    "profile_model",
    "xnnpack_breaks",
]
