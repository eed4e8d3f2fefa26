"""What quantization costs in accuracy on real images: ours by range and preset, and the rivals.

    python tools/bench_accuracy.py --images imagenet_dev --model mobilenet_v2_imagenet.keras
    python tools/bench_accuracy.py --images photos --model net.keras --preprocess scale=1/255

Images are files whose names begin with the class index: 0123.jpg, or 7_0123.png where a class has
several. Those whose stem ends in 0 calibrate, those that end in 3 and 7 evaluate
(`--calibrate-ending`, `--evaluate-ending`); everybody gets the same ones. Any labelled validation
set can be renamed so, for example 300 images of ImageNet's, 224 x 224. The known networks are
MobileNetV2 (Keras weights converted to logits) and EfficientNet-Lite0; their preprocessing is
looked up by the model's file name, other models need `--preprocess`.

Every rival runs in a process of its own. Top-1 and agreement with the float model carry 95 %
(Wilson) intervals. SQNR is that of the model's output against the float model's, in dB. Seconds
are from the float flatbuffer to the finished file, decoding of the images included;
TFLiteConverter starts from Keras and so converts once more.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _bench import Inputs, busy, in_child, litert_quantizer, table, write_json

from tfq_ext import quantize
from tfq_ext._optional import need
from tfq_ext._table import Table
from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import TfqError
from tfq_ext.samples import Preprocess, Samples, open_samples, progress
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model
from tfq_ext.validation.accuracy import Accuracy, evaluate

FLOAT = "float"
# Part of a file name -> what its network was trained on.
PREPROCESS = Table(
    "known network",
    {
        "mobilenet_v2": "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
        "efficientnet_lite0": "mean=127,std=128",
    },
)


@dataclass(frozen=True)
class Job:
    """What everybody starts from."""

    keras: Path
    pivot: Path
    images: Path  # the calibration images, and no others
    preprocess: str

    def samples(self) -> Samples:
        specs = input_specs(Model.parse(self.pivot.read_bytes()))
        return open_samples(self.images, specs, preprocess=Preprocess.parse(self.preprocess))


@dataclass(frozen=True)
class Made:
    """A quantized file and what it took."""

    content: bytes
    seconds: float


Maker = Callable[[Job], bytes]


def converter(job: Job, *, per_channel: bool = True) -> bytes:
    """TFLiteConverter, full integer kernels, float input and output."""
    tf = need("tensorflow", why="the comparison with TFLiteConverter")
    keras = need("keras", why="the comparison with TFLiteConverter")
    model = keras.models.load_model(job.keras, compile=False)
    made = tf.lite.TFLiteConverter.from_keras_model(model)
    made.optimizations = [tf.lite.Optimize.DEFAULT]
    made.representative_dataset = lambda: (list(s.inputs.values()) for s in job.samples())
    made.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    made._experimental_disable_per_channel = not per_channel
    return bytes(made.convert())


def converter_per_layer(job: Job) -> bytes:
    """The same with one scale a weight tensor."""
    return converter(job, per_channel=False)


def litert(job: Job) -> bytes:
    """litert-quantizer's static_wi8_ai8."""
    samples = job.samples()
    signature = samples.inputs[0].signature or None
    rows: list[Inputs] = [sample.inputs for sample in samples]
    quantizer = litert_quantizer(job.pivot.read_bytes())
    ranges = quantizer.calibrate({signature: rows}, num_threads=2)
    return bytes(quantizer.quantize(ranges).quantized_model)


RIVALS: Table[Maker] = Table(
    "rival",
    {
        "TFLiteConverter": converter,
        "TFLiteConverter, per layer": converter_per_layer,
        "litert-quantizer": litert,
    },
)


def timed(name: str, job: Job) -> Made:
    """A rival at work."""
    start = time.perf_counter()
    content = RIVALS[name](job)
    return Made(content, time.perf_counter() - start)


def ours(job: Job, recipe: str | dict[str, str]) -> Made:
    """tfq_ext by one recipe."""
    start = time.perf_counter()
    result = quantize(job.pivot, job.images, recipe=recipe, preprocess=job.preprocess)
    return Made(result.content, time.perf_counter() - start)


def our_recipes(calibrators: str, presets: str) -> dict[str, str | dict[str, str]]:
    """Name in the table -> recipe: int8 by ranges alone for each calibrator, then the presets."""
    names = [name for name in calibrators.split(",") if name]
    by_range = {f"int8, {name}": {"base": "int8", "calibrator": name} for name in names}
    return {**by_range, **{name: name for name in presets.split(",") if name}}


