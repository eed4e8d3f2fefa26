"""What the folder of bench_qat holds, grouped over seeds, with paired intervals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
        known: seed -> bool[N], which test images it answers rightly; without the seeds of which
            the log alone is left.
        accuracies: by seed.
    """

    run: Run
    seeds: tuple[int, ...]
    known: Mapping[int, np.ndarray] = field(repr=False)
    accuracies: tuple[float, ...]

    @property
    def accuracy(self) -> float:
        """The mean."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation between seeds."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.seeds) > 1 else float("nan")

    def hits(self, seeds: Iterable[int]) -> np.ndarray:
        """float[N]: the share of these seeds, all of them known, that is right."""
        return np.asarray(np.mean([self.known[seed] for seed in seeds], axis=0))


@dataclass(frozen=True)
class Lost:
    """Accuracy of a reference minus that of a candidate, with its 95 % interval.

    Args:
        drop, lo, hi: shares.
        paired: over the same images; else as if each had its own, which is much wider.
        note: what the interval is of, where it is not of the drop itself.
    """

    drop: float
    lo: float
    hi: float
    paired: bool = True
    note: str = ""

    def texts(self) -> tuple[str, str]:
        """Points and interval; "~" marks an unpaired one."""
        mark = "" if self.paired else "~"
        note = f" ({self.note})" if self.note else ""
        ends = f"{mark}{100 * self.lo:+.2f} .. {100 * self.hi:+.2f}"
        return f"{100 * self.drop:+.2f}", f"{ends}{note}"

    def verdict(self, target: float) -> str:
        """Whether a target is met, and whether the interval leaves that open."""
        if self.drop > target:
            return (
                "MISSED" if self.lo > target else "missed by the mean, the interval leaves it open"
            )
        return "met" if self.hi <= target else "met by the mean, the interval leaves it open"


def _paired(group: Group, reference: Group) -> Lost | None:
    """The interval over the seeds whose answers both have."""
    both = [seed for seed in group.known if seed in reference.known]
    if not both:
        return None
    found = paired_interval(reference.hits(both), group.hits(both))
    some = len(both) < len(group.seeds)
    note = f"seed {', '.join(map(str, both))} alone" if some else ""
    return Lost(found.drop, found.lo, found.hi, note=note)


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
        pairs = zip(seeds, names, strict=True)
        known = {seed: self._hits(name) for seed, name in pairs if self._path(name).exists()}
        shares = tuple(
            float(known[seed].mean() if seed in known else self.runs[name]["accuracy"])
            for seed, name in zip(seeds, names, strict=True)
        )
        return Group(replace(base, method=method), seeds, known, shares)

    def _hits(self, name: str) -> np.ndarray:
        return np.asarray(np.load(self._path(name)) == self.labels)

    def answered(self, name: str) -> np.ndarray | None:
        """bool[N], which images a file or model answered rightly; None where that is lost."""
        return self._hits(name) if self._path(name).exists() else None

    def _path(self, name: str) -> Path:
        return self.job.out / "predictions" / f"{name}.npy"

    def against(self, group: Group, reference: Group | None) -> Lost | None:
        """What is lost over the seeds that both have, paired over the images where answers are.

        Where some seeds' answers are lost, the others' are paired; where the fine-tuned float
        network's are lost, the float network's that it started from. The note says so.
        """
        if reference is None or reference.seeds != group.seeds:
            return None
        drop = reference.accuracy - group.accuracy
        if found := _paired(group, reference):
            return replace(found, drop=drop)
        start = self.group(replace(reference.run, method=None), None, only=group.seeds)
        if reference.run.method == FLOAT and start and (found := _paired(group, start)):
            note = f"{100 * found.drop:+.2f} against the network before fine-tuning"
            return replace(found, drop=drop, note=", ".join(filter(None, (found.note, note))))
        p, q = reference.accuracy, group.accuracy
        half = 1.96 * float(np.sqrt((p * (1 - p) + q * (1 - q)) / len(self.labels)))
        return Lost(drop, drop - half, drop + half, paired=False)

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
