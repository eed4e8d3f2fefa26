"""measure(): one candidate on labelled data, beside its reference, in processes that may die."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import PairedDrop, wilson_interval
from tfq_ext.samples import Preprocess, Samples, progress
from tfq_ext.samples.source import Indexed
from tfq_ext.validation.accuracy.custom import Custom, check_room, load_metric, measured
from tfq_ext.validation.accuracy.evaluator import Chunk
from tfq_ext.validation.accuracy.feeding import chunks
from tfq_ext.validation.accuracy.notes import findings
from tfq_ext.validation.accuracy.opening import (
    Scene,
    chosen_task,
    of_signature,
    open_labelled,
    open_scene,
)
from tfq_ext.validation.accuracy.pool import Pool, cores
from tfq_ext.validation.accuracy.rowwise import Columns
from tfq_ext.validation.accuracy.sequential import ERROR, FINAL, Looks
from tfq_ext.validation.accuracy.tasks import TASKS, Rules
from tfq_ext.validation.accuracy.values import AccuracyReport, MetricRow
from tfq_ext.validation.accuracy.worker import Worker, joined
from tfq_ext.validation.sandbox import Limits

MOST_AHEAD = 16  # chunks that are read to find a label
SAMPLES_A_WORKER = 32  # fewer do not pay for the start of a process (half a second)


def measure(
    candidate: bytes | str | os.PathLike[str],
    data: object,
    *,
    reference: object = None,
    task: str | None = None,
    labels: object = None,
    metric: str | Callable[..., Any] | None = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    threads: int = 1,
    output: str | None = None,
    signature: str | None = None,
    stop: float | None = None,
    limits: Limits | None = None,
    show_progress: bool = True,
    label_offset: int = 0,
    ignore_label: int | None = 255,
) -> AccuracyReport:
    """How good a .tflite is on data, and what it lost against a reference on the same samples.

    Args:
        candidate: path or bytes of any .tflite.
        data: whatever `samples.open_samples` takes, reals or pixels; never a file's own codes.
        reference: .tflite (path or bytes), Keras model or path, SavedModel (these are converted
            to a float .tflite first); None: no comparison.
        task: a name of TASKS; None: what labels and output make plain, or none without labels.
        labels: as `open_samples` takes them; None: those that come with the data.
        metric: "module:function" or a function of (predictions [N, ...], labels [N, ...] or None)
            that gives one number, or one a sample; `higher_is_better = False` on it turns the
            sign of its drop. All predictions are kept in memory for it.
        preprocess: from 8-bit pixels to what both models take; stated once.
        limit: use a random subset of so many samples, drawn with the seed.
        seed: of that subset and of every bootstrap.
        workers: processes; None: one a core, fewer for few samples. No number depends on it.
        threads: LiteRT threads of each.
        output: name of the output to judge; None: the first.
        signature: its key; None: that of the first subgraph.
        stop: a bound on the drop of top1, a share; end as soon as the drop's interval lies on
            one side of it (samples are then read in random order; see sequential.py).
        limits: on each worker; None: the defaults.
        show_progress: a bar on stderr, if that is a terminal.
        label_offset: added to every class label; 1 for a model whose class 0 is "background".
        ignore_label: segmentation: pixels of this label do not count; None: all count.

    Raises:
        DataError: data, labels or outputs that do not fit; names the sample.
        ModelError: a model that cannot be read, converted or run.
        ModelDied: LiteRT crashed or hung; names the sample.
    """
    start = time.perf_counter()
    if workers is not None and workers < 1:
        raise DataError(f"There are 1 or more workers, got {workers}.")
    custom = None if metric is None else load_metric(metric)
    _ = None if task is None else TASKS[task]  # refuses unknown names before any work
    scene = open_scene(candidate, reference, output, signature)
    looks = _looks(stop, scene)
    samples, remarks = open_labelled(
        data,
        scene,
        labels=labels,
        preprocess=preprocess,
        limit=limit,
        seed=seed,
        random_order=stop is not None,
    )
    request = Request(scene, task, Rules(label_offset, ignore_label), custom, looks, seed)
    crew = Crew(workers, threads, limits)
    plan, outcome = _measured(request, samples, crew, None if show_progress else False)
    report = _report(plan, outcome, samples.classes)
    return replace(
        report,
        notes=tuple(dict.fromkeys((*scene.notes, *remarks, *report.notes, *samples.notes))),
        seconds=time.perf_counter() - start,
    )


@dataclass(frozen=True)
class Crew:
    """Who does the work.

    Args:
        workers: processes; None: by the number of samples.
        threads: of LiteRT in each.
        limits: on each.
    """

    workers: int | None
    threads: int
    limits: Limits | None

    def size(self, count: int | None) -> int:
        """Processes for so many samples (None: unknown)."""
        many = cores() if count is None else count // SAMPLES_A_WORKER
        return self.workers or max(1, min(cores(), many))


@dataclass(frozen=True)
class Request:
    """Everything that is settled before the workers start."""

    scene: Scene
    task: str | None
    rules: Rules
    custom: Custom | None
    looks: Looks | None
    seed: int

    def check(self, labels: np.ndarray | None) -> None:
        """Refuse what could not give a single number."""
        if labels is None and self.scene.reference is None and self.custom is None:
            raise DataError(
                "There are neither labels nor a reference, so there is nothing to measure. Give "
                "labels (class folders, a label file, a member of the .npz) or a reference."
            )
        if labels is None and self.task is not None and self.scene.reference is None:
            raise DataError(f"{self.task} needs labels: class folders, a file, or labels=.")
        if self.looks is not None and self.task != "classification":
            raise DataError("stop needs labels of classes: it watches the drop of top1.")

    def setup(self, threads: int) -> dict[str, Any]:
        """The Evaluator's arguments."""
        return {
            "candidate": self.scene.candidate,
            "reference": self.scene.reference,
            "task": self.task,
            "rules": self.rules,
            "threads": threads,
            "keep": self.custom is not None,
        }


