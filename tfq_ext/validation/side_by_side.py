"""evaluate(): several files on the same labelled data, beside the model they were made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfq_ext.errors import DataError, ModelError, TfqError
from tfq_ext.samples import Preprocess, Samples, labels_beside, open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model, describe, read_bytes
from tfq_ext.tflite.zipped import zipped_size
from tfq_ext.validation.accuracy import AccuracyReport, measure
from tfq_ext.validation.naming import Source, named
from tfq_ext.validation.reference import CustomObjects, float_bytes


@dataclass(frozen=True)
class EvaluatedFile:
    """One file.

    Args:
        name: how reports call it.
        size_bytes: of the file.
        zipped_bytes: after deflate, as an app store delivers it.
        accuracy: None where it could not be measured.
        failed: why; "" if it was.
    """

    name: str
    size_bytes: int
    zipped_bytes: int
    accuracy: AccuracyReport | None
    failed: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Files side by side.

    Args:
        reference: how the reference was given, "" without one.
        reference_bytes: of its float .tflite, 0 without one.
        rows: one a file, in the order given.
    """

    reference: str
    reference_bytes: int
    rows: tuple[EvaluatedFile, ...]

    def __getitem__(self, name: str) -> EvaluatedFile:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"no file {name!r}; there are {', '.join(row.name for row in self.rows)}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values."""
        rows = [
            {**vars(row), "accuracy": row.accuracy and row.accuracy.to_dict()} for row in self.rows
        ]
        return {
            "reference": self.reference,
            "reference_bytes": self.reference_bytes,
            "rows": rows,
        }

    def to_json(self) -> str:
        """The same as text; null stands for infinite levels."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.evaluation_text import as_text

        return as_text(self)


def evaluate(
    models: Mapping[str, Source] | Sequence[Source] | Source,
    data: Any,
    *,
    reference: Any = None,
    labels: Any = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    custom_objects: CustomObjects = None,
    show_progress: bool | None = None,
    **settings: Any,
) -> Evaluation:
    """Measure files on the same samples: the task's metrics, agreement, SQNR, size.

    A file that crashes, or does not fit the data, is a row with the reason; the others go on.

    Args:
        models: name -> path or bytes of any .tflite; or paths; or one of either.
        data: whatever `quantize` takes, with labels where accuracy is wanted.
        reference: the float model that they were made from: .tflite, Keras model or path,
            SavedModel. It is converted once.
        labels: one per row, a file of them, or True for those beside the data.
        preprocess: from 8-bit pixels to what the models take.
        limit: use at most so many samples, drawn with the seed.
        seed: of that subset and of bootstraps.
        custom_objects: for a Keras reference.
        show_progress: a bar on stderr; None: where that is a terminal.
        **settings: task, metric, output, signature, workers, threads, limits, label_offset,
            ignore_label, as `validation.accuracy.measure` has them.

    Raises:
        ModelError: the reference cannot be read or converted.
        DataError: no model given, or data that fit none of them.
    """
    sources = named(models)
    if not sources:
        raise DataError("evaluate() needs at least one .tflite, got none.")
    contents = {name: read_bytes(source) for name, source in sources.items()}
    base = None if reference is None else float_bytes(reference, custom_objects)[0]
    samples = _opened(data, base or _sound(contents), labels, preprocess, limit, seed)
    settings |= {"reference": base, "seed": seed, "show_progress": show_progress is not False}
    try:
        rows = tuple(_row(name, x, samples, settings) for name, x in contents.items())
    finally:
        if not isinstance(data, Samples):  # those are ours
            samples.close()
    if all(row.failed for row in rows):
        raise DataError(f"{rows[0].name}: {rows[0].failed}")
    said = "" if reference is None else describe(reference)
    return Evaluation(said, len(base or b""), rows)


def _sound(contents: Mapping[str, bytes]) -> bytes:
    """The first file that can be read, which says what samples must be like."""
    for content in contents.values():
        try:
            Model.parse(content)
        except ModelError:
            continue
        return content
    return next(iter(contents.values()))  # reading it again says what is wrong


def _opened(
    data: Any,
    content: bytes,
    labels: Any,
    preprocess: Preprocess | str | None,
    limit: int | None,
    seed: int,
) -> Samples:
    """Samples that may be read once a file, in the form that float models take."""
    if labels is None and not isinstance(data, Samples):
        labels = labels_beside(data)
    return open_samples(
        data,
        real_specs(Model.parse(content)),
        limit=limit,
        seed=seed,
        shuffle=limit is not None,
        preprocess=preprocess,
        labels=labels,
    ).reusable()


def _row(name: str, content: bytes, samples: Samples, settings: dict[str, Any]) -> EvaluatedFile:
    sizes = len(content), zipped_size(content)
    try:
        return EvaluatedFile(name, *sizes, measure(content, samples, **settings))
    except TfqError as error:
        return EvaluatedFile(name, *sizes, None, str(error))
