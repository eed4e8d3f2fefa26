"""Throughput of `measure` by number of workers, against a plain interpreter loop."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from statistics import median
from typing import Any

import numpy as np
from _bench_part import Part, ratio
from ai_edge_litert.interpreter import Interpreter

from tfq_ext.errors import TfqWarning
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model
from tfq_ext.validation.accuracy import measure
from tfq_ext.validation.accuracy.pool import cores

PLAIN = "plain loop, 1 thread"
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


def contenders(args: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """(name, turn) where a turn gives samples a second by name."""
    model, data = str(args.model), dataset(args)
    specs = real_specs(Model.load(model))
    options = {"preprocess": args.preprocess} if args.images else {}
    yield PLAIN, lambda: {PLAIN: plain_loop(model, open_samples(data, specs, **options))}
    for workers in dict.fromkeys((1, 2, cores(), cores() + 1)):

        def turn(workers: int = workers) -> dict[str, float]:
            report = measure(
                model,
                data,
                metric=lambda p, y: float(np.mean(p)) if args.images is None else 0.0,
                workers=workers,
                show_progress=False,
                **options,
            )
            name = f"measure, {workers} worker{'s' * (workers > 1)}"
            return {name: report.samples_per_second, name + WHOLE: report.n / report.seconds}

        yield f"measure, {workers}", turn


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


def run(args: argparse.Namespace) -> Part:
    """Take turns; rates by name."""
    rates: dict[str, list[float]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TfqWarning)
        turns = list(contenders(args))
        for k in range(args.rounds + 1):
            for _, turn in turns:
                for name, rate in turn().items():
                    rates.setdefault(name, []).extend([rate] if k else [])
    # of rates, so that more is faster: ours over the loop's
    times = {name: [1 / rate for rate in row] for name, row in rates.items()}
    figures = {
        name: {"per_second": median(row), "of_plain": ratio(times, PLAIN, name)}
        for name, row in rates.items()
    }
    rows = [(name, f"{f['per_second']:.1f}", f"{f['of_plain']:.2f}") for name, f in figures.items()]
    best = max(figures, key=lambda name: figures[name]["of_plain"])
    kind = "images decoded from files" if args.images else "random arrays"
    return Part(
        "evaluate",
        f"Evaluation: samples a second, medians of {args.rounds} rounds in turns ({kind})",
        ("", "samples/s", "x plain loop"),
        rows,
        {"cores": cores(), "rates": figures},
        [f"{cores()} cores; best: {best}, {figures[best]['of_plain']:.2f} times the plain loop."],
    )
