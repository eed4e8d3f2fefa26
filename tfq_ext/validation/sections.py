"""The checks of `validate`, in order: what each needs, and the call that makes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.validation.job import Job
from tfq_ext.validation.verdict import CANDIDATE, REFERENCE

NO_GPU = "not asked for: --gpu; tfq delegates --no-gpu tells the fp16 risk from the CPU"
LONGEST = 20.0  # seconds of timing: a slow file gets fewer runs
COMPARED = 32  # samples: layers' errors and ranges settle sooner than accuracies


@dataclass(frozen=True)
class Section:
    """One check.

    Args:
        run: makes its report.
        lacks: what it would need and does not have, a sentence; "" if it can run.
        label: what is being done, for the progress line.
        runs: whether it runs the file.
        static: what is made instead of a file that does not run; None: nothing.
        bar: whether it shows its own progress.
    """

    run: Callable[[Job], Any]
    lacks: Callable[[Job], str]
    label: str
    runs: bool = True
    static: Callable[[Job], Any] | None = None
    bar: bool = False


def _inspection(job: Job) -> Any:
    from tfq_ext.validation.inspection import inspect

    return inspect(job.content)


def _lint(job: Job, **values: Any) -> Any:
    """Without running the file, unless `values` says on what."""
    from tfq_ext.validation.lint import lint

    settings, name = job.settings, job.source or job.name
    return lint(job.content, target=settings.target, config=settings.config, name=name, **values)


def _lint_values(job: Job) -> Any:
    """The rules about values too, where there are samples."""
    if job.samples is None:
        return _lint(job)
    try:
        return _lint(
            job,
            data=job.samples,
            limit=COMPARED,
            seed=job.settings.seed,
            reference=job.reference,
            limits=job.settings.limits,
        )
    except (ModelError, DataError) as error:
        report = _lint(job)
        why = f"the samples could not be run: {error}"
        kept = {rule: why if "data" in old else old for rule, old in report.skipped.items()}
        return replace(report, skipped=kept)


def _run(job: Job) -> Any:
    from tfq_ext.validation.trial import trial

    inputs = _first(job, 2)
    settings = job.settings
    return trial(
        job.content,
        inputs or None,
        signature=settings.signature,
        seed=settings.seed,
        limits=settings.limits,
    )


def _first(job: Job, n: int) -> list[dict[str, np.ndarray]]:
    """The inputs of the first samples, copied: a source may hand out one buffer again and again."""
    if job.samples is None:
        return []
    samples = (s for s in job.samples if s.signature in ("", job.key))
    return [
        {name: np.array(values) for name, values in sample.inputs.items()}
        for sample in islice(samples, n)
    ]


def _accuracy(job: Job) -> Any:
    from tfq_ext.validation.accuracy import measure

    settings = job.settings
    return measure(
        job.content,
        job.samples,
        reference=job.reference,
        task=settings.task,
        metric=settings.metric,
        output=settings.output,
        signature=settings.signature,
        seed=settings.seed,
        workers=settings.workers,
        threads=settings.threads,
        limits=settings.limits,
        stop=settings.stop,
        label_offset=settings.label_offset,
        ignore_label=settings.ignore_label,
        show_progress=settings.show_progress is not False,
    )


def _comparison(job: Job) -> Any:
    from tfq_ext.validation.comparison import compare

    settings = job.settings
    return compare(
        job.reference,
        job.content,
        job.samples,
        limit=COMPARED,
        seed=settings.seed,
        signature=job.key,
        threads=settings.threads,
        limits=settings.limits,
        show_progress=settings.show_progress,
    )


def _latency(job: Job) -> Any:
    from tfq_ext.validation.latency import bench

    settings = job.settings
    models = {} if job.reference is None else {REFERENCE: job.reference}
    return bench(
        {**models, CANDIDATE: job.content},
        inputs=next(iter(_first(job, 1)), None),
        signature=None if job.first else job.key,
        threads=(settings.threads,),
        runs=settings.runs,
        seconds=LONGEST,
        seed=settings.seed,
        limits=settings.limits,
    )


def _integers(job: Job) -> Any:
    from tfq_ext.validation.integer import check_integers

    settings = job.settings
    return check_integers(job.content, job.samples, seed=settings.seed, limits=settings.limits)


def _delegates(job: Job) -> Any:
    from tfq_ext.validation.delegates import check_delegates

    settings = job.settings
    return check_delegates(
        job.content,
        job.samples,
        gpu=True,
        signature=settings.signature,
        seed=settings.seed,
        limits=settings.limits,
    )


def _nothing(job: Job) -> str:
    return ""


def _needs_data(job: Job) -> str:
    return "" if job.samples is not None else "no samples: give --data"


def _needs_both(job: Job) -> str:
    missing = [
        word
        for word, there in (("--reference", job.reference), ("--data", job.samples))
        if there is None
    ]
    return f"nothing to compare with: give {' and '.join(missing)}" if missing else ""


def _asked(option: str, what: str) -> Callable[[Job], str]:
    return lambda job: "" if getattr(job.settings, option) else what


SECTIONS: dict[str, Section] = {
    "inspection": Section(_inspection, _nothing, "look into the file", runs=False),
    "run": Section(_run, _nothing, "run it once"),
    "lint": Section(_lint_values, _nothing, "hold it against the rules", static=_lint),
    "accuracy": Section(_accuracy, _needs_data, "accuracy", bar=True),
    "comparison": Section(_comparison, _needs_both, "error layer by layer", bar=True),
    "latency": Section(_latency, _nothing, "time it"),
    "integers": Section(
        _integers, _asked("bit_exact", "not asked for: --bit-exact"), "integer reference"
    ),
    "delegates": Section(_delegates, _asked("gpu", NO_GPU), "GPU delegate"),
}
# Checks that a gate alone is reason enough to make.
WANTED_BY_GATE = {"integers": "bit_exact", "delegates": "gpu"}
