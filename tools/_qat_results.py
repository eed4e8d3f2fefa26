"""What the folder of bench_qat holds, grouped over seeds, with paired intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from _qat_plan import FLOAT, METHODS, Run
from _qat_queue import Job, Row

from tfq_ext.numerics.intervals import paired_interval


def run_of(name: str) -> Run:
    """The run that an id stands for."""
    stem, _, rest = name.partition("-s")
    net, width, relu = stem.rsplit("-", 2)
    seed, _, method = rest.partition(".")
    return Run(net, float(width), relu, int(seed), method or None)


@dataclass(frozen=True)
class Group:
    """The same training with several seeds.

    Args:
        run: of the first seed.
        seeds: those that are done.
        hits: float[N], share of seeds that answer each test image rightly; None where the log
            alone is left of a run.
        accuracies: by seed.
    """

    run: Run
    seeds: tuple[int, ...]
    hits: np.ndarray | None = field(repr=False)
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation between seeds."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.seeds) > 1 else float("nan")


@dataclass(frozen=True)
class Lost:
    """Accuracy of a reference minus that of a candidate, with its 95 % interval.

    Args:
        drop, lo, hi: shares.
        paired: over the same images; else as if each had its own, which is much wider.
    """

    drop: float
    lo: float
    hi: float
    paired: bool = True

    def texts(self) -> tuple[str, str]:
        """Points and interval; "~" marks an unpaired one."""
        mark = "" if self.paired else "~"
        return f"{100 * self.drop:+.2f}", f"{mark}{100 * self.lo:+.2f} .. {100 * self.hi:+.2f}"

    def verdict(self, target: float) -> str:
        """Whether a target is met, and whether the interval leaves that open."""
        if self.drop > target:
            return (
                "MISSED" if self.lo > target else "missed by the mean, the interval leaves it open"
            )
        return "met" if self.hi <= target else "met by the mean, the interval leaves it open"


@dataclass
class Results:
    """Rows of the log and answers to the test images.

    Args:
        job: where they lie.
        labels: int32[N].
    """

    job: Job
    labels: np.ndarray

    @cached_property
    def runs(self) -> dict[str, Row]:
        """Trainings by id."""
        return self.job.log().rows("run")

    @cached_property
    def files(self) -> dict[str, Row]:
        """Exported files by id; "+int8" behind it is post-training quantization."""
        return self.job.log().rows("file")

    def rows(self, kind: str) -> dict[str, Row]:
        """Any other kind of line."""
        return self.job.log().rows(kind)

    def bases(self) -> list[Run]:
        """What was trained, without seed and method, in order of appearance."""
        found = {replace(run_of(name), seed=0, method=None): None for name in self.runs}
        return sorted(found, key=lambda run: (run.net, run.relu != "relu6", run.width))

    def seeds(self, base: Run, method: str | None, suffix: str = "") -> tuple[int, ...]:
        """Seeds whose answers are there."""
        runs = (run_of(name) for name in self.runs)
        same = (r for r in runs if replace(r, seed=0) == replace(base, method=method, seed=0))
        there = (r for r in same if not suffix or self._path(f"{r.id}{suffix}").exists())
        return tuple(sorted(r.seed for r in there))

    def group(
        self, base: Run, method: str | None, suffix: str = "", only: tuple[int, ...] = ()
    ) -> Group | None:
        """All seeds of one training; None if there are none.

        Args:
            base: network.
            method: name in METHODS.
            suffix: "" for Keras, ".litert" for LiteRT, "+int8.litert" for post-training int8.
            only: seeds to take, where they are there; () for all.
        """
        seeds = self.seeds(base, method, suffix)
        seeds = tuple(s for s in seeds if not only or s in only)
        if not seeds:
            return None
        names = [f"{replace(base, method=method, seed=seed).id}{suffix}" for seed in seeds]
        if not all(self._path(name).exists() for name in names):
            logged = tuple(float(self.runs[name]["accuracy"]) for name in names)
            return Group(replace(base, method=method), seeds, None, logged)
        hits = np.stack([self._hits(name) for name in names])
        shares = tuple(float(share) for share in hits.mean(axis=1))
        return Group(replace(base, method=method), seeds, hits.mean(axis=0), shares)

    def _hits(self, name: str) -> np.ndarray:
        return np.asarray(np.load(self._path(name)) == self.labels)

    def _path(self, name: str) -> Path:
        return self.job.out / "predictions" / f"{name}.npy"

    def against(self, group: Group, reference: Group | None) -> Lost | None:
        """What is lost on the same images, over the seeds that both have."""
        if reference is None or reference.seeds != group.seeds:
            return None
        if group.hits is None or reference.hits is None:
            p, q = reference.accuracy, group.accuracy
            half = 1.96 * float(np.sqrt((p * (1 - p) + q * (1 - q)) / len(self.labels)))
            return Lost(p - q, p - q - half, p - q + half, paired=False)
        found = paired_interval(reference.hits, group.hits)
        return Lost(found.drop, found.lo, found.hi)

    def methods(self, base: Run) -> Iterator[str]:
        """Methods that were trained on it, in the table's order."""
        done = {
            run_of(n).method for n in self.runs if replace(run_of(n), seed=0, method=None) == base
        }
        return (name for name in METHODS if name in done)

    def float_steps(self, base: Run) -> int:
        """Steps of the float training that everything on this network starts from."""
        row = self.runs[replace(base, seed=self.seeds(base, None)[0]).id]
        return int(row["every"]) * len(row["trace"])

    def baseline(self, base: Run, seeds: tuple[int, ...]) -> Group | None:
        """The float network that was fine-tuned as long, same seeds."""
        return self.group(base, FLOAT, only=seeds)
