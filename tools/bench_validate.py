"""What validation costs, against what people have today, on one file and the same samples.

    python tools/bench_validate.py --model efficientnet_lite0.tflite
    python tools/bench_validate.py --model float.tflite --parts inspect --rounds 15 --json out.json

Any .tflite will do; without one the bundled demo network is used, which is small. Each contender
takes its turn, round after round, in a fresh process where its start belongs to what is measured;
medians are printed, and the ratio is the median of the ratios within a round, so that a busy
machine slows down both sides alike.

Parts are rows of PARTS, each a module of its own beside this file.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from _bench import busy, run, table, write_json
from _bench_part import Part

from tfq_ext import demo

# name -> module with `run(args) -> Part`; args are those of parse() below, model as a .tflite.
PARTS: dict[str, str] = {
    "inspect": "_bench_inspect",
    "evaluate": "_bench_evaluate",
    "compare": "_bench_compare",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, help="a .tflite (default: the demo network in float)")
    add("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="default: all")
    add("--images", type=Path, help="folder of images for the parts that run models")
    add("--preprocess", default="scale=1/127.5,mean=1", help="for --images; see tfq_ext.Preprocess")
    add("--samples", type=int, default=40, metavar="N", help="at most so many (default 40)")
    add("--rounds", type=int, default=9, metavar="R", help="turns of each (default 9)")
    add("--threads", type=int, default=2, help="for each of them (default 2)")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")
    args = parser.parse_args(argv)
    if min(args.rounds, args.samples, args.threads) < 1:
        parser.error("give at least 1 round, 1 sample and 1 thread")
    return args


def demo_file(folder: Path) -> Path:
    """The demo network as a float .tflite."""
    from tfq_ext.emit.to_float import to_float

    path = folder / "demo_float.tflite"
    path.write_bytes(to_float(demo.model_path()).model.to_bytes())
    return path


def show(part: Part) -> None:
    print(f"{part.title}\n")
    print(table(part.head, part.rows))
    for line in part.verdicts:
        print(line)
    print()


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(argv)
    before = busy()
    with tempfile.TemporaryDirectory() as folder:
        args.model = args.model or demo_file(Path(folder))
        print(f"{args.model.name}, {args.model.stat().st_size / 1e6:.1f} MB. Machine: {before}.\n")
        parts = [import_module(PARTS[name]).run(args) for name in args.parts]
    for part in parts:
        show(part)
    print(f"Machine afterwards: {busy()}.")
    figures = {"model": args.model.name, "load": before, "parts": [asdict(p) for p in parts]}
    write_json(args.json, figures)
    return 0


if __name__ == "__main__":
    run(main, RuntimeError)
