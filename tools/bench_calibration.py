"""What calibration costs: ours, the rivals' and plain inference, on one model and the same samples.

    python tools/bench_calibration.py --model mobilenet_v2_imagenet.keras --images imagenet_dev
    python tools/bench_calibration.py --model net.tflite --random 40 --threads 2

Any float model that `tfq_ext.quantize` takes will do; without one the bundled demo network is
used. The known figures are of MobileNetV2 at 224 x 224 with ImageNet weights (from
`keras.applications`, saved as .keras). Images are any folder; their content changes nothing but
the histograms' cache misses, so `--random` normal noise gives nearly the same times.

Each contender has a process of its own, and the processes take turns, round after round; the
medians are printed, and the best round beside them. "ms a sample" is the time from one sample
being asked for to the next, the same clock for everybody; "start, end" is what a whole call takes
beyond that (opening interpreters, freezing statistics). Memory is the peak of the process, and how
far that is above what it held before, with its modules imported and the samples loaded.

Close other programs: ours keeps every core at work, so on a machine with company it is slowed down
more than those that leave cores idle.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _bench import Child, Stamped, busy, litert_quantizer, memory_mb, run, table, write_json

from tfq_ext import demo
from tfq_ext._optional import need
from tfq_ext._table import Table
from tfq_ext.emit.to_float import to_float
from tfq_ext.repair.observe import observe
from tfq_ext.samples import InputSpec, Preprocess, Sample, open_samples, progress
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import input_tensors, open_interpreter

PLAIN, OURS = "LiteRT inference", "tfq_ext, all statistics"
MOST_OF_PLAIN = 2.5  # ours at most so many times plain inference
LEAST_OF_OURS = 4.0  # a rival at least so many times ours


@dataclass(frozen=True)
class Job:
    """One model and its samples, as every contender gets them."""

    pivot: Path
    samples: Path  # .npz, [N, ...] by input name
    signature: str
    threads: int

    def load(self) -> Stamped:
        with np.load(self.samples) as arrays:
            stacked = dict(arrays)
        count = len(next(iter(stacked.values())))
        return Stamped([{name: a[k] for name, a in stacked.items()} for k in range(count)])


@dataclass(frozen=True)
class Turn:
    """One pass of a contender over all samples."""

    ms: float
    ends_ms: float  # before the first and after the last sample
    peak_mb: float
    growth_mb: float


Pass = Callable[[Stamped], object]


def plain(job: Job) -> Pass:
    """Inference alone: set the inputs, invoke."""

    def run(samples: Stamped) -> None:
        content = job.pivot.read_bytes()
        tensors = input_tensors(Model.parse(content), job.signature)
        interpreter = open_interpreter(content, threads=job.threads)
        for sample in samples:
            for name, value in sample.items():
                interpreter.set_tensor(tensors[name], value)
            interpreter.invoke()

    return run


def ours(job: Job) -> Pass:
    """Exact extremes, histogram, per-sample extremes, NaN and inf, moments of every channel."""
    from tfq_ext.numerics import scan  # noqa: F401 - numba is a module, not a cost of the call

    def run(samples: Stamped) -> object:
        pivot = Model.parse(job.pivot.read_bytes())
        keyed = (Sample(k, inputs, job.signature) for k, inputs in enumerate(samples))
        return observe(pivot, keyed, threads=job.threads)

    return run


def tensorflow(job: Job) -> Pass:
    """Extremes only. It has no option for threads."""
    calibrator = need("tensorflow.lite.python.optimize.calibrator", why="TFLiteConverter's part")

    def run(samples: Stamped) -> object:
        as_lists = (dict(s) if job.signature else list(s.values()) for s in samples)
        return calibrator.Calibrator(job.pivot.read_bytes()).calibrate(lambda: as_lists)

    return run


def litert(job: Job) -> Pass:
    """A moving average of extremes."""
    need("litert_quantizer", why="the comparison with litert-quantizer")

    def run(samples: Stamped) -> object:
        data = {job.signature or None: samples}
        quantizer = litert_quantizer(job.pivot.read_bytes())
        return quantizer.calibrate(data, num_threads=job.threads)

    return run


CONTENDERS: Table[Callable[[Job], Pass]] = Table(
    "contender",
    {PLAIN: plain, OURS: ours, "TFLiteConverter": tensorflow, "litert-quantizer": litert},
)


def prepare(name: str, job: Job) -> Callable[[], Turn]:
    """In the contender's process: import, load the samples, run once for nothing."""
    run, samples = CONTENDERS[name](job), job.load()
    before, _ = memory_mb()
    run(samples)

    def turn() -> Turn:
        start = time.perf_counter()
        run(samples)
        whole = 1e3 * (time.perf_counter() - start)
        each, (_, peak) = samples.ms_each(), memory_mb()
        fed = 1e3 * (samples.stamps[-1] - samples.stamps[0]) + each
        return Turn(each, max(whole - fed, 0.0), peak, peak - before)

    return turn


