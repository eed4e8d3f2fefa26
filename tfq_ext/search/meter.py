"""How near a file's outputs are to the float model's, on samples that are read again and again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import Digest, Sample, Samples, owned
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.accuracy.feeding import labels_of
from tfq_ext.validation.accuracy.opening import chosen_task
from tfq_ext.validation.accuracy.rowwise import Columns, compared
from tfq_ext.validation.accuracy.structure import OutputFact, output_facts, pick
from tfq_ext.validation.accuracy.tasks import TASKS, Rules

KEPT = 512 << 20  # bytes of samples, and of float outputs, that are held in memory
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """One file against the float model.

    Args:
        noise: squared error over squared output, mean over the float outputs; inf where an
            output is not finite.
        kl: mean KL divergence of the judged output's class probabilities, nats; None where it
            cannot be logits.
        agreement: share of rows with the float model's argmax; None where nothing is ranked.
        metrics: of the task (top1, mae, ...), with labels only.
    """

    noise: float
    kl: float | None = None
    agreement: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def sqnr_db(self) -> float:
        """-10 log10(noise): signal over quantization noise, dB."""
        return decibel(self.noise)


def decibel(noise: float) -> float:
    """-10 log10(noise); inf for none."""
    return math.inf if noise <= 0 else -10 * math.log10(noise)


def power(sqnr_db: float) -> float:
    """Its inverse: noise power relative to the signal's."""
    return float(10 ** (-sqnr_db / 10))


class Meter:
    """Reads files against the float model.

    Args:
        reference: the float model's bytes.
        samples: labelled or not; held in memory up to `KEPT` bytes, else read anew every time.
        task: a name of TASKS; None: by the labels, or none.
        output: the output of which KL, agreement and metrics are told; None: the first.
        label_offset: added to class labels.
        threads: LiteRT threads.

    Raises:
        DataError: no samples, or no such output.
        ModelError: no float output.
    """

    def __init__(
        self,
        reference: bytes,
        samples: Iterable[Sample],
        *,
        task: str | None = None,
        output: str | None = None,
        label_offset: int = 0,
        threads: int = 2,
    ) -> None:
        self._model, self._threads = Model.parse(reference), threads
        self._rules, self._output = Rules(label_offset), output
        self._samples = _held(samples)
        self._reference = reference
        self.count, self.digest = 0, ""
        self._wanted: list[Outputs] | None = []
        self._facts: dict[str, OutputFact] = {}
        self._look()
        self._higher = True
        self._task = self._settled(task)
        self.float = self(reference)

    def _look(self) -> None:
        """The float model's outputs, kept unless they are too many."""
        digest, size, runners = Digest(), 0, dict[str, Runner]()
        for sample in self._samples:
            digest.add(sample)
            outputs = self._run(runners, self._reference, sample)
            if not any(_is_real(x) for x in outputs.values()):
                raise ModelError("The model has no float output, so no noise can be measured.")
            size += sum(x.nbytes for x in outputs.values())
            if self._wanted is not None:
                self._wanted = None if size > KEPT else [*self._wanted, outputs]
            self.count += 1
        if not self.count:
            raise DataError("There are no samples to measure with.")
        self.digest = digest.hexdigest()

    def _settled(self, task: str | None) -> str | None:
        labels = next((labels_of(s) for s in self._samples if s.label is not None), None)
        if task is not None and labels is None:
            raise DataError(f"Task {task!r} needs labels, and the samples have none.")
        first = next(iter(self._samples))
        return chosen_task(task, labels, self._fact(first.signature))

    def _fact(self, signature: str) -> OutputFact:
        if signature not in self._facts:
            facts = output_facts(self._model, signature or None)
            self._facts[signature] = pick(facts, self._output)
        return self._facts[signature]

    def _run(self, runners: dict[str, Runner], content: bytes, sample: Sample) -> Outputs:
        key = sample.signature
        if key not in runners:
            runners[key] = Runner(content, threads=self._threads, signature=key or None)
        return runners[key](sample.inputs)

    @property
    def main(self) -> str | None:
        """Name of the task's main metric; None without labels."""
        return None if self._task is None else TASKS[self._task].main

    def drop(self, reading: Reading) -> float:
        """What the main metric lost against the float model; > 0 is worse, whatever its direction.

        Raises:
            DataError: there are no labels.
        """
        if self.main is None or self.main not in self.float.metrics:
            raise DataError("A drop is measured on labelled samples, and these have no labels.")
        lost = self.float.metrics[self.main] - reading.metrics[self.main]
        return lost if self._higher else -lost

    def __call__(self, content: bytes) -> Reading:
        """Run a file on all samples."""
        runners: dict[str, Runner] = {}
        sums = _Sums()
        others: dict[str, Runner] = {}
        for k, sample in enumerate(self._samples):
            if self._wanted is None:
                wanted = self._run(others, self._reference, sample)
            else:
                wanted = self._wanted[k]
            found = self._run(runners, content, sample)
            sums.add(sample.signature, wanted, found)
            self._judge(sums, sample, wanted, found)
        return self._reading(sums)

    def _judge(self, sums: _Sums, sample: Sample, wanted: Outputs, found: Outputs) -> None:
        fact = self._fact(sample.signature)
        name = fact.name if fact.name in found else next(iter(found))
        r, c, labels = wanted[name], found[name], labels_of(sample)
        if r.ndim == 0 or not (np.isfinite(r).all() and np.isfinite(c).all()):
            return
        if self._task in (None, "classification"):
            sums.keep(compared(r, c, ranked=True, softmax=fact.final == "SOFTMAX"))
        if self._task is not None and labels is not None:
            finals = {"candidate": fact.final, "reference": fact.final}
            sums.keep(TASKS[self._task].columns(c, None, labels, finals, self._rules))

    def _reading(self, sums: _Sums) -> Reading:
        columns = {key: np.concatenate(parts) for key, parts in sums.columns.items()}
        metrics: dict[str, float] = {}
        if self._task is not None and any(key.startswith("judged:") for key in columns):
            rows = TASKS[self._task].rows(columns, 0, 0.95)
            metrics = {row.name: float(row.candidate) for row in rows}
            self._higher = rows[0].higher_is_better
        means = {k: math.fsum(x.tolist()) / len(x) for k, x in columns.items() if k in _MEANS}
        return Reading(sums.noise, means.get("kl"), means.get("agree"), metrics)


