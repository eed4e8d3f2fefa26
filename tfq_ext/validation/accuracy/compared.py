"""How good models are on samples, and how near to a reference, with honest intervals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.numerics.intervals import PairedDrop, paired_interval, wilson_interval
from tfq_ext.numerics.metrics import SqnrAccumulator, agreement, hits
from tfq_ext.tflite.runner import Runner

Interval = tuple[float, float]
Predictor = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
Source = bytes | str | os.PathLike[str] | Predictor
Sample = tuple[Mapping[str, np.ndarray], object]  # inputs with a batch axis, labels or None


@dataclass(frozen=True)
class Accuracy:
    """One model on all samples; intervals cover 95 %.

    Args:
        n: samples.
        labelled: of these, with a label.
        top1: share of labelled samples whose label is the argmax; None without labels.
        top1_interval: Wilson's.
        agreement: share of samples with the reference's argmax (on the last axis; over all
            positions where the output has more axes). None where that axis holds one value.
        agreement_interval: Wilson's, with n trials.
        sqnr_db: of the output against the reference's; inf where they are equal.
        drop: top-1 lost against the reference on the same samples; None for the reference
            itself and without labels.
    """

    n: int
    labelled: int
    top1: float | None
    top1_interval: Interval | None
    agreement: float | None
    agreement_interval: Interval | None
    sqnr_db: float
    drop: PairedDrop | None


@dataclass
class _Tally:
    """Running sums of one model; only the hits grow with the samples, 8 bytes each."""

    n: int = 0
    agreed: float = 0.0
    classes: int = 0
    sqnr: SqnrAccumulator = field(default_factory=SqnrAccumulator)
    hits: list[np.ndarray] = field(default_factory=list)

    def add(self, reference: np.ndarray, candidate: np.ndarray, labels: np.ndarray | None) -> None:
        self.sqnr = self.sqnr.add(reference, candidate)
        self.n += len(candidate)
        self.classes = candidate.shape[-1]
        self.agreed += agreement(reference, candidate) * len(candidate)
        if labels is not None:
            self.hits.append(hits(_rows(candidate), labels))

    def all_hits(self) -> np.ndarray:
        return np.concatenate(self.hits) if self.hits else np.empty(0)


def evaluate(
    models: Mapping[str, Source],
    samples: Iterable[Sample],
    *,
    reference: str | None = None,
    output: str | None = None,
    threads: int = 1,
    seed: int = 0,
) -> dict[str, Accuracy]:
    """Run every model on every sample, one pass, and compare with the reference.

    Args:
        models: name -> .tflite path or bytes, or a function from inputs by name to outputs by
            name (how a Keras model joins). Inputs and outputs are reals (see `Runner`).
        samples: (inputs by name, labels): arrays with a batch axis, and int[N] labels, or one
            label for a batch of one, or None. Read once, never kept.
        reference: name of the model to compare with; None: the first.
        output: name of the output to judge; None: the reference's first.
        threads: LiteRT threads.
        seed: of the bootstrap behind `drop`.

    Raises:
        DataError: no samples, labels that do not fit, outputs that are NaN or of other shapes.
        ModelError: a model cannot be loaded or run.
    """
    predictors = {name: _predictor(name, source, threads) for name, source in models.items()}
    if not predictors:
        raise DataError("There are no models to evaluate.")
    first = next(iter(predictors)) if reference is None else reference
    if first not in predictors:
        raise DataError(f"No model named {first!r} to compare with; got {', '.join(predictors)}.")
    tallies = {name: _Tally() for name in predictors}
    for inputs, label in samples:
        _one_batch(predictors, tallies, first, output, inputs, label)
    if not tallies[first].n:
        raise DataError("There are no samples to evaluate on; the iterable was empty.")
    base = tallies[first].all_hits()
    return {
        name: _summary(tally, None if name == first else base, seed)
        for name, tally in tallies.items()
    }


def _one_batch(
    predictors: Mapping[str, Predictor],
    tallies: Mapping[str, _Tally],
    first: str,
    output: str | None,
    inputs: Mapping[str, np.ndarray],
    label: object,
) -> None:
    with _naming(first):
        wanted, target = _judged(predictors[first](inputs), output)
    labels = _labels(label, len(target))
    for name, predict in predictors.items():
        with _naming(name):
            got = target if name == first else _judged(predict(inputs), wanted)[1]
            tallies[name].add(target, got, labels)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors say which model they are about."""
    try:
        yield
    except (DataError, ModelError) as error:
        raise type(error)(f"{name}: {error}") from None


def _predictor(name: str, source: Source, threads: int) -> Predictor:
    if callable(source):
        return source
    with _naming(name):
        return Runner(source, threads=threads)


def _judged(outputs: Mapping[str, np.ndarray], wanted: str | None) -> tuple[str, np.ndarray]:
    """Name and values of the output to judge; the only one, whatever it is called."""
    if wanted is None or (wanted not in outputs and len(outputs) == 1):
        wanted = next(iter(outputs))
    if wanted not in outputs:
        raise DataError(f"no output named {wanted!r}; it has {', '.join(outputs)}.")
    values = np.asarray(outputs[wanted])
    if values.ndim == 0:
        raise DataError(f"output {wanted!r} is a single number without a batch axis.")
    return wanted, values[:, None] if values.ndim == 1 else values


def _labels(label: object, n: int) -> np.ndarray | None:
    """int[N], or None."""
    if label is None:
        return None
    labels = np.atleast_1d(np.asarray(label))
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"A batch of {n} needs whole-number labels of shape ({n},), one class each; got "
            f"{labels.dtype} of shape {labels.shape}."
        )
    return labels


def _rows(logits: np.ndarray) -> np.ndarray:
    """[N, 1, 1, C] to [N, C], as classifiers without a final reshape give."""
    flat = logits.size == len(logits) * logits.shape[-1]
    return logits.reshape(len(logits), -1) if flat else logits


def _summary(tally: _Tally, base: np.ndarray | None, seed: int) -> Accuracy:
    """`base`: the reference's hits, None for the reference itself."""
    mine = tally.all_hits()
    labelled, right = len(mine), float(mine.sum())
    ranked = tally.classes > 1
    return Accuracy(
        n=tally.n,
        labelled=labelled,
        top1=right / labelled if labelled else None,
        top1_interval=wilson_interval(right, labelled) if labelled else None,
        agreement=tally.agreed / tally.n if ranked else None,
        agreement_interval=wilson_interval(tally.agreed, tally.n) if ranked else None,
        sqnr_db=tally.sqnr.value,
        drop=paired_interval(base, mine, seed=seed) if base is not None and labelled else None,
    )
