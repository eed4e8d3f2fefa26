"""The fp16 risk of a file: every tensor, every sum, and the whole of it in XNNPACK's fp16."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.errors import TfqError
from tfq_ext.validation.delegates.fp16.values import Fp16Risk, TensorRisk
from tfq_ext.validation.delegates.gap import output_errors
from tfq_ext.validation.delegates.sides import COMPILED, XNNPACK_FP16, Ran, run_side
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.delegates.values import OutputError
from tfq_ext.validation.sandbox import Child, ChildError

SCAN = "tfq_ext.validation.delegates.fp16.scan:Scan"
_NOTES = {
    "integer": "Integer file: a GPU computes it dequantized, so sums and values are those of the "
    "reals that the codes stand for; XNNPACK's fp16 leaves integer ops as they are.",
    "hybrid": "Hybrid file: a GPU dequantizes the weights and computes in fp16.",
}


@dataclass(frozen=True)
class _Seen:
    rows: tuple[TensorRisk, ...]
    fault: str


def assess(task: Task, cpu: Ran) -> Fp16Risk:
    """Run the samples on the CPU and tell what fp16 would do; `cpu`: XNNPACK's fp32.

    Sums are emulated on the first sample.
    """
    task.say("fp16 risk, from the CPU")
    seen = _scan(task)
    errors, why_not = _xnnpack(task, cpu)
    notes = tuple(note for note in (_NOTES.get(task.kind, ""), seen.fault) if note)
    return Fp16Risk(seen.rows, errors, why_not, len(task.inputs), notes)


def _scan(task: Task) -> _Seen:
    try:
        with Child(task.limits) as child:
            scan = child.make(SCAN, task.content, signature=task.signature, seed=task.seed)
            for sample in task.inputs:
                scan.call("look", sample)
            return _Seen(tuple(scan.call("rows")), "")
    except (TfqError, ChildError) as error:
        return _Seen((), f"Not every tensor could be looked at: {error}")


def _xnnpack(task: Task, cpu: Ran) -> tuple[tuple[OutputError, ...], str]:
    if task.kind == "integer":
        return (), "XNNPACK's fp16 is for float files"
    ran = run_side(
        COMPILED,
        task.content,
        task.inputs,
        limits=task.limits,
        repeat=False,
        accelerator="cpu",
        xnnpack_flags=XNNPACK_FP16,
        signature=task.signature,
    )
    if not ran.complete:
        return (), str(ran.died or ran.failed)
    errors = output_errors(cpu.outputs, ran.outputs)
    if all(row.relative_l2 == 0 for row in errors):
        return (), "XNNPACK computed in fp32 all the same: no kernels in fp16 for these ops here"
    return errors, ""