_MEANS = ("kl", "agree")


@dataclass
class _Sums:
    """Powers by output, and columns of the judged one."""

    signal: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    error: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    columns: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(self, signature: str, wanted: Outputs, found: Outputs) -> None:
        for name, r in wanted.items():
            if not _is_real(r) or name not in found or not np.isfinite(r).all():
                continue
            difference = np.asarray(found[name], np.float64).reshape(r.shape) - r
            key = (signature, name)
            self.signal.setdefault(key, []).append(float(np.square(r, dtype=np.float64).sum()))
            self.error.setdefault(key, []).append(float(np.square(difference).sum()))

    def keep(self, columns: Columns) -> None:
        for key, values in columns.items():
            self.columns.setdefault(key, []).append(np.asarray(values))

    @property
    def noise(self) -> float:
        """Mean over outputs of error / signal."""
        ratios = []
        for key, signal in self.signal.items():
            s, e = math.fsum(signal), math.fsum(self.error[key])
            if s > 0:
                ratios.append(e / s if math.isfinite(e) else math.inf)
        return math.fsum(ratios) / len(ratios) if ratios else 0.0


def _is_real(x: Any) -> bool:
    return bool(np.asarray(x).dtype == np.float32)


def _held(samples: Iterable[Sample]) -> Iterable[Sample]:
    """All in a list, or something that can be iterated again."""
    kept, size = [], 0
    for sample in samples:
        kept.append(owned(sample))
        size += sum(x.nbytes for x in sample.inputs.values())
        if size > KEPT and isinstance(samples, Samples):
            return samples.reusable()
    return kept