@dataclass(frozen=True)
class Outcome:
    """What came back.

    Args:
        joined: all rows in sample order.
        grids: of the candidate's quantized inputs.
        decided: the drop of a look that ended the run.
        seconds: at work, without the start of the first worker.
        workers: processes that ran.
    """

    joined: Columns
    grids: dict[int, tuple[str, float, float]]
    decided: PairedDrop | None
    seconds: float
    workers: int


def _looks(stop: float | None, scene: Scene) -> Looks | None:
    if stop is None:
        return None
    if scene.reference is None:
        raise DataError("stop is a bound on the drop against a reference, and there is none.")
    return Looks(stop)


def _measured(
    request: Request, samples: Samples, crew: Crew, shown: bool | None
) -> tuple[Request, Outcome]:
    """The request with its task settled, and what all samples gave."""
    watched = progress(
        of_signature(samples, request.scene.key),
        label="measuring",
        total=samples.count,
        enabled=shown,
    )
    with closing(chunks(watched, keep=isinstance(samples.source, Indexed))) as stream:
        head = _head(stream)
        if not head:
            raise DataError(f"No sample is for signature {request.scene.key!r}.")
        labels = head[-1].labels
        plan = replace(request, task=chosen_task(request.task, labels, request.scene.fact))
        plan.check(labels)
        setup = plan.setup(crew.threads)
        pool = Pool(lambda: Worker(crew.limits, setup), crew.size(samples.count))
        try:
            return plan, _run(pool, plan, head[0], chain(head, stream), samples.count)
        finally:
            pool.close()


def _head(stream: Iterator[Chunk]) -> list[Chunk]:
    """Chunks up to the first with labels, which tell the task."""
    head: list[Chunk] = []
    for chunk in stream:
        head.append(chunk)
        if chunk.labels is not None or len(head) >= MOST_AHEAD:
            break
    return head


def _run(
    pool: Pool[Worker],
    plan: Request,
    first: Chunk,
    tasks: Iterator[Chunk],
    count: int | None,
) -> Outcome:
    worker = pool.take()
    try:
        many = plan.scene.free and len(first.keys) > first.rows
        stacked = many and worker.stackable(first)
        grids = dict(worker.grids())
        start = time.perf_counter()
    finally:
        pool.give(worker)
    with closing(pool.in_order(lambda w, chunk: w.run(chunk, stacked), tasks)) as results:
        parts, decided = _collect(results, plan, count)
    seconds = time.perf_counter() - start
    return Outcome(joined(parts), grids, decided, seconds, pool.opened)


