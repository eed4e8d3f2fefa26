"""What a measurement of accuracy says: plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

Interval = tuple[float, float]
Drop = tuple[float, float, float]  # point, lower and upper end


@dataclass(frozen=True)
class MetricRow:
    """One metric; intervals cover 95 % unless a note of the report says otherwise.

    Args:
        name: "top-1", "MAE", ... or the user's "module:function".
        unit: "share" (0..1), or "" for the unit of the labels and for pure numbers.
        candidate: its value.
        interval: around it; None where none can be had (a note says why).
        reference: the reference's value on the same samples; None without a reference.
        drop: what the candidate lost, > 0 is a loss whatever the metric's direction: (point, lo,
            hi), paired over the samples. Ends are infinite where the samples cannot tell, so
            that a gate on the interval never passes or fails by accident.
        p_value: of "both are equally good" (exact McNemar); None for metrics without that test.
        higher_is_better: direction of the metric.
    """

    name: str
    unit: str
    candidate: float
    interval: Interval | None
    reference: float | None
    drop: Drop | None
    p_value: float | None
    higher_is_better: bool


@dataclass(frozen=True)
class ClassRow:
    """One class: top-1 of its samples (classification), or its IoU (segmentation).

    Args:
        label: index.
        name: of the class, "" if unknown.
        n: samples with this label; for segmentation, images that show it.
        candidate: share, 0..1.
        interval: Wilson's; None for IoU.
        reference: the reference's share; None without one.
    """

    label: int
    name: str
    n: int
    candidate: float
    interval: Interval | None
    reference: float | None


@dataclass(frozen=True)
class Changed:
    """Samples to which the reference gives one class and the candidate another.

    Args:
        before, after: the reference's class, the candidate's.
        count: samples.
        lost, won: of these, samples where the reference, or the candidate, was right.
        before_name, after_name: of the classes, "" if unknown.
    """

    before: int
    after: int
    count: int
    lost: int
    won: int
    before_name: str = ""
    after_name: str = ""


@dataclass(frozen=True)
class AccuracyReport:
    """One candidate on one set of samples.

    Args:
        n: samples (rows, where a sample holds a batch).
        labelled: of these, with a label.
        task: a name of TASKS; None: only compared with the reference.
        output: the output that was judged.
        metrics: the task's, the main one first; the user's last.
        agreement: share of samples (for more axes: of positions) with the reference's argmax;
            None without a reference or where there is nothing to choose from.
        agreement_interval: Wilson's, with n trials.
        sqnr_db: of the output against the reference's, dB; inf where equal; None without one.
        kl: mean Kullback-Leibler divergence from the reference's class probabilities, nats.
        classes: per class, by label.
        changed: most frequent first.
        notes: what a reader must know, one sentence each.
        seconds: of the whole run, start of the workers included.
        samples_per_second: without the start of the workers.
        workers: processes that ran.
        stopped_early: whether `stop` was decided before the samples were used up.
    """

    n: int
    labelled: int
    task: str | None
    output: str
    metrics: tuple[MetricRow, ...]
    agreement: float | None
    agreement_interval: Interval | None
    sqnr_db: float | None
    kl: float | None
    classes: tuple[ClassRow, ...]
    changed: tuple[Changed, ...]
    notes: tuple[str, ...]
    seconds: float
    samples_per_second: float
    workers: int
    stopped_early: bool

    def metric(self, name: str) -> MetricRow | None:
        """The row of this name, if it was measured."""
        return next((row for row in self.metrics if row.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain mappings, lists and numbers; infinities are kept (see report/machine.py)."""
        return asdict(self)

    def __str__(self) -> str:
        from tfq_ext.report.accuracy_text import to_text

        return to_text(self)
