"""Time of `compare` against litert-quantizer's `validate`, which measures less, on one file."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from _bench import Child, litert_quantizer
from _bench_evaluate import dataset
from _bench_part import Part, ratio

from tfq_ext._optional import need
from tfq_ext.errors import TfqWarning
from tfq_ext.samples import Sample, open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Model

RIVAL = "litert-quantizer validate (MSE)"
FULL, PLAIN = "tfq compare", "tfq compare --no-own"


def _samples(model: str, data: Any, options: dict[str, Any]) -> list[Sample]:
    warnings.simplefilter("ignore", TfqWarning)
    return list(open_samples(data, real_specs(Model.load(model)), **options))


def rival(model: str, data: Any, options: dict[str, Any], threads: int) -> Callable[[], Any]:
    """For a process of its own: its `validate` on the file that it made itself."""
    samples = _samples(model, data, options)
    quantizer = litert_quantizer(Path(model).read_bytes())
    key = next(iter(Model.load(model).signatures), None)
    rows = [dict(sample.inputs) for sample in samples]
    ranges = quantizer.calibrate({key: rows[:20]}, num_threads=threads)
    made = bytes(quantizer.quantize(ranges).quantized_model)

    def turn() -> tuple[float, bytes]:
        begun = time.perf_counter()
        quantizer.validate({key: rows}, num_threads=threads)
        return time.perf_counter() - begun, made

    return turn


def ours(
    model: str, made: bytes, data: Any, options: dict[str, Any], threads: int, own: bool
) -> Callable[[], float]:
    """For a process of its own: `compare` on the same file; starting its child included."""
    samples = _samples(model, data, options)
    stacked = {
        name: np.concatenate([sample.inputs[name] for sample in samples])
        for name in samples[0].inputs
    }
    from tfq_ext.validation.comparison import compare

    def turn() -> float:
        begun = time.perf_counter()
        compare(model, made, stacked, own=own, threads=threads, show_progress=False)
        return time.perf_counter() - begun

    return turn


def run(args: argparse.Namespace) -> Part:
    """All in turns, in processes of their own."""
    need("litert_quantizer", why="the comparison with litert-quantizer")
    options = {"preprocess": args.preprocess} if args.images else {}
    options["limit"] = args.samples
    given = (str(args.model), dataset(args), options)
    theirs = Child(rival, *given, args.threads)
    _, made = theirs.turn()
    mine = {
        name: Child(ours, given[0], made, *given[1:], args.threads, own)
        for name, own in ((FULL, True), (PLAIN, False))
    }
    times: dict[str, list[float]] = {RIVAL: [], FULL: [], PLAIN: []}
    for turn in range(args.rounds + 1):
        row = {RIVAL: theirs.turn()[0], **{name: child.turn() for name, child in mine.items()}}
        for name, passed in row.items() if turn else ():
            times[name].append(passed)
    for child in (theirs, *mine.values()):
        child.close()
    return _part(times, args)


def _part(times: dict[str, list[float]], args: argparse.Namespace) -> Part:
    rows: list[Sequence[str]] = []
    for name, passed in times.items():
        middle = median(passed)
        rows.append(
            (name, f"{middle:.2f} s", f"{ratio(times, name, RIVAL):.2f}x", _what(name)),
        )
    return Part(
        name="compare",
        title=f"Layer by layer against the float model, up to {args.samples} samples, "
        f"{args.threads} threads, median of {args.rounds} turns",
        head=("", "time", "of the first", "measures"),
        rows=rows,
        figures={"seconds": times},
        verdicts=(
            f"{FULL} takes {ratio(times, FULL, RIVAL):.2f} times as long as {RIVAL}, the start of "
            "its child process included.",
        ),
    )


def _what(name: str) -> str:
    return {
        RIVAL: "MSE",
        FULL: "SQNR, LSB, clipping, shift, ranges, histograms; own errors, causes",
        PLAIN: "SQNR, LSB, clipping, shift, ranges, histograms",
    }[name]
