"""`tfq inspect` and its imports against TensorFlow's Analyzer: wall time of whole processes."""

from __future__ import annotations

import argparse
import sys
from statistics import median

from _bench_part import Part, race, ratio

OURS, RIVAL = "tfq inspect", "tf.lite.experimental.Analyzer"
FULL, JSON = "tfq inspect --all", "tfq inspect --json"
IMPORT, RIVALS_IMPORT = "import, ours", "import tensorflow"
EMPTY = "python -c pass"
MOST_SECONDS, LARGE = 0.8, 15e6  # the demand is for a file of 20 MB
_ANALYZE = (
    "import sys, os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'; import tensorflow as tf; "
    "tf.lite.experimental.Analyzer.analyze(model_path=sys.argv[1])"
)


def commands(model: str) -> dict[str, list[str]]:
    """What takes turns, by name."""
    python = [sys.executable, "-W", "ignore"]
    start = "from tfq_ext.cli import main; main()"
    tfq = [*python, "-c", start, "inspect", model]
    return {
        EMPTY: [*python, "-c", "pass"],
        IMPORT: [*python, "-c", "import tfq_ext.validation.inspection"],
        RIVALS_IMPORT: [*python, "-c", "import tensorflow"],
        OURS: tfq,
        FULL: [*tfq, "--all"],
        JSON: [*tfq, "--json"],
        RIVAL: [*python, "-c", _ANALYZE, model],
    }


def run(args: argparse.Namespace) -> Part:
    """Time everything; ours beside the rival of the same kind."""
    times = race(commands(str(args.model)), args.rounds)
    size = args.model.stat().st_size
    figures = {
        name: {"median_s": median(row), "best_s": min(row), "of_ours": ratio(times, name, OURS)}
        for name, row in times.items()
    }
    rows = [
        (name, f"{f['median_s']:.3f}", f"{f['best_s']:.3f}", f"{f['of_ours']:.2f}")
        for name, f in figures.items()
    ]
    faster = ratio(times, RIVAL, OURS)
    verdicts = [f"tfq inspect takes 1/{faster:.1f} of the time of {RIVAL}."]
    if size >= LARGE:
        met = figures[OURS]["median_s"] < MOST_SECONDS
        verdicts.append(
            f"Under {MOST_SECONDS} s for {size / 1e6:.1f} MB, process start included: "
            f"{figures[OURS]['median_s']:.2f} s, {'met' if met else 'MISSED'}."
        )
    title = f"Inspect: seconds of a whole process, medians of {args.rounds} rounds in turns"
    head = ("", "s", "best", "x tfq inspect")
    return Part("inspect", title, head, rows, {"size": size, "times": figures}, verdicts)
