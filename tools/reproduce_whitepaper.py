"""Rerun the findings of Krishnamoorthi's whitepaper (arXiv 1806.08342) and of three neighbours.

    python tools/reproduce_whitepaper.py --quick                    bundled data, 4 minutes, 2 cores
    python tools/reproduce_whitepaper.py table2 table3 --shared DIR
    python tools/reproduce_whitepaper.py --imagenet VAL --shared DIR

Every section prints ours beside the published numbers, what differs and why, and what the paper
claims as a table: a claim that must hold and does not makes the exit code 1. Results go to
OUT/report.md, figures beside it, and OUT/log.jsonl, from which an interrupted run goes on.

Sources, each optional; what was not given is said in the report:
  (always)       the bundled Fashion-MNIST network and images
  --shared DIR   DIR/models/{mobilenet_v2,efficientnet_lite0}_imagenet.keras, DIR/data/imagenet_dev
  --imagenet DIR ImageNet validation images: a subfolder a class, or a file --labels; the networks
                 are those of --shared
  --cifar FILE   CIFAR-10 as .npz (x_train, y_train, x_test, y_test)
  --qat DIR      the folder of a finished tools/bench_qat.py on that file
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import _paper_networks as networks
import _paper_small as small
import _paper_tune as tuning
from _bench import run
from _paper import Lab
from _paper_report import outcome, write
from _paper_sections import SECTIONS

CIFAR_IMAGES = 1000  # that judge what is not trained
# quick or not -> images that judge, steps of fine-tuning, ways of training by activation
SIZES = {True: (500, 30, tuning.QUICK), False: (1500, 150, tuning.FULL)}
ABSENT = {
    "shared": "--shared: no ImageNet networks, so the rows of large networks are missing",
    "imagenet": "--imagenet: no validation images, so no top-1 on ImageNet of our own",
    "cifar": "--cifar and --qat: no networks that were trained long on CIFAR-10",
}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    about, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = ", ".join(SECTIONS)
    add("sections", nargs="*", metavar="SECTION", help=f"of {names} (default: all)")
    add("--quick", action="store_true", help="bundled data, few images, few steps")
    add("--shared", type=Path, metavar="DIR", help="networks and 300 images")
    add("--imagenet", type=Path, metavar="DIR", help="validation images")
    add(
        "--labels", type=Path, metavar="FILE", help="of --imagenet, where subfolders are no classes"
    )
    add("--limit", type=int, default=2000, help="images of --imagenet that judge (default 2000)")
    add("--cifar", type=Path, metavar="FILE", help="CIFAR-10 as .npz")
    add("--qat", type=Path, metavar="DIR", help="results of tools/bench_qat.py")
    add("--out", type=Path, default=Path("whitepaper"), metavar="DIR", help="(default whitepaper)")
    add("--docs", type=Path, metavar="DIR", help="write whitepaper.md and whitepaper_*.png there")
    args = parser.parse_args(argv)
    for name in args.sections:
        if name not in SECTIONS:
            parser.error(f"no section {name}; known: {names}")
    return args


def laboratory(args: argparse.Namespace) -> Lab:
    """Networks and images of all sources that were given."""
    args.out.mkdir(parents=True, exist_ok=True)
    lab = Lab(args.out, args.quick)
    found = [networks.bundled(300 if args.quick else 1500)]
    grounds = small.grounds(lab, *SIZES[args.quick])
    found += [grounds[0].network]  # the one with ReLU6; the other is there to be trained
    more, absent = ([], list(ABSENT.values())) if args.quick else given(args)
    cifar, qat = (None, None) if args.quick else (args.cifar, args.qat)
    return replace(
        lab,
        networks={network.name: network for network in (*found, *more)},
        grounds={ground.network.name: ground for ground in grounds},
        qat=qat if cifar else None,
        cifar=cifar if qat else None,
        absent=tuple(absent),
    )


def given(args: argparse.Namespace) -> tuple[list[networks.Network], list[str]]:
    """Networks of the sources that the user named, and a sentence for each that is missing."""
    theirs = list(networks.shared(args.shared)) if args.shared else []
    found, absent = list(theirs), [] if theirs else [ABSENT["shared"]]
    if args.imagenet and theirs:
        found += networks.imagenet(args.imagenet, theirs, args.labels, args.limit)
    else:
        absent.append(ABSENT["imagenet"])
    if args.cifar and args.qat:
        found += networks.cifar(args.cifar, args.qat, CIFAR_IMAGES)
    else:
        absent.append(ABSENT["cifar"])
    return found, absent


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections; 1 if a claim that must hold does not."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    args = parse(argv)
    lab = laboratory(args)
    begin = time.perf_counter()
    found = {}
    for name in args.sections or SECTIONS:
        print(f"[{name}] {SECTIONS[name].title}", file=sys.stderr, flush=True)
        section = SECTIONS[name]
        found[name] = section.run(lab, section.published)
    write(lab, SECTIONS, found, time.perf_counter() - begin, args.docs)
    return outcome(found)


if __name__ == "__main__":
    run(main)
