"""What a bench has found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfq_ext.validation.finding import Finding
from tfq_ext.validation.latency.machine import Machine
from tfq_ext.validation.latency.timing import Interval
from tfq_ext.validation.profile.rows import Profile


@dataclass(frozen=True)
class BenchRow:
    """One file with one kernel set and so many threads.

    Args:
        name: of the file, as it was given.
        kernels: of KERNELS.
        threads: LiteRT threads.
        median_ms, p90_ms, interval_ms: of one invoke; 95 % bootstrap interval of the median.
        ratio, ratio_interval: to the baseline in the same round; below 1 is faster.
        thread_ratio: to the same file with the first number of threads, paired too.
        load_ms: from the file's path to an allocated interpreter, weights packed.
        first_ms: the first invoke.
        peak_bytes: most memory that the process had resident, Python and LiteRT included.
        model_bytes: what loading and running the model added to that.
        runs: timed rounds.
        variation: standard deviation by mean.
        size_bytes: of the file.
        failed: why there are no times, "" if there are.
    """

    name: str
    kernels: str
    threads: int
    median_ms: float
    p90_ms: float
    interval_ms: Interval
    ratio: float
    ratio_interval: Interval
    thread_ratio: float
    load_ms: float
    first_ms: float
    peak_bytes: int
    model_bytes: int
    runs: int
    variation: float
    size_bytes: int
    failed: str = ""


@dataclass(frozen=True)
class BenchReport:
    """Times, profiles, and what they mean.

    Args:
        rows: by kernel set, threads and file, in the order given.
        baseline: name of the file that ratios refer to.
        machine: where.
        profiles: by file, with the first kernel set and number of threads.
        reasons: why a file is not faster than the baseline, or where its time goes.
        notes: what makes the numbers doubtful, or what was assumed.
    """

    rows: tuple[BenchRow, ...]
    baseline: str
    machine: Machine
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    reasons: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def row(self, name: str) -> BenchRow:
        """A file's first row."""
        return next(row for row in self.rows if row.name == name)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The reasons: what other checks call their findings."""
        return self.reasons

    def to_dict(self) -> dict[str, Any]:
        """Plain values; may hold infinities and NaN."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """JSON text."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.bench_text import as_text

        return as_text(self)
