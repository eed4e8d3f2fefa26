"""The demo's contest: one model, several files, the same images, measured alike."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from tfq_ext import demo
from tfq_ext._files import write_atomic
from tfq_ext.emit.reference import load_keras, tflite_converter_int8
from tfq_ext.emit.to_float import to_float
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import load_recipe
from tfq_ext.report.comparison import Roles, Row
from tfq_ext.samples import Preprocess
from tfq_ext.validation.accuracy import evaluate
from tfq_ext.validation.latency import measure_latency
from tfq_ext.validation.run import validate
from tfq_ext.validation.verdict import Validation

T = TypeVar("T")
Step = Callable[[str, Callable[[], T]], T]  # announces a step, does it

PREPROCESS = Preprocess(mean=demo.PIXEL_MEAN, std=demo.PIXEL_STD)
BATCH = 100
FLOAT = "float"
RIVALS = {  # name -> (file, one scale per channel)
    "TF int8 per layer": ("converter_int8_per_layer.tflite", False),
    "TF int8 per channel": ("converter_int8.tflite", True),
}
OURS = {  # name -> (file, recipe)
    "tfq int8 minmax": ("tfq_int8_minmax.tflite", "int8-minmax"),
    "tfq int8 auto": ("tfq_int8_auto.tflite", "int8"),
    "tfq int16x8": ("tfq_int16x8.tflite", "int16x8"),
    "tfq int4-fast": ("tfq_int4_fast.tflite", "int4-fast"),
}
ROLES = Roles(rival="TF int8 per channel", ours="tfq int8 auto")
SHIPPED = "tfq int8 auto"  # the file that is then held against gates
# What a small int8 file for phones would be held to. No bound on time: whether 5 M MACs in int8 are
# faster than in float depends on the CPU (0.7 to 1.6 times float's time on two x86 machines), and
# the table above the gates has the times.
GATES = {
    "top1_drop": "1%",
    "agreement": "98%",
    "float_ops": 0,
    "lint": "error",
    "size": "200kB",
    "size_ratio": 0.6,
    "runtime": "2.14.0",
}
STEPS = 2 + len(RIVALS) + 1 + len(OURS) + 3


@dataclass(frozen=True)
class Contest:
    """The rows and where everything lies.

    Args:
        rows: one a file, the float model first.
        model, samples, test: copies of what went in, for further commands.
        validation: of the file that would ship.
        shipped, report: that file, and the page about it.
    """

    rows: tuple[Row, ...]
    model: Path
    samples: Path
    test: Path
    validation: Validation
    shipped: Path
    report: Path


def run(folder: Path, limit: int | None, threads: int, step: Step[Any]) -> Contest:
    """Make all files, measure them, and leave them in a folder.

    Args:
        folder: exists; files of these names in it are replaced.
        limit: at most so many test images, and calibration images; None: all.
        threads: for the work; latency is always measured on one.
        step: called with a label and the work to do.

    Raises:
        MissingDependency: TensorFlow is not installed.
        OutputError: a file cannot be written.
    """
    pixels = demo.images("calibration")[0][:limit]
    keras_model = step("load the model (imports TensorFlow)", lambda: load_keras(demo.model_path()))
    pivot = step("convert to a float .tflite", lambda: to_float(keras_model))
    files = {FLOAT: ("float.tflite", pivot.model.to_bytes())}
    rows = [row[None] for row in demo.preprocess(pixels)]
    for name, (file, per_channel) in RIVALS.items():
        work = partial(tflite_converter_int8, keras_model, rows, per_channel=per_channel)
        files[name] = (file, step(f"{name}: calibrate and convert", work))
    files |= dict(_ours(pivot, pixels, threads, step))
    paths = {name: write_atomic(folder / file, content) for name, (file, content) in files.items()}
    contents = {name: content for name, (_, content) in files.items()}
    model = write_atomic(folder / demo.model_path().name, demo.model_path().read_bytes())
    measured = _measure(contents, paths, limit, threads, step)
    test = _save_test(limit, folder)
    judged = step(
        f"validate {paths[SHIPPED].name}: every check, every gate",
        partial(_judged, paths[SHIPPED], paths[FLOAT], test),
    )
    return Contest(
        measured,
        model,
        _save(pixels, folder),
        test,
        judged,
        paths[SHIPPED],
        judged.save_html(folder / "report.html"),
    )


def _judged(file: Path, reference: Path, test: Path) -> Validation:
    return validate(
        file, reference=reference, data=test, preprocess=PREPROCESS, gates=GATES, runs=40
    )


def _ours(
    pivot: Any, pixels: np.ndarray, threads: int, step: Step[Any]
) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Observe once, finish every recipe from that."""
    observe = partial(calibrate, preprocess=PREPROCESS, threads=threads, show_progress=False)
    seen = step(
        "tfq: observe the samples, once for all",
        lambda: observe(pivot, pixels, load_recipe("int8")),
    )
    for name, (file, recipe) in OURS.items():
        work = partial(finish, seen, load_recipe(recipe), threads=threads, show_progress=False)
        result = step(f"{name}: choose, emit, read back", work)
        yield name, (file, result.content)


def _measure(
    contents: Mapping[str, bytes],
    paths: Mapping[str, Path],
    limit: int | None,
    threads: int,
    step: Step[Any],
) -> tuple[Row, ...]:
    x, labels = (part[:limit] for part in demo.evaluation())
    batches = [
        ({"image": x[k : k + BATCH]}, labels[k : k + BATCH]) for k in range(0, len(x), BATCH)
    ]
    accuracy = step(
        f"accuracy on {len(x)} test images",
        lambda: evaluate(contents, batches, reference=FLOAT, threads=threads),
    )
    latency = step(
        "latency, one thread, files taking turns",
        lambda: measure_latency(contents, {"image": x[:1]}, runs=100, warmup=10),
    )
    return tuple(
        Row(name, str(paths[name]), len(content), accuracy[name], latency[name])
        for name, content in contents.items()
    )


def _save(pixels: np.ndarray, folder: Path) -> Path:
    """The calibration images as a .npy, as `--data` takes them."""
    buffer = io.BytesIO()
    np.save(buffer, pixels)
    return write_atomic(folder / "calibration.npy", buffer.getvalue())


def _save_test(limit: int | None, folder: Path) -> Path:
    """The test images with their labels as a .npz."""
    pixels, labels = (part[:limit] for part in demo.images("evaluation"))
    buffer = io.BytesIO()
    np.savez(buffer, image=pixels, y=labels)
    return write_atomic(folder / "test.npz", buffer.getvalue())