def make_all(
    job: Job, recipes: Mapping[str, str | dict[str, str]]
) -> tuple[dict[str, Made], dict[str, str]]:
    """Every file, by contender; and why, for those that could not be made."""
    made: dict[str, Made] = {}
    failed: dict[str, str] = {}
    tasks: list[tuple[str, Callable[[], Made]]] = [
        (name, lambda name=name: in_child(timed, name, job))  # type: ignore[misc]
        for name in RIVALS
    ]
    tasks += [
        (f"tfq_ext, {name}", lambda recipe=recipe: ours(job, recipe))  # type: ignore[misc]
        for name, recipe in recipes.items()
    ]
    for done, (name, task) in enumerate(tasks, 1):
        print(f"[{done}/{len(tasks)}] {name}", file=sys.stderr, flush=True)
        try:
            made[name] = task()
        except (RuntimeError, TfqError) as error:
            failed[name] = str(error)
    return made, failed


def ending(folder: Path, digits: str) -> list[Path]:
    """Files whose stem ends in one of the digits, in order.

    Raises:
        SystemExit: there is none.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.stem[-1] in digits)
    if not files:
        sys.exit(f"{folder} has no file whose name ends in one of {digits} (before the suffix).")
    return files


def label_of(file: Path) -> int:
    """The class index that the name begins with.

    Raises:
        SystemExit: it begins with something else.
    """
    first = file.stem.partition("_")[0]
    if not first.isdigit():
        sys.exit(f"{file.name}: the name must begin with the class index, like 0123.jpg or 7_1.png")
    return int(first)


def folder_of(files: Sequence[Path], folder: Path) -> Path:
    """A folder with links to these files alone."""
    folder.mkdir()
    for file in files:
        (folder / file.name).symlink_to(file.resolve())
    return folder


def labelled(samples: Samples, labels: Sequence[int]) -> Iterator[tuple[dict[str, Any], list[int]]]:
    """Samples of one image each with their labels, as `evaluate` takes them."""
    for sample in progress(samples, label="evaluating", total=len(labels)):
        yield dict(sample.inputs), [labels[sample.key]]


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The table that is printed."""
    head = ("", "top-1 %", "95 %", "agreement %", "95 %", "SQNR dB", "MB", "seconds")
    lines = [
        (
            row["name"],
            _percent(row["top1"]),
            _interval(row["top1_interval"]),
            _percent(row["agreement"]),
            _interval(row["agreement_interval"]),
            f"{row['sqnr_db']:.2f}",
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['seconds']:.1f}",
        )
        for row in rows
    ]
    return table(head, lines)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _interval(ends: Sequence[float] | None) -> str:
    return "" if ends is None else "..".join(f"{100 * end:.1f}" for end in ends)


def preprocess_for(model: Path, given: str | None) -> str:
    """The option, or what the known network of that name wants."""
    for name, known in PREPROCESS.items():
        if given is None and name in model.name:
            return known
    if given is None:
        known_names = ", ".join(PREPROCESS)
        sys.exit(f"{model.name} is not {known_names}: state --preprocess (see tfq_ext.Preprocess).")
    return given


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="float Keras model, .keras or .h5")
    add("--images", type=Path, required=True, help="folder of images named by class index")
    add("--calibrators", default="minmax,percentile:99.99,mse,kl", help="of ours, by comma")
    add("--recipes", default="fast,int8,best,int4-fast,int4", help="presets of ours, by comma")
    add("--preprocess", help='for example "scale=1/255,mean=0.5,std=0.5"')
    add("--calibrate-ending", default="0", metavar="DIGITS", help="default 0")
    add("--evaluate-ending", default="37", metavar="DIGITS", help="default 37")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    preprocess = preprocess_for(args.model, args.preprocess)
    calibrate = ending(args.images, args.calibrate_ending)
    judge = ending(args.images, args.evaluate_ending.replace(",", ""))
    labels = [label_of(file) for file in judge]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        pivot = to_float(args.model, batch=1).model
        content, seconds = pivot.to_bytes(), time.perf_counter() - start
        images = folder_of(calibrate, Path(folder, "calibrate"))
        job = Job(args.model.resolve(), Path(folder, "float.tflite"), images, preprocess)
        job.pivot.write_bytes(content)
        made, failed = make_all(job, our_recipes(args.calibrators, args.recipes))
        made = {FLOAT: Made(content, seconds), **made}
        read = open_samples(
            folder_of(judge, Path(folder, "evaluate")),
            input_specs(pivot),
            preprocess=Preprocess.parse(preprocess),
        )
        files = {name: m.content for name, m in made.items()}
        judged = evaluate(files, labelled(read, labels), reference=FLOAT, threads=2)
    rows = [row(name, judged[name], made[name]) for name in made]
    print(f"{args.model.name}: {len(calibrate)} calibration, {len(judge)} evaluation images")
    print(f"Machine: {busy()}.\n")
    print(shown(rows))
    for name, reason in failed.items():
        print(f"{name} was left out: {reason}")
    write_json(args.json, {"model": args.model.name, "rows": rows, "out": failed})
    return 0


def row(name: str, accuracy: Accuracy, made: Made) -> dict[str, Any]:
    """One line of the table."""
    return {
        "name": name,
        **asdict(accuracy),
        "bytes": len(made.content),
        "seconds": made.seconds,
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TfqError as error:
        sys.exit(f"{type(error).__name__}: {error}")
