"""How weights become integers: our rounders and presets beside litert-quantizer's algorithms.

    python tools/bench_rounding.py --images imagenet_dev --model mobilenet_v2_imagenet.keras
    python tools/bench_rounding.py --images photos --model net.tflite --preprocess scale=1/255
    python tools/bench_rounding.py --bits 4 --roundings nearest,gptq --presets '' --rivals GPTQ

The model is a .keras, .h5 or float .tflite; where TFQ_SHARED names a folder with `models/` and
`data/imagenet_dev`, MobileNetV2 and those images are the default. Images are named as
bench_accuracy.py wants them.

Our rounders differ in nothing but the rounding: ranges are those of the preset `fast`, scales by
the layer's output, and at 4 bits biases are matched. Presets stand for themselves.

litert-quantizer quantizes statically, min-max throughout, and the algorithm named takes those ops
with weights that it knows: OCTAV and MSE all of them, GPTQ and OSCAR FULLY_CONNECTED alone. At
4 bits it has static kernels for CONV_2D and FULLY_CONNECTED; the other weights stay in 8.

Everybody works in a process of its own and within `--limit` seconds; who fails is named below the
table with its reason. The drop in top-1 is against float, on the same images, with a paired 95 %
interval. Ratio is wall time over that of the first row that was made. Zipped is the file deflated,
as a phone downloads it. Below the table stands whether our presets kept to the time that they may
take for MobileNetV2 on two idle cores, which on a busy machine says little.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _bench import busy, run, table, write_json
from _bench_files import (
    FLOAT,
    Contender,
    Ground,
    Made,
    Recipe,
    drop_cells,
    make_all,
    memory,
    ours,
    percent,
    row,
)
from _bench_images import add_options
from _bench_litert import ALGORITHMS, by_algorithm, reach

from tfq_ext._table import Table
from tfq_ext.recipe import PRESETS
from tfq_ext.rounding import parse_rounder

# Width of weights -> what all our rounders have in common.
COMMON: Table[dict[str, Any]] = Table(
    "width",
    {
        "8": {"base": "fast"},
        "4": {"base": "fast", "bias": "match"},
    },
)
# Preset -> seconds that it may take for MobileNetV2 and 100 images on two idle cores.
SECONDS = {"best": 300.0, "int4-fast": 90.0, "int4": 900.0}
PEAK_MB = 6000.0
HEAD = (
    *("", "SQNR dB", "agreement %", "top-1 %", "drop", "paired 95 %"),
    *("seconds", "ratio", "peak MB", "kB", "zipped kB"),
)


def recipe_of(rounding: str, bits: str) -> Recipe:
    """One rounder, all else equal."""
    common = COMMON[bits]
    return {**common, "weights": {"bits": int(bits), "rounding": rounding, "scale": "output"}}


def contenders(args: argparse.Namespace) -> list[Contender]:
    """Our rounders by width, our presets, litert-quantizer's algorithms by width.

    Raises:
        UnknownName: a width, rounder, preset or algorithm that there is not.
    """
    roundings, presets, rivals, widths = (
        [name for name in text.split(",") if name]
        for text in (args.roundings, args.presets, args.rivals, args.bits)
    )
    for name in roundings:
        parse_rounder(name)
    return [
        *(
            Contender(f"tfq_ext {name}, int{bits}", ours, (recipe_of(name, bits),))
            for bits in widths
            for name in roundings
        ),
        *(Contender(f"tfq_ext preset {n}", ours, (PRESETS[n].recipe.to_dict(),)) for n in presets),
        *(
            Contender(f"litert-quantizer {n}, int{b}", by_algorithm, (ALGORITHMS[n], int(b)))
            for b in widths
            for n in rivals
        ),
    ]


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """The table that is printed."""
    lines = [
        (
            row["name"],
            f"{row['sqnr_db']:.2f}",
            percent(row["agreement"]),
            percent(row["top1"]),
            *drop_cells(row["drop"]),
            f"{row['seconds']:.1f}",
            "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            memory(row["peak_mb"]),
            f"{row['bytes'] / 1e3:.1f}",
            f"{row['zipped_bytes'] / 1e3:.1f}",
        )
        for row in rows
    ]
    return table(HEAD, lines)


def verdicts(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Whether our presets kept to their time, and all of ours to the memory."""
    word = {True: "met", False: "MISSED"}
    for one in (r for r in rows if r["name"].startswith("tfq_ext")):
        _, _, preset = one["name"].rpartition(" ")
        if " preset " in one["name"] and preset in SECONDS:
            kept = one["seconds"] <= SECONDS[preset]
            yield f"{one['name']} <= {SECONDS[preset]:.0f} s: {word[kept]}"
        if one["peak_mb"] > PEAK_MB:
            yield f"{one['name']} <= {PEAK_MB:.0f} MB: {word[False]}"


def rows_of(ground: Ground, made: dict[str, Made]) -> list[dict[str, Any]]:
    """Everybody judged; times over the first one's."""
    judged = ground.judged({name: m.content for name, m in made.items()})
    rows = [row(name, judged[name], made[name]) for name in made]
    first = next((r["seconds"] for r in rows if r["name"] != FLOAT), None)
    for one in rows:
        one["ratio"] = None if one["name"] == FLOAT or not first else one["seconds"] / first
    return rows


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = os.environ.get("TFQ_SHARED")
    known = {
        "model": shared and Path(shared, "models", "mobilenet_v2_imagenet.keras"),
        "images": shared and Path(shared, "data", "imagenet_dev"),
    }
    add_options(parser, **{name: path for name, path in known.items() if isinstance(path, Path)})
    add = parser.add_argument
    add("--bits", default="8,4", help="widths of the weights, by comma (8,4)")
    add("--roundings", default="nearest,gptq,adaround,gpfq", help='of ours, by comma; "": none')
    add("--presets", default="fast,best,int4-fast,int4,mixed", help='of ours, by comma; "": none')
    add("--rivals", default=",".join(ALGORITHMS), help=f"of {', '.join(ALGORITHMS)}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    who = contenders(args)
    with tempfile.TemporaryDirectory() as folder:
        ground = Ground.of(args, Path(folder))
        made, failed = make_all(ground.job, who, args.limit)
        rows = rows_of(ground, {FLOAT: ground.float, **made})
    counts = f"{len(ground.calibrate)} calibration, {len(ground.judge)} evaluation images"
    print(f"{args.model.name}: {counts}")
    print(f"Machine: {busy()}.\n")
    print(shown(rows))
    for line in verdicts(rows):
        print(line)
    for one in (c for c in who if c.work is by_algorithm and c.name in made):
        print(f"{one.name}: {reach(*one.args)}")
    for name, reason in failed.items():
        print(f"{name} was left out: {reason}")
    write_json(args.json, {"model": args.model.name, "rows": rows, "out": failed})
    return 0


if __name__ == "__main__":
    run(main)
