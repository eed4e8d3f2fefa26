"""`check_delegates`: XNNPACK, the GPU in both precisions, the fp16 risk, the first bad op."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import Preprocess
from tfq_ext.tflite.read import Model, describe, read_bytes
from tfq_ext.tflite.run import is_stateful
from tfq_ext.validation.delegates.bisect import Bench, first_bad_op
from tfq_ext.validation.delegates.coverage import xnnpack_coverage
from tfq_ext.validation.delegates.findings import gpu_findings, named_culprit, risk_findings
from tfq_ext.validation.delegates.fp16 import assess
from tfq_ext.validation.delegates.gap import worst_error
from tfq_ext.validation.delegates.gpu import GpuRun, run_gpu
from tfq_ext.validation.delegates.inputs import open_inputs
from tfq_ext.validation.delegates.sides import INTERPRETED, Ran, run_side
from tfq_ext.validation.delegates.static import known_faults
from tfq_ext.validation.delegates.task import Task
from tfq_ext.validation.delegates.values import DIED, WRONG, Bisection, DelegateReport
from tfq_ext.validation.sandbox import Limits

_STATEFUL = "The model remembers earlier calls, so only its first sample is compared."


def check_delegates(
    model: str | os.PathLike[str] | bytes,
    data: Any = None,
    *,
    gpu: bool = True,
    bisect: bool = False,
    limit: int = 8,
    seed: int = 0,
    signature: str | None = None,
    preprocess: Preprocess | str | None = None,
    limits: Limits | None = None,
    env: Mapping[str, str] | None = None,
    announce: Callable[[str], None] | None = None,
) -> DelegateReport:
    """Run a .tflite on its delegates, each in a child process, against XNNPACK on one thread.

    Args:
        model: path or bytes of any .tflite.
        data: samples (anything that `open_samples` takes); None: noise.
        gpu: whether to run the GPU delegate; its fp16 risk is told from the CPU in any case.
        bisect: whether to look for the first bad op of a GPU run that is wrong or dies.
        limit, seed: at most so many samples, which ones.
        signature: which one; None: that of the first subgraph.
        preprocess: from 8-bit pixels to what the model takes.
        limits: of each child; GPU children get at least ten minutes, for their shaders.
        env: environment variables of the GPU children (VK_DRIVER_FILES chooses a driver).
        announce: told what is being done.

    Raises:
        ModelError: the file cannot be read, or dies or fails on the CPU (ModelDied).
        DataError: data that do not fit.
    """
    if limit < 1:
        raise DataError(f"limit must be 1 or more, got {limit}.")
    content = read_bytes(model)
    parsed = Model.parse(content, source=describe(model))
    inputs, notes = open_inputs(
        parsed, data, preprocess=preprocess, limit=limit, seed=seed, signature=signature
    )
    if is_stateful(parsed):
        inputs, notes = inputs[:1], (*notes, _STATEFUL)
    task = Task(
        content,
        parsed,
        tuple(inputs),
        limits or Limits(),
        signature,
        seed,
        dict(env or {}),
        announce,
    )
    return _report(task, gpu, bisect, notes)


def _report(task: Task, gpu: bool, bisect: bool, notes: tuple[str, ...]) -> DelegateReport:
    cpu = _baseline(task)
    runs = run_gpu(task, cpu) if gpu else ()
    risk = assess(task, cpu)
    found = _search(task, cpu, runs) if bisect else None
    rows = tuple(run.row for run in runs)
    told = [*gpu_findings(rows), *known_faults(task.graph), *risk_findings(risk)]
    return DelegateReport(
        xnnpack_coverage(task),
        rows,
        risk,
        found,
        named_culprit(told, found),
        len(task.inputs),
        notes,
    )


def _baseline(task: Task) -> Ran:
    """XNNPACK's outputs.

    Raises:
        ModelError, DataError: it does not run there either.
    """
    task.say("CPU: XNNPACK, one thread")
    ran = run_side(
        INTERPRETED, task.content, task.inputs, limits=task.limits, signature=task.signature
    )
    if ran.died is not None:
        raise ran.died
    if ran.failed:
        raise (DataError if ran.unfit else ModelError)(ran.failed)
    return ran


def _search(task: Task, cpu: Ran, runs: Sequence[GpuRun]) -> Bisection | None:
    """Bisect the first precision that is wrong or died, on its worst sample."""
    bad = next((run for run in runs if run.row.status in (WRONG, DIED)), None)
    if bad is None:
        return None
    worst = _worst_sample(bad, cpu)
    bench = Bench(task, task.inputs[worst], cpu.outputs[worst], bad.row.precision)
    return first_bad_op(bench, limit=bad.row.limit)


def _worst_sample(run: GpuRun, cpu: Ran) -> int:
    errors = [worst_error(r, c) for r, c in zip(cpu.outputs, run.outputs, strict=False)]
    return int(np.argmax(errors)) if errors else 0
