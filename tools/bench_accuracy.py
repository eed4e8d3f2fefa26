"""What quantization costs in accuracy on real images: ours by range and preset, and the rivals.

    python tools/bench_accuracy.py --images imagenet_dev --model mobilenet_v2_imagenet.keras
    python tools/bench_accuracy.py --images photos --model net.keras --preprocess scale=1/255

Images are files whose names begin with the class index: 0123.jpg, or 7_0123.png where a class has
several. Those whose stem ends in 0 calibrate, those that end in 3 and 7 evaluate
(`--calibrate-ending`, `--evaluate-ending`); everybody gets the same ones. Any labelled validation
set can be renamed so, for example 300 images of ImageNet's, 224 x 224. The known networks are
MobileNetV2 (Keras weights converted to logits) and EfficientNet-Lite0; their preprocessing is
looked up by the model's file name, other models need `--preprocess`.

Everybody, we too, runs in a process of its own. Top-1 and agreement with the float model carry
95 % (Wilson) intervals; the drop in top-1 against float has a paired one, for both see the same
images (tfq_ext.numerics.intervals.paired_interval). SQNR is that of the model's output against the
float model's, in dB. Seconds are from the float flatbuffer to the finished file, decoding of the
images included; TFLiteConverter starts from Keras and so converts once more. Peak memory is that
of the process, its imports included.

With `--split-half` everybody works twice, on each half of the calibration images, and a second
table tells how far the two files' outputs are apart. A file is stable if that is less than their
distance from float: then the choice of samples matters less than rounding.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _bench import busy, litert_quantizer, run, table, write_json
from _bench_files import (
    FLOAT,
    Contender,
    Ground,
    Job,
    Recipe,
    drop_cells,
    interval,
    make_all,
    memory,
    ours,
    percent,
    row,
)
from _bench_halves import shown as halves_shown
from _bench_halves import stability
from _bench_images import add_options

from tfq_ext._optional import need
from tfq_ext._table import Table

Maker = Callable[[Job], bytes]

HEAD = (
    *("", "top-1 %", "95 %", "drop", "paired 95 %", "agreement %", "95 %"),
    *("SQNR dB", "MB", "seconds", "peak MB"),
)


def converter(job: Job, *, per_channel: bool = True) -> bytes:
    """TFLiteConverter, full integer kernels, float input and output."""
    tf = need("tensorflow", why="the comparison with TFLiteConverter")
    keras = need("keras", why="the comparison with TFLiteConverter")
    model = keras.models.load_model(job.model, compile=False)
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
    signature = job.samples().inputs[0].signature or None
    quantizer = litert_quantizer(job.pivot.read_bytes())
    ranges = quantizer.calibrate({signature: job.rows()}, num_threads=2)
    return bytes(quantizer.quantize(ranges).quantized_model)


RIVALS: Table[Maker] = Table(
    "rival",
    {
        "TFLiteConverter": converter,
        "TFLiteConverter, per layer": converter_per_layer,
        "litert-quantizer": litert,
    },
)
RIVAL_PACKAGES = tuple(dict.fromkeys(name.partition(",")[0] for name in RIVALS))


def our_recipes(calibrators: str, presets: str) -> dict[str, Recipe]:
    """Name in the table -> recipe: int8 by ranges alone for each calibrator, then the presets."""
    names = [name for name in calibrators.split(",") if name]
    by_range: dict[str, Recipe] = {
        f"int8, {name}": {"base": "int8", "calibrator": name} for name in names
    }
    return {**by_range, **{name: name for name in presets.split(",") if name}}


def contenders(args: argparse.Namespace) -> list[Contender]:
    """Rivals, then we."""
    rivals = args.rivals.split(",")
    known = [name for name in RIVALS if name.partition(",")[0] in rivals]
    recipes = our_recipes(args.calibrators, args.recipes)
    return [
        *(Contender(name, RIVALS[name]) for name in known),
        *(Contender(f"tfq_ext, {name}", ours, (recipe,)) for name, recipe in recipes.items()),
    ]


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The table that is printed."""
    lines = [
        (
            row["name"],
            percent(row["top1"]),
            interval(row["top1_interval"]),
            *drop_cells(row["drop"]),
            percent(row["agreement"]),
            interval(row["agreement_interval"]),
            f"{row['sqnr_db']:.2f}",
            f"{row['bytes'] / 1e6:.2f}",
            f"{row['seconds']:.1f}",
            memory(row["peak_mb"]),
        )
        for row in rows
    ]
    return table(HEAD, lines)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    add = parser.add_argument
    add("--calibrators", default="minmax,percentile:99.99,mse,kl", help="of ours, by comma")
    add("--recipes", default="fast,int8,best,int4-fast,int4", help="presets of ours, by comma")
    add("--rivals", default=",".join(RIVAL_PACKAGES), help='by comma; "" for none')
    add("--split-half", action="store_true", help="a table on two halves of the images as well")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    who = contenders(args)
    halves: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground.of(args, Path(folder))
        made, failed = make_all(ground.job, who, args.limit)
        made = {FLOAT: ground.float, **made}
        judged = ground.judged({name: m.content for name, m in made.items()})
        rows = [row(name, judged[name], made[name]) for name in made]
        counts = f"{len(ground.calibrate)} calibration, {len(ground.judge)} evaluation images"
        print(f"{args.model.name}: {counts}")
        print(f"Machine: {busy()}.\n")
        print(shown(rows))
        if args.split_half:
            found, out = stability(ground, who, args.limit)
            failed |= out
            halves = [{**asdict(one), "stable": one.stable} for one in found]
            print(f"\n{halves_shown(found)}")
    for name, reason in failed.items():
        print(f"{name} was left out: {reason}")
    figures = {"model": args.model.name, "rows": rows, "halves": halves, "out": failed}
    write_json(args.json, figures)
    return 0


if __name__ == "__main__":
    run(main)