def _collect(
    results: Iterable[Columns], plan: Request, count: int | None
) -> tuple[list[Columns], PairedDrop | None]:
    parts: list[Columns] = []
    rows = 0
    for part in results:
        parts.append(part)
        if (kept := part.get("keep:candidate")) is not None:
            rows += len(kept)
            check_room(max(rows, count or 0), kept, 1 + (plan.scene.reference is not None))
        if plan.looks is not None:
            found = _look(parts, plan.looks)
            if found is not None:
                size, drop = found
                return [{k: x[:size] for k, x in joined(parts).items()}], drop
    return parts, None


def _look(parts: list[Columns], looks: Looks) -> tuple[int, PairedDrop] | None:
    if "judged:candidate:top1" not in parts[-1]:
        raise DataError("stop needs a label for every sample; some have none.")
    if sum(len(part["judged:label"]) for part in parts) < looks.next_size():
        return None
    reference, candidate = (
        np.concatenate([part[f"judged:{who}:top1"] for part in parts])
        for who in ("reference", "candidate")
    )
    return looks.decide(reference, candidate)


def _report(plan: Request, outcome: Outcome, names: Sequence[str]) -> AccuracyReport:
    """All but the notes on the data and the whole time."""
    columns = outcome.joined
    n = max(len(x) for x in columns.values())
    judged = next((len(x) for key, x in columns.items() if key.startswith("judged:")), 0)
    extra, notes = _custom_row(plan, columns)
    agreed = math.fsum(columns["agree"].tolist()) if "agree" in columns else None
    return AccuracyReport(
        n=n,
        labelled=judged,
        task=plan.task,
        output=plan.scene.fact.name,
        metrics=(*_task_rows(plan, outcome, judged), *extra),
        agreement=None if agreed is None else agreed / n,
        agreement_interval=None if agreed is None else wilson_interval(agreed, n),
        sqnr_db=_sqnr(columns),
        kl=math.fsum(columns["kl"].tolist()) / n if "kl" in columns else None,
        classes=TASKS[plan.task].classes(columns, names) if plan.task and judged else (),
        changed=TASKS[plan.task].changed(columns, names) if plan.task else (),
        notes=(*notes, *findings(columns, outcome.grids, plan.task), *_stop_notes(plan, outcome)),
        seconds=0.0,
        samples_per_second=n / max(outcome.seconds, 1e-9),
        workers=outcome.workers,
        stopped_early=outcome.decided is not None,
    )


def _task_rows(plan: Request, outcome: Outcome, judged: int) -> tuple[MetricRow, ...]:
    """The task's metrics; the main drop from the look that ended the run, if one did."""
    if plan.task is None or not judged:
        return ()
    confidence = 1 - ERROR if plan.looks is None else FINAL
    rows, drop = TASKS[plan.task].rows(outcome.joined, plan.seed, confidence), outcome.decided
    if drop is None:
        return rows
    return (replace(rows[0], drop=(drop.drop, drop.lo, drop.hi)), *rows[1:])


def _sqnr(columns: Columns) -> float | None:
    """10 log10(signal / noise) in dB, as `metrics.SqnrAccumulator` has it."""
    if "signal" not in columns:
        return None
    signal, noise = (math.fsum(columns[key].tolist()) for key in ("signal", "noise"))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def _custom_row(plan: Request, columns: Columns) -> tuple[tuple[MetricRow, ...], tuple[str, ...]]:
    if plan.custom is None:
        return (), ()
    mine, theirs = columns["keep:candidate"], columns.get("keep:reference")
    labels = columns.get("judged:keep")
    if labels is not None and len(labels) != len(mine):
        raise DataError(f"Metric {plan.custom.name} needs a label for every sample.")
    row, notes = measured(plan.custom, mine, theirs, labels, seed=plan.seed)
    return (row,), notes


def _stop_notes(plan: Request, outcome: Outcome) -> Iterator[str]:
    if plan.looks is None:
        return
    rule = (
        f"bound {plan.looks.bound:.2%}, looks at 128, 256, 512, ... samples that share an error "
        f"of {ERROR / 2:.1%} (Chernoff bounds), samples in random order"
    )
    if outcome.decided is not None:
        yield f"Stopped early: the drop's interval is that of the look that decided ({rule})."
    else:
        yield (
            f"No early look decided ({rule}); the drop's interval covers {FINAL:.1%}, so that "
            f"all looks together err in {ERROR:.0%} of runs at most."
        )
