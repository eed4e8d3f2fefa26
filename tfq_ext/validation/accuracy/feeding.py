"""From samples to chunks for the workers: stacked, labelled, always cut at the same places."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples import Sample, owned
from tfq_ext.validation.accuracy.evaluator import Chunk

MAX_ROWS = 32
MAX_BYTES = 1 << 20  # of inputs; past that a message costs nothing beside the model's work


def chunks(samples: Iterable[Sample], *, keep: bool = False) -> Generator[Chunk, None, None]:
    """Consecutive samples of equal shapes together, at most `MAX_ROWS` rows or `MAX_BYTES`.

    Args:
        samples: as they come.
        keep: their arrays stay what they are; else each is copied, for generators refill them.

    Where a chunk ends depends on the samples only, never on who works on them, so that numbers
    do not depend on the number of workers. Memory is that of one chunk.
    """
    waiting: list[tuple[Sample, np.ndarray | None]] = []
    size = rows = 0
    kind: tuple = ()
    for sample in samples:
        labels = labels_of(sample)
        mine = _kind(sample, labels)
        count = rows_of(sample)
        bytes_ = sum(x.nbytes for x in sample.inputs.values())
        full = size + bytes_ > MAX_BYTES or rows + count > MAX_ROWS
        if waiting and (mine != kind or full or not _stacks(sample)):
            yield _chunk(waiting)
            waiting, size, rows = [], 0, 0
        waiting.append((sample if keep else owned(sample), labels))
        kind, size, rows = mine, size + bytes_, rows + count
    if waiting:
        yield _chunk(waiting)


def rows_of(sample: Sample) -> int:
    """How many rows a sample holds: the common first axis of its inputs, else 1."""
    counts = {x.shape[0] for x in sample.inputs.values() if x.ndim}
    return counts.pop() if len(counts) == 1 else 1


def labels_of(sample: Sample) -> np.ndarray | None:
    """The sample's labels with an axis for its rows: [R, ...]; None without.

    Raises:
        DataError: labels that are no numbers, or not one a row.
    """
    if sample.label is None:
        return None
    values, rows = np.asarray(sample.label), rows_of(sample)
    if values.dtype.kind not in "iufb":
        raise DataError(
            f"Sample {sample.key}: the label is {sample.label!r:.40}; accuracy needs numbers "
            "(class indices, values or maps). Words name classes only in a label file, or as the "
            "names of class folders."
        )
    if rows == 1:
        return values[None]
    if values.ndim == 0 or len(values) != rows:
        raise DataError(
            f"Sample {sample.key} holds {rows} rows, its labels have shape {list(values.shape)}; "
            "give one label a row."
        )
    return values


def _stacks(sample: Sample) -> bool:
    return all(x.ndim for x in sample.inputs.values())


def _kind(sample: Sample, labels: np.ndarray | None) -> tuple:
    inputs = tuple((name, x.shape, x.dtype.str) for name, x in sample.inputs.items())
    return inputs, None if labels is None else labels.shape


def _chunk(waiting: list[tuple[Sample, np.ndarray | None]]) -> Chunk:
    samples = [sample for sample, _ in waiting]
    rows = rows_of(samples[0])
    inputs = {
        name: np.concatenate([s.inputs[name] for s in samples]) if len(samples) > 1 else x
        for name, x in samples[0].inputs.items()
    }
    labels = [values for _, values in waiting if values is not None]
    keys = np.repeat(np.array([sample.key for sample in samples], np.int64), rows)
    return Chunk(keys, inputs, np.concatenate(labels) if labels else None, rows)
