"""validate(): every check on one file, every gate judged. The story, readable in one sitting."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tfq_ext.errors import DataError, TfqError
from tfq_ext.samples import Preprocess, Samples
from tfq_ext.tflite.read import digest
from tfq_ext.validation.accuracy import TASKS
from tfq_ext.validation.catalogue import suppress
from tfq_ext.validation.finding import Finding
from tfq_ext.validation.gate import find_gate, judge, load_config, parse_gates
from tfq_ext.validation.job import Job, Settings, doubts, open_job
from tfq_ext.validation.sandbox import ChildError, ModelDied, died_finding
from tfq_ext.validation.sections import SECTIONS, WANTED_BY_GATE
from tfq_ext.validation.verdict import NotChecked, Origin, Validation

HASHED = 256  # samples: a hash of all of them would read everything once more
ALWAYS = {"runs": True}  # the gates of a file that nobody set gates for
_PACKAGES = ("tfq_ext", "ai-edge-litert", "numpy", "tensorflow")
Announce = Callable[[str], Any]  # a context manager around one check


def validate(
    model: bytes | str | os.PathLike[str],
    *,
    reference: Any = None,
    data: Any = None,
    labels: Any = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    gates: Mapping[str, object] | None = None,
    config: str | os.PathLike[str] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    announce: Announce | None = None,
    **settings: Any,
) -> Validation:
    """Inspect, lint, run, measure and time a .tflite, and hold it against gates.

    Args:
        model: path or bytes of any .tflite; it runs in child processes only.
        reference: the float model that it was made from: .tflite, Keras model or path, SavedModel.
        data: anything that `quantize` takes; with labels where accuracy is wanted.
        labels: one per row, a file of them, or True for those beside the data.
        preprocess: from 8-bit pixels to what the model takes.
        limit: use at most so many samples, drawn with the seed.
        gates: name -> bound ("0.5%", "4MB", 12); see GATES. "runs" is always judged.
        config: a TOML file with [gates], [validate] and [lint]; arguments win over it.
        custom_objects: for a Keras reference.
        announce: called with a line before each check, gives a context manager around it.
        **settings: fields of `Settings`: task, metric, output, signature, seed, threads, workers,
            runs, gpu, bit_exact, target, stop_early, label_offset, limits, show_progress, ...

    Raises:
        ModelError, DataError, RecipeError: something that was given cannot be used. What goes
            wrong inside the file is a finding instead.
    """
    start = time.perf_counter()
    read = load_config(config)
    given = {"reference": reference, "data": data, "labels": labels, "preprocess": preprocess}
    given |= {"limit": limit, **settings}
    told = {**read.settings, **{k: x for k, x in given.items() if x is not None or k in _NONE}}
    bounds = {**ALWAYS, **read.gates, **(gates or {})}
    parsed = parse_gates(bounds)
    wanted = _settings(told, parsed, None if config is None else str(config))
    _ = suppress((), wanted.config)  # a mistake in [lint] is told before the work, not after it
    job = open_job(
        model,
        told.get("reference"),
        told.get("data"),
        told.get("labels"),
        told.get("preprocess"),
        told.get("limit"),
        wanted,
        custom_objects,
    )
    found: dict[str, Any] = {}
    try:
        for name in SECTIONS:
            found[name] = _check(name, job, announce, dead=_death(found.get("run")))
        result = _gather(job, found, _told(told), start)
    finally:
        if job.samples is not None and not isinstance(told["data"], Samples):  # those are ours
            job.samples.close()
    return replace(result, gates=judge(result, parsed))


_OPENED = ("reference", "data", "labels", "preprocess", "limit")
_NONE = ("ignore_label",)  # settings that None says something about


def _settings(told: Mapping[str, Any], gates: Mapping[str, Any], config: str | None) -> Settings:
    """The settings, with the checks that gates ask for switched on."""
    rest = {key: value for key, value in told.items() if key not in _OPENED}
    asked = {find_gate(name).section for name in gates}
    for section, option in WANTED_BY_GATE.items():
        if section in asked:
            rest[option] = True
    if "runtime" in gates and not rest.get("target"):
        rest["target"] = ".".join(map(str, gates["runtime"]))
    if rest.get("stop_early"):
        if "top1_drop" not in gates:
            raise DataError("Stopping early needs a gate to decide: set top1_drop (--max-drop).")
        rest["stop"] = gates["top1_drop"]
    if rest.get("task") is not None:
        _ = TASKS[rest["task"]]  # refuses an unknown name before any work
    try:
        return Settings(**rest, config=config)
    except TypeError as error:
        raise DataError(f"validate(): {error}.") from None


def _death(trial: Any) -> str:
    """How the file ended in the trial run; it would end so in every check that runs it."""
    if trial is None or isinstance(trial, NotChecked) or trial.ran:
        return ""
    return f"the file does not run: {'; '.join(trial.faults)}"


def _check(name: str, job: Job, announce: Announce | None, dead: str) -> Any:
    section = SECTIONS[name]
    lacking = section.lacks(job)
    if lacking:
        return NotChecked(lacking)
    if dead and section.runs:
        return section.static(job) if section.static else NotChecked(dead, failed=True)
    quiet = announce is None or section.bar
    try:
        with nullcontext() if quiet else announce(section.label):  # type: ignore[misc]
            return section.run(job)
    except ModelDied as error:
        return NotChecked(str(error), failed=True, findings=(died_finding(error),))
    except TfqError as error:
        if name == "inspection" or (name == "run" and isinstance(error, DataError)):
            raise
        return NotChecked(str(error), failed=True)
    except ChildError as error:  # our own fault in a child; what the other checks say still holds
        return NotChecked(f"{error} (a fault of tfq_ext: please report it)", failed=True)


def _gather(job: Job, found: Mapping[str, Any], told: Mapping[str, object], start: float) -> Any:
    content, reference = job.content, job.reference
    findings = [f for part in found.values() for f in getattr(part, "findings", ())]
    findings = [*doubts(job), *findings]
    return Validation(
        name=job.name,
        source=job.source,
        size_bytes=len(content),
        reference_bytes=0 if reference is None else len(reference),
        **found,
        findings=suppress(_once(findings), job.settings.config),
        gates=(),
        origin=Origin(
            sha256=digest(content),
            reference=job.reference_name,
            reference_sha256="" if reference is None else digest(reference),
            sample_sha256="" if job.samples is None else job.samples.digest(HASHED),
            samples=0 if job.samples is None else (job.samples.count or 0),
            seed=job.settings.seed,
            settings=told,
            versions={name: _version(name) for name in _PACKAGES},
            machine=f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            when=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=time.perf_counter() - start,
        ),
    )


def _once(findings: list[Finding]) -> tuple[Finding, ...]:
    """Without repetition: a file that dies does so in every check."""
    return tuple(dict.fromkeys(findings))


def _told(settings: Mapping[str, Any]) -> dict[str, object]:
    """What was given, as far as it can be written down."""
    plain = (str, int, float, bool)
    return {
        key: value if isinstance(value, plain) else type(value).__name__
        for key, value in settings.items()
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
