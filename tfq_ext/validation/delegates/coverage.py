"""Which ops XNNPACK took: read from the profile."""

from __future__ import annotations

from typing import Any

from tfq_ext.errors import ModelError
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.delegates.values import XnnpackCoverage, XnnpackOp

_INSIDE = ("XNNPACK", "fused")
RUNS = 3  # the times only weigh the ops here


def xnnpack_coverage(task: Task) -> XnnpackCoverage:
    """Run the file under LiteRT's profiler, in a child; says why where nothing is known."""
    from tfq_ext.validation.profile import profile_model

    task.say("ops that XNNPACK takes")
    try:
        found = profile_model(
            task.content,
            inputs=task.inputs[0],
            signature=task.signature,
            runs=RUNS,
            limits=task.limits,
        )
    except ModelError as error:
        return XnnpackCoverage(why_not=str(error))
    return from_profile(found)


def from_profile(profile: Any) -> XnnpackCoverage:
    """From a Profile that was made already."""
    rows = [row for row in profile.ops if row.where != "folded"]
    if not rows or any(row.where == "unknown" for row in rows):
        return XnnpackCoverage(why_not=profile.why_not or "the profile has no ops")
    left = tuple(XnnpackOp(r.index, r.op, r.tensor) for r in rows if r.where not in _INSIDE)
    breaks = tuple(
        f"{b.op} (op {b.index}): {b.why}" for b in profile.breaks if b.stops == "XNNPACK"
    )
    timed = profile.available and sum(row.share for row in profile.ops) > 0
    return XnnpackCoverage(
        taken=len(rows) - len(left),
        ops=len(rows),
        share=profile.xnnpack_share if timed else None,
        partitions=len(profile.partitions),
        left=left,
        breaks=breaks,
    )
