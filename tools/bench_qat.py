"""What quantization-aware training costs and brings on CIFAR-10; two networks, several seeds.

    python ../shared/data/fetch.py cifar10 DIR            the images (any .npz with the same names)
    python tools/bench_qat.py all --quick --data DIR/cifar10.npz --out FOLDER       minutes, 2 cores
    python tools/bench_qat.py float finetune scratch width relu --data ... --out FOLDER     a GPU
    python tools/bench_qat.py export codes tfmot steptime plot report --data ... --out FOLDER

The first five steps train, on any Keras backend (KERAS_BACKEND=jax on a GPU, `--processes 6` side
by side); they need Keras, numpy and tfq_ext.qat, no TensorFlow and no LiteRT. The others run on
TensorFlow from what is in the folder: models/*.keras, predictions/*.npy and log.jsonl, one line a
result. A step that is started again goes on where it stopped; `--minutes` stops it in time.

What is compared with what:
  float      the float networks that everything starts from
  finetune   each method as long as the float network that is fine-tuned beside it
  scratch    from random weights, for as long as float training and fine-tuning together
  width      width multiplier against bits
  relu       ReLU against ReLU6
  export     every model as .tflite in LiteRT on the test images; post-training quantization
  codes      how many integers of the weights differ between two batches
  tfmot      the same network, weights and steps in TFMOT 0.8.1
  steptime   milliseconds of a training step by phase, ours and TFMOT's over float
  plot       accuracy and moving codes over steps, plot.png and plot.svg in the folder
  report     tables, on the terminal and as report.md in the folder; `--docs docs` writes
             docs/qat_results.md and .png, too
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from _bench import run
from _qat_plan import EXPERIMENTS, QUICK, Settings, runs
from _qat_queue import Job, train_all

from tfq_ext._optional import need
from tfq_ext._table import Table


def _part(module: str) -> Callable[[Job], list[str]]:
    """The step that `module.run` is; imported when it is its turn."""

    def run(job: Job) -> list[str]:
        failed: list[str] = need(module, why="tools/bench_qat.py").run(job)
        return failed

    return run


# step -> what it does; each returns sentences about what failed
PARTS: Table[Callable[[Job], list[str]]] = Table(
    "step",
    {
        "export": _part("_qat_export"),
        "codes": _part("_qat_codes"),
        "tfmot": _part("_qat_tfmot"),
        "steptime": _part("_qat_steptime"),
        "plot": _part("_qat_plots"),
        "report": _part("_qat_tables"),
    },
)
STEPS = (*EXPERIMENTS, *PARTS)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "steps", nargs="+", choices=("all", *STEPS), metavar="STEP", help=f"all, {', '.join(STEPS)}"
    )
    add("--data", type=Path, required=True, metavar="NPZ", help="cifar10.npz")
    add("--out", type=Path, required=True, metavar="FOLDER", help="results; read again by a rerun")
    add("--docs", type=Path, metavar="FOLDER", help="write qat_results.md and .png there, too")
    add("--quick", action="store_true", help="a small network, few images, one seed")
    add("--processes", type=int, default=1, help="trainings side by side (default 1)")
    add("--minutes", type=float, help="begin nothing after so many, drop what is not done")
    add("--seeds", type=_numbers(int), metavar="0,1,2")
    add("--nets", type=_numbers(str), metavar="mobilenet,resnet20")
    add("--widths", type=_numbers(float), metavar="0.25,0.5", help="besides 0.35")
    add("--keep", type=_numbers(str), metavar="METHOD,...", help="train only these methods")
    add("--shifts", action="store_true", default=None, help="JAX: depthwise as shifted products")
    for name in ("float-epochs", "tune-epochs", "rate", "tune-rate"):
        add(f"--{name}", type=float)
    for name in ("batch", "train", "test", "looks"):
        add(f"--{name}", type=int)
    return parser.parse_args(argv)


def _numbers(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(kind(part) for part in text.split(","))


def settings_of(args: argparse.Namespace) -> Settings:
    """The quick or the full ones, with what the options change."""
    base = QUICK if args.quick else Settings()
    given = {f.name: getattr(args, f.name) for f in fields(Settings)}
    if given["keep"] is not None:
        given["keep"] = frozenset(given["keep"])
    return replace(base, **{name: value for name, value in given.items() if value is not None})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the steps; 1 if anything failed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parse(argv)
    deadline = None if args.minutes is None else time.time() + 60 * args.minutes
    job = Job(args.data.resolve(), args.out.resolve(), settings_of(args), deadline, args.docs)
    steps = STEPS if "all" in args.steps else args.steps
    failed: list[str] = []
    if training := [step for step in steps if step in EXPERIMENTS]:
        failed += train_all(runs(training, job.settings), job, args.processes)
    for step in (step for step in PARTS if step in steps):
        failed += PARTS[step](job)
    for sentence in failed:
        print(sentence, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    run(main)
