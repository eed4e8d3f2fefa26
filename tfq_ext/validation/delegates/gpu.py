"""Both precisions of the GPU delegate, judged against XNNPACK on the same inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tfq_ext.tflite.runner import Arrays
from tfq_ext.validation.delegates.gap import (
    fits_fp16,
    output_errors,
    same_numbers,
    top1_agreement,
)
from tfq_ext.validation.delegates.log import Log, read_log
from tfq_ext.validation.delegates.probe import computes_fp16
from tfq_ext.validation.delegates.sides import COMPILED, Ran, for_gpu, run_side
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.delegates.values import (
    DIED,
    NOT_CHECKED,
    OK,
    PRECISIONS,
    REFUSED,
    WRONG,
    GpuRow,
)

# (how the file computes, precision) -> relative L2 error from which on it is wrong.
# float: on networks that are right fp32 was 1e-7 to 2e-6, fp16 7e-4 (small) to 1.3e-2 (MobileNetV2
# on images). Integer files run dequantized: a code that lands on the other side of a tie moves the
# next ones, 9e-2 on MobileNetV2 in fp32 and 1e-1 in fp16. Hybrid files lose their rounding of
# activations on the GPU, so that the CPU is the coarser side: 4e-2 on MobileNetV2.
LIMITS = {
    ("float", "fp32"): 1e-3,
    ("float", "fp16"): 5e-2,
    ("integer", "fp32"): 0.2,
    ("integer", "fp16"): 0.2,
    ("hybrid", "fp32"): 0.2,
    ("hybrid", "fp16"): 0.2,
}


@dataclass(frozen=True)
class GpuRun:
    """A row, and the numbers it was made of."""

    row: GpuRow
    outputs: tuple[Arrays, ...]


def run_gpu(task: Task, cpu: Ran) -> tuple[GpuRun, ...]:
    """fp32 and fp16, each in a process of its own, against what XNNPACK made of the samples."""
    runs: list[GpuRun] = []
    for precision in PRECISIONS:
        task.say(f"GPU in {precision}; the first run compiles its shaders")
        ran = run_side(
            COMPILED,
            task.content,
            task.inputs,
            limits=for_gpu(task.limits),
            env=task.env,
            accelerator="gpu",
            fp32=precision == "fp32",
            signature=task.signature,
        )
        row = judge(ran, cpu, task, precision)
        runs.append(GpuRun(row, ran.outputs))
        if row.status == NOT_CHECKED and not row.adapter:
            runs += [GpuRun(_as(row, p, task), ()) for p in PRECISIONS[len(runs) :]]
            break
    return _with_proof(tuple(runs), task)


def _as(row: GpuRow, precision: str, task: Task) -> GpuRow:
    """What is known of one precision without an adapter is known of the others."""
    return replace(row, precision=precision, limit=LIMITS[task.kind, precision])


def judge(ran: Ran, cpu: Ran, task: Task, precision: str) -> GpuRow:
    """The row of one precision, before fp16 is held against fp32."""
    graph = task.graph
    names = {graph.name(t) for t in range(len(graph.tensors))}
    log = read_log(ran.stderr, names)
    ops = len(graph.ops)
    if log.on_gpu is not None and log.on_cpu is not None:
        ops = log.on_gpu + log.on_cpu
    row = GpuRow(
        precision,
        OK,
        adapter=log.adapter,
        limit=LIMITS[task.kind, precision],
        refused=log.refused,
        on_gpu=ops if log.on_gpu is None and ran.complete else log.on_gpu,
        ops=ops,
        load_ms=ran.load_ms or None,
        first_ms=ran.first_ms,
        steady_ms=ran.steady_ms,
        cpu_ms=cpu.steady_ms,
        samples=len(ran.outputs),
    )
    if ran.died is not None:
        return replace(row, status=DIED, reason=_how(ran, log), samples=0)
    if not ran.complete or not log.adapter:
        status, reason = _unusable(ran, log)
        return replace(row, status=status, reason=reason, samples=0)
    return _compared(row, ran, cpu, log)


def _how(ran: Ran, log: Log) -> str:
    """How it died, with the last words."""
    last = f" It said: {log.said[-1]}" if log.said else ""
    return f"{ran.died}{last}"


def _unusable(ran: Ran, log: Log) -> tuple[str, str]:
    """Status and reason of a run that gave nothing."""
    if not log.adapter:
        why = log.no_adapter or ran.failed or "LiteRT named none"
        return NOT_CHECKED, f"no adapter: {why.rstrip('.')}."
    return (NOT_CHECKED if ran.unfit else REFUSED), ran.failed


def _compared(row: GpuRow, ran: Ran, cpu: Ran, log: Log) -> GpuRow:
    if row.on_gpu == 0:
        return replace(row, status=REFUSED, reason=f"All {row.ops} ops were left to the CPU.")
    row = replace(
        row,
        outputs=output_errors(cpu.outputs, ran.outputs),
        top1_agreement=top1_agreement(cpu.outputs, ran.outputs),
    )
    error = row.error
    assert error is not None
    if error <= row.limit:
        part = "" if row.on_gpu == row.ops else f"{row.on_gpu} of {row.ops} ops ran on the GPU."
        return replace(row, reason=part)
    return replace(row, status=WRONG, reason=_why_wrong(row, log, error))


def _why_wrong(row: GpuRow, log: Log, error: float) -> str:
    if not log.executed:
        said = next((s for s in log.said if "Validation error" in s), log.said[0])
        return f"The driver did not take its commands, so nothing was computed ({said})."
    lost = max((output.not_finite for output in row.outputs), default=0.0)
    if lost:
        return f"{lost:.0%} of an output's values are NaN or infinite, and are finite on the CPU."
    part = "" if row.on_gpu == row.ops else f", with {row.on_gpu} of {row.ops} ops on the GPU"
    return f"Relative error {error:.2g} against the CPU, over the limit of {row.limit:g}{part}."


def _with_proof(runs: tuple[GpuRun, ...], task: Task) -> tuple[GpuRun, ...]:
    """fp16 is believed only where its numbers, or those of a net of ours, are not fp32's."""
    wide, half = runs
    ran = wide.row.samples and half.row.samples
    if not ran or REFUSED in (wide.row.status, half.row.status):
        return runs
    really: bool | None = not same_numbers(wide.outputs, half.outputs)
    if not really and fits_fp16(wide.outputs):  # whole numbers, codes, zeros: both give them
        really = computes_fp16(task.limits, task.env)
    row = replace(half.row, really_fp16=really)
    if not really and row.status == OK:
        row = replace(row, status=NOT_CHECKED, reason=_NO_PROOF[really])
    return wide, replace(half, row=row)


_NO_PROOF = {
    False: "The driver silently computed in fp32: both precisions gave the same bits.",
    None: "Whether it was fp16 cannot be told: both precisions gave the same codes.",
}