def race(job: Job, rounds: int) -> tuple[dict[str, list[Turn]], dict[str, str]]:
    """All contenders, taking turns.

    Returns:
        Turns by contender, and why for those that could not run.
    """
    turns: dict[str, list[Turn]] = {}
    failed: dict[str, str] = {}
    children: dict[str, Child] = {}
    try:
        for name in progress(CONTENDERS, label="starting", total=len(CONTENDERS)):
            try:
                children[name] = Child(prepare, name, job)
            except RuntimeError as error:
                failed[name] = str(error)
        order = [name for _ in range(rounds) for name in children]
        for name in progress(order, label="measuring", total=len(order)):
            turns.setdefault(name, []).append(children[name].turn())
    finally:
        for child in children.values():
            child.close()
    return turns, failed


def summary(turns: dict[str, list[Turn]]) -> list[dict[str, Any]]:
    """Medians and ratios, one row a contender. Ratios are medians of those within a round."""
    rows = []
    for name, mine in turns.items():
        row = {"name": name, **asdict(middle(mine)), "best_ms": min(t.ms for t in mine)}
        for column, other in (("of_plain", PLAIN), ("of_ours", OURS)):
            if other in turns:
                pairs = zip(mine, turns[other], strict=True)
                row[column] = median(a.ms / b.ms for a, b in pairs)
        rows.append(row)
    return rows


def middle(turns: Sequence[Turn]) -> Turn:
    """The median of every figure; of the memory the highest."""
    return Turn(
        median(t.ms for t in turns),
        median(t.ends_ms for t in turns),
        max(t.peak_mb for t in turns),
        max(t.growth_mb for t in turns),
    )


def target(row: dict[str, Any]) -> str:
    """What was demanded of this row, and whether it was met."""
    if row["name"] == PLAIN or "of_plain" not in row or "of_ours" not in row:
        return ""
    if row["name"] == OURS:
        met = row["of_plain"] <= MOST_OF_PLAIN
        return f"<= {MOST_OF_PLAIN} x inference: {'met' if met else 'MISSED'}"
    met = row["of_ours"] >= LEAST_OF_OURS
    return f">= {LEAST_OF_OURS:g} x ours: {'met' if met else 'MISSED'}"


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The table that is printed."""
    head = (
        "",
        "ms a sample",
        "best",
        "x inference",
        "x ours",
        "start, end ms",
        "peak MB",
        "growth MB",
    )
    lines = [
        (
            row["name"],
            f"{row['ms']:.2f}",
            f"{row['best_ms']:.2f}",
            f"{row.get('of_plain', float('nan')):.2f}",
            f"{row.get('of_ours', float('nan')):.2f}",
            f"{row['ends_ms']:.0f}",
            f"{row['peak_mb']:.0f}",
            f"{row['growth_mb']:.0f}",
            target(row),
        )
        for row in rows
    ]
    return table((*head, "demanded"), lines)


def samples_for(specs: Sequence[InputSpec], args: argparse.Namespace) -> dict[str, np.ndarray]:
    """[N, ...] by input name: images from a folder, or seeded noise."""
    if args.images:
        chosen = open_samples(
            args.images, specs, limit=args.samples, preprocess=Preprocess.parse(args.preprocess)
        )
        rows = [s.inputs for s in progress(chosen, label="reading", total=args.samples)]
        return {spec.name: np.stack([row[spec.name] for row in rows]) for spec in specs}
    rng, count = np.random.default_rng(0), args.random or args.samples
    shapes = {s.name: (count, *(max(n, 1) for n in s.shape)) for s in specs}
    return {s.name: rng.standard_normal(shapes[s.name]).astype(s.dtype) for s in specs}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, default=demo.model_path(), help="float model (default: demo)")
    add("--images", type=Path, help="folder of images; without it: noise")
    add("--random", type=int, metavar="N", help="N samples of noise")
    add("--preprocess", default="scale=1/127.5,mean=1", help="for --images; see tfq_ext.Preprocess")
    add("--samples", type=int, default=40, metavar="N", help="at most so many (default 40)")
    add("--rounds", type=int, default=5, metavar="R", help="turns of each (default 5)")
    add("--threads", type=int, default=2, help="for each of them (default 2)")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    if min(args.random or args.samples, args.samples) < 3 or args.rounds < 1 or args.threads < 1:
        parser.error("give at least 3 samples, 1 round and 1 thread")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    model = to_float(args.model).model
    specs = input_specs(model)
    signature = specs[0].signature
    specs = [spec for spec in specs if spec.signature == signature]
    before = busy()
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder, "float.tflite"), Path(folder, "s.npz"), signature, args.threads)
        job.pivot.write_bytes(model.to_bytes())
        np.savez(job.samples, **samples_for(specs, args))  # type: ignore[arg-type]
        turns, failed = race(job, args.rounds)
    rows = summary(turns)
    print(f"{args.model.name}, {args.threads} threads, medians of {args.rounds} rounds")
    print(f"Before: {before}. After: {busy()}.\n")
    print(shown(rows))
    for name, reason in failed.items():
        print(f"{name} was left out: {reason}")
    write_json(args.json, {"model": args.model.name, "load": before, "rows": rows, "out": failed})
    return 0


if __name__ == "__main__":
    run(main)
