"""Throughput of `measure` by number of workers, against a plain interpreter loop."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from _bench import Child
from _bench_part import Part, ratio
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.errors import TfqWarning
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model
from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.accuracy.pool import cores

PLAIN = "plain loop, 1 process"
SUM = f"plain loops, {cores()} processes"
WHOLE = ", start included"
SECONDS = 2.0  # that a turn of the plain loop should take
MOST = 20_000  # samples


def plain_loop(model: str, samples: Any) -> float:
    """Samples a second of what people write: set, invoke, get, argmax."""
    interpreter = Interpreter(model_path=model, num_threads=1)
    given, out = interpreter.get_input_details(), interpreter.get_output_details()[0]["index"]
    n, begun = 0, time.perf_counter()
    for n, sample in enumerate(samples, 1):
        if n == 1:
            for detail, x in zip(given, sample.inputs.values(), strict=True):
                interpreter.resize_tensor_input(detail["index"], x.shape)
            interpreter.allocate_tensors()
        for detail, x in zip(given, sample.inputs.values(), strict=True):
            scale, zero = detail["quantization"]
            if scale and detail["dtype"] in (np.int8, np.uint8):
                ends = np.iinfo(detail["dtype"])
                x = np.clip(np.rint(x / scale) + zero, ends.min, ends.max)
            interpreter.set_tensor(detail["index"], x.astype(detail["dtype"], copy=False))
        interpreter.invoke()
        interpreter.get_tensor(out).argmax(-1)
    return n / (time.perf_counter() - begun)


def prepare(model: str, data: Any, options: dict[str, Any]) -> Callable[[], float]:
    """For a process of its own: the loop, again and again."""
    specs = real_specs(Model.load(model))
    warnings.simplefilter("ignore", TfqWarning)
    return lambda: plain_loop(model, open_samples(data, specs, **options))


def contenders(args: argparse.Namespace) -> Iterator[Callable[[], dict[str, float]]]:
    """Turns, each of which gives samples a second by name."""
    model, data = str(args.model), dataset(args)
    options = {"preprocess": args.preprocess} if args.images else {}
    loops = [Child(prepare, model, data, options) for _ in range(cores())]
    yield lambda: {PLAIN: loops[0].turn()}

    def together() -> dict[str, float]:
        with ThreadPoolExecutor(len(loops)) as threads:
            return {SUM: sum(threads.map(Child.turn, loops))}

    yield together
    for workers in dict.fromkeys((1, cores(), cores() + 1)):
        yield partial(_measured, model, data, workers, options)


def _measured(model: str, data: Any, workers: int, options: dict[str, Any]) -> dict[str, float]:
    report = measure(
        model,
        data,
        metric=lambda predictions, labels: 0.0,  # there are no labels: only running counts
        workers=workers,
        show_progress=False,
        **options,
    )
    name = f"measure, {workers} worker{'s' * (workers > 1)}"
    return {name: report.samples_per_second, name + WHOLE: report.n / report.seconds}


def dataset(args: argparse.Namespace) -> Any:
    """The images, or so many random arrays that a turn takes a while."""
    if args.images:
        return args.images
    specs = real_specs(Model.load(args.model))
    rng = np.random.default_rng(0)

    def draw(n: int) -> dict[str, np.ndarray]:
        shapes = [(n, *(abs(axis) for axis in spec.shape[1:])) for spec in specs]
        return {
            spec.name: rng.uniform(-1, 1, shape).astype(spec.dtype)
            for spec, shape in zip(specs, shapes, strict=True)
        }

    rate = plain_loop(str(args.model), open_samples(draw(50), specs))
    return draw(int(np.clip(rate * SECONDS, 200, MOST)))


def raced(args: argparse.Namespace) -> dict[str, list[float]]:
    """Rates by name, one a round; the first round reads everything from the disk."""
    rates: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TfqWarning)
        turns = list(contenders(args))
        for k in range(args.rounds + 1):
            for turn in turns:
                for name, rate in turn().items():
                    rates.setdefault(name, []).extend([rate] if k else [])
    return rates


def run(args: argparse.Namespace) -> Part:
    """Take turns; rates, and their ratios within a round."""
    rates = raced(args)
    times = {name: [1 / rate for rate in row] for name, row in rates.items()}
    figures = {
        name: {
            "per_second": median(row),
            "of_plain": ratio(times, PLAIN, name),
            "of_sum": ratio(times, SUM, name),
        }
        for name, row in rates.items()
    }
    rows = [
        (name, f"{f['per_second']:.1f}", f"{f['of_plain']:.2f}", f"{f['of_sum']:.2f}")
        for name, f in figures.items()
    ]
    ours = [name for name in figures if name.startswith("measure") and WHOLE not in name]
    best = max(ours, key=lambda name: figures[name]["of_sum"])
    kind = "images decoded from files" if args.images else "random arrays"
    return Part(
        "evaluate",
        f"Evaluation: samples a second, medians of {args.rounds} rounds in turns ({kind})",
        ("", "samples/s", "x one loop", "x the sum of the cores"),
        rows,
        {"cores": cores(), "rates": figures},
        [f"{best}: {figures[best]['of_sum']:.0%} of the sum of {cores()} cores."],
    )
