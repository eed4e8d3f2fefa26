"""What one validation works on: the bytes, the reference, the samples, the settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfq_ext._table import Table
from tfq_ext.samples import Preprocess, Samples, labels_beside, open_samples
from tfq_ext.tflite.arithmetic import HYBRID, INTEGER, arithmetic
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model, describe, read_bytes
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.reference import float_bytes
from tfq_ext.validation.sandbox import Limits

RULES: Table[Rule] = Table(
    "rule",
    {
        "reference-not-float": Rule(
            "reference-not-float",
            "warning",
            "The reference computes in integers itself.",
            "Losses are then measured from a model that has lost already; given the other way "
            "round, the float model is judged in place of the integer one.",
            "Give the float model as the reference, and the file that ships as the model.",
            "own check",
        ),
    },
)


@dataclass(frozen=True)
class Settings:
    """Everything that `validate` can be told besides model, reference and data.

    Args:
        task: of accuracy.TASKS; None: by labels and output.
        metric: "module:function" of the user's.
        output: name of the judged output; None: the first.
        signature: its key; None: the first subgraph's.
        seed: of subsets, noise, bootstraps.
        threads: LiteRT threads.
        workers: processes for accuracy; None: by the cores.
        runs: timed runs.
        gpu, bit_exact: make these checks too.
        target: oldest TFLite that must run the file.
        config: TOML file with [lint].
        stop_early: end the accuracy run once the gate on top-1 is decided; `stop` is its bound.
        label_offset: added to every class label.
        ignore_label: of pixels that do not count.
        limits: of each child process.
        show_progress: bars on stderr; None: where that is a terminal.
    """

    task: str | None = None
    metric: str | None = None
    output: str | None = None
    signature: str | None = None
    seed: int = 0
    threads: int = 1
    workers: int | None = None
    runs: int = 50
    gpu: bool = False
    bit_exact: bool = False
    target: str | None = None
    config: str | None = None
    stop_early: bool = False
    stop: float | None = None
    label_offset: int = 0
    ignore_label: int | None = 255
    limits: Limits = field(default_factory=Limits)
    show_progress: bool | None = None


@dataclass(frozen=True)
class Job:
    """One file with all that it is held against.

    Args:
        name: how reports call the file.
        content: its bytes.
        source: its path, "" for bytes.
        key: of the signature that is run; None where the first subgraph has none.
        first: whether that is the first subgraph's, which may be called otherwise in a reference.
        reference: a float .tflite's bytes, None without a reference.
        reference_name: how it was given.
        samples: opened once for all checks; None without data.
        settings: the rest.
    """

    name: str
    content: bytes
    source: str
    key: str | None
    first: bool
    reference: bytes | None
    reference_name: str
    samples: Samples | None
    settings: Settings


def open_job(
    model: bytes | str | os.PathLike[str],
    reference: Any,
    data: Any,
    labels: Any,
    preprocess: Preprocess | str | None,
    limit: int | None,
    settings: Settings,
    custom_objects: Mapping[str, Any] | None = None,
) -> Job:
    """Read the file, convert the reference, open the samples.

    Raises:
        ModelError: a model that cannot be read or converted.
        DataError: data that do not fit.
    """
    content = read_bytes(model)
    parsed = Model.parse(content, source=describe(model))
    key, specs = parsed.key_of(settings.signature), real_specs(parsed)
    if settings.signature is not None:
        specs = [spec for spec in specs if spec.signature == key]
    samples = None
    if data is not None:
        if labels is None and not isinstance(data, Samples):
            labels = labels_beside(data)
        samples = open_samples(
            data,
            specs,
            limit=limit,
            seed=settings.seed,
            shuffle=limit is not None,
            preprocess=preprocess,
            labels=labels,
        ).reusable()
    path = str(model) if not isinstance(model, bytes | bytearray) else ""
    return Job(
        name=os.path.basename(path) or "model",
        content=content,
        source=path,
        key=key,
        first=key == parsed.primary,
        reference=None if reference is None else float_bytes(reference, custom_objects)[0],
        reference_name="" if reference is None else describe(reference),
        samples=samples,
        settings=settings,
    )


def doubts(job: Job) -> list[Finding]:
    """What makes the comparison as a whole doubtful."""
    if job.reference is None or job.reference == job.content or not _integers(job.reference):
        return []
    swapped = "" if _integers(job.content) else " The model is float: are the two swapped?"
    name = job.reference_name or "the reference"
    return [RULES["reference-not-float"].at(f"{name} computes in integers.{swapped}")]


def _integers(content: bytes) -> bool:
    walk = Model.parse(content).walk()
    return any(arithmetic(graph, op) in (INTEGER, HYBRID) for graph, _, op, _ in walk)
