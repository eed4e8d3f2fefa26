"""Files by many contenders, of one network and the same images: made apart, judged together."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from _bench import Inputs, measured
from _bench_images import ending, folder_of, label_of, labelled, preprocess_for

from tfq_ext import quantize
from tfq_ext.emit.to_float import to_float
from tfq_ext.samples import Preprocess, Samples, open_samples
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.zipped import zipped_size
from tfq_ext.validation.accuracy import Accuracy, evaluate

FLOAT = "float"
Recipe = str | dict[str, Any]  # a preset's name, or fields


@dataclass(frozen=True)
class Job:
    """What everybody starts from.

    Args:
        model: as it was given, for converters that start there.
        pivot: the same as a float .tflite.
        images: the calibration images, and no others.
        preprocess: text of a Preprocess.
    """

    model: Path
    pivot: Path
    images: Path
    preprocess: str

    def samples(self) -> Samples:
        return self.opened(self.images)

    def opened(self, images: Path) -> Samples:
        """Any folder, as this network reads it."""
        specs = input_specs(Model.parse(self.pivot.read_bytes()))
        return open_samples(images, specs, preprocess=Preprocess.parse(self.preprocess))

    def rows(self) -> list[Inputs]:
        """The calibration samples as arrays by input name."""
        return [sample.inputs for sample in self.samples()]


@dataclass(frozen=True)
class Made:
    """A file and what it took.

    Args:
        content: of the .tflite.
        seconds: wall time.
        peak_mb: memory of the process that made it; None for the float file.
    """

    content: bytes
    seconds: float
    peak_mb: float | None = None


@dataclass(frozen=True)
class Contender:
    """Somebody who makes a file.

    Args:
        name: in the table.
        work: picklable: (job, *args) -> content.
        args: more of its arguments.
    """

    name: str
    work: Callable[..., bytes]
    args: tuple[Any, ...] = ()


def ours(job: Job, recipe: Recipe) -> bytes:
    """tfq_ext by one recipe."""
    made = quantize(
        job.pivot, job.images, recipe=recipe, preprocess=job.preprocess, show_progress=False
    )
    return made.content


def make_all(
    job: Job, contenders: Sequence[Contender], limit: float | None = None
) -> tuple[dict[str, Made], dict[str, str]]:
    """Every file, by contender; and why, for those that could not be made."""
    made: dict[str, Made] = {}
    failed: dict[str, str] = {}
    for done, who in enumerate(contenders, 1):
        print(f"[{done}/{len(contenders)}] {who.name}", file=sys.stderr, flush=True)
        try:
            found = measured(who.work, job, *who.args, limit=limit)
            made[who.name] = Made(found.value, found.seconds, found.peak_mb)
        except RuntimeError as error:
            failed[who.name] = str(error)
    return made, failed


@dataclass(frozen=True)
class Ground:
    """The network and its images, ready.

    Args:
        job: for contenders.
        float: the pivot, and what converting took.
        calibrate, judge: images.
        folder: for links.
    """

    job: Job
    float: Made
    calibrate: Sequence[Path]
    judge: Sequence[Path]
    folder: Path

    @classmethod
    def of(cls, args: argparse.Namespace, folder: Path) -> Ground:
        """From the options of `_bench_images.add_options`; `folder` is scratch."""
        preprocess = preprocess_for(args.model, args.preprocess)
        calibrate = ending(args.images, args.calibrate_ending)
        judge = ending(args.images, args.evaluate_ending)
        for file in judge:
            label_of(file)
        start = time.perf_counter()
        batch = None if args.model.suffix == ".tflite" else 1  # a file has its shapes
        content = to_float(args.model, batch=batch).model.to_bytes()
        seconds = time.perf_counter() - start
        folder_of(judge, folder / "evaluate")
        images = folder_of(calibrate, folder / "calibrate")
        job = Job(args.model.resolve(), folder / "float.tflite", images, preprocess)
        job.pivot.write_bytes(content)
        return cls(job, Made(content, seconds), calibrate, judge, folder)

    def judged(self, files: Mapping[str, bytes], reference: str = FLOAT) -> dict[str, Accuracy]:
        """All of them on the images that evaluate."""
        labels = [label_of(file) for file in self.judge]
        read = self.job.opened(self.folder / "evaluate")
        return evaluate(files, labelled(read, labels), reference=reference, threads=2)

    def half(self, k: int) -> Job:
        """The job with every other calibration image, from the first (0) or the second (1) on."""
        images = folder_of(self.calibrate[k::2], self.folder / f"half_{k}")
        return replace(self.job, images=images)


def row(name: str, accuracy: Accuracy, made: Made) -> dict[str, Any]:
    """One line of the table, for machines."""
    return {
        "name": name,
        **asdict(accuracy),
        "bytes": len(made.content),
        "zipped_bytes": zipped_size(made.content),
        "seconds": made.seconds,
        "peak_mb": made.peak_mb,
    }


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else "..".join(f"{100 * end:.1f}" for end in ends)


def drop_cells(found: Mapping[str, float] | None) -> tuple[str, str]:
    """Points of top-1 lost against float, and the paired 95 % interval."""
    if found is None:
        return "", ""
    return f"{100 * found['drop']:+.1f}", interval((found["lo"], found["hi"]))


def memory(peak_mb: float | None) -> str:
    return "" if peak_mb is None else f"{peak_mb:.0f}"
