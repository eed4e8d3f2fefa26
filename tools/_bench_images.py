"""Images by the ends of their names: who calibrates, who evaluates, and what class they show."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfq_ext._table import Table
from tfq_ext.samples import Samples, progress

# Part of a file name -> what its network was trained on.
PREPROCESS = Table(
    "known network",
    {
        "mobilenet_v2": "scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225",
        "efficientnet_lite0": "mean=127,std=128",
    },
)


def add_options(parser: argparse.ArgumentParser, **defaults: Path | None) -> None:
    """What every benchmark on images asks for; `defaults` of --model and --images, if any."""
    add = parser.add_argument
    for name, doc in (
        ("model", "float Keras model (.keras, .h5), or a .tflite where no rival needs Keras"),
        ("images", "folder of images named by class index"),
    ):
        given = defaults.get(name)
        add(f"--{name}", type=Path, required=given is None, default=given, help=doc)
    add("--preprocess", help='for example "scale=1/255,mean=0.5,std=0.5"')
    add("--calibrate-ending", default="0", metavar="DIGITS", help="default 0")
    add("--evaluate-ending", default="37", metavar="DIGITS", help="default 37")
    add("--limit", type=float, default=1800.0, metavar="S", help="seconds for one file (1800)")
    add("--json", type=Path, metavar="FILE", help="write the figures there, too")


def preprocess_for(model: Path, given: str | None) -> str:
    """The option, or what the known network of that name wants.

    Raises:
        SystemExit: the network is not known.
    """
    for name, known in PREPROCESS.items():
        if given is None and name in model.name:
            return known
    if given is None:
        known_names = ", ".join(PREPROCESS)
        sys.exit(f"{model.name} is not {known_names}: state --preprocess (see tfq_ext.Preprocess).")
    return given


def ending(folder: Path, digits: str) -> list[Path]:
    """Files whose stem ends in one of the digits, in order.

    Raises:
        SystemExit: there is none.
    """
    if not folder.is_dir():
        sys.exit(f"{folder} is no folder of images.")
    wanted = digits.replace(",", "")
    files = sorted(p for p in folder.iterdir() if p.is_file() and p.stem[-1] in wanted)
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
