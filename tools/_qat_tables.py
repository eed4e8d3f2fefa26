"""The report of bench_qat: tables on the terminal by rich, and as report.md."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from _qat_queue import Job
from _qat_results import Results, run_of
from _qat_sections import SECTIONS, Section

from tfq_ext._optional import need

WIDTH = 132  # columns; rich would take 80 where there is no terminal
PACKAGES = (
    "tensorflow",
    "keras",
    "jax",
    "tf_keras",
    "tensorflow-model-optimization",
    "ai-edge-litert",
    "numpy",
)


def run(job: Job) -> list[str]:
    """Print every table that there are figures for; write report.md."""
    with np.load(job.data, allow_pickle=False) as archive:
        labels = np.asarray(archive["y_test"]).ravel()[: job.settings.test]
    results = Results(job, labels)
    if not results.runs:
        return ["report: the folder has no results; run the step float first"]
    sections = [section for make in SECTIONS for section in make(results)]
    console = need("rich.console", why="tables").Console(width=WIDTH)
    grid = need("rich.table", why="tables").Table
    for section in sections:
        table = grid(title=section.title, title_justify="left")
        for k, name in enumerate(section.header):
            table.add_column(name, justify="right" if k else "left")
        for row in section.rows:
            table.add_row(*row)
        console.print(table)
        for note in section.notes:
            console.print(note)
    places = [(job.out / "report.md", "plot.png")]
    places += [(job.docs / "qat_results.md", "qat_results.png")] if job.docs else []
    for path, picture in places:
        path.write_text(written(sections, results, picture), encoding="utf-8")
    if job.docs and _plotted(results):
        shutil.copyfile(job.out / "plot.png", job.docs / "qat_results.png")
    return []


def written(sections: Sequence[Section], results: Results, picture: str) -> str:
    """The whole page; `picture` is what plot.png is called beside it."""
    head = [
        "# Quantization-aware training on CIFAR-10",
        "",
        "Written by `tools/bench_qat.py report` from its log; the tool's `--help` says how each",
        f"figure was made. {_when(results)}",
        "",
        *_lengths(results),
        "",
        "Intervals are 95 %, paired over the test images (a hit counts by the share of seeds that",
        "answer rightly), unpaired and wider where ~ stands; lost points are against the float",
        "network that was fine-tuned as long.",
        "",
        f"![accuracy and codes over steps]({picture})" if _plotted(results) else "",
        "",
    ]
    return "\n".join([*head, *(section.markdown() for section in sections)])


def _lengths(results: Results) -> list[str]:
    """How long each network trained, from the log."""
    found: dict[str, set[str]] = {}
    for name, row in results.runs.items():
        run, steps = run_of(name), int(row["every"]) * len(row["trace"])
        word = "float" if run.method is None else ("scratch" if run.how.scratch else "fine-tuning")
        batch = f" of {row['batch']} images" if "batch" in row else ""
        rate = f" at {row['rate']:g}" if "rate" in row and run.how.slower == 1 else ""
        if not rate and "rate" in row:
            continue  # slower methods have their own rate
        title = f"{run.net} x {run.width:g}, {run.relu}"
        found.setdefault(title, set()).add(f"{word} {steps} steps{batch}{rate}")
    return [f"* {title}: {'; '.join(sorted(kinds))}" for title, kinds in found.items()]


def _plotted(results: Results) -> bool:
    return (results.job.out / "plot.png").exists()


def _when(results: Results) -> str:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    trained = sorted({str(row["backend"]) for row in results.runs.values()})
    days = sorted(str(row["at"])[:10] for row in results.runs.values())
    last = f" to {days[-1]}" if days[-1] != days[0] else ""
    return (
        f"Trained on {' and '.join(trained)}, {days[0]}{last}; table of "
        f"{time.strftime('%F')}, {platform.machine()}, {os.cpu_count()} cores, Python "
        f"{platform.python_version()}; {', '.join(found)}."
    )
