"""How many integers of the weights differ between two batches of training, all variables held."""

from __future__ import annotations

import sys
from typing import Any

from _qat_plan import EXPERIMENTS, runs
from _qat_queue import Job

from tfq_ext._optional import need

BATCHES = 6


def run(job: Job) -> list[str]:
    """One line for every watched method of the first seed, with BatchNorm moving again."""
    trained, done = job.log().rows("run"), job.log().rows("codes")
    for each in runs(EXPERIMENTS, job.settings):
        wanted = each.method is not None and each.how.watched and each.seed == job.settings.seeds[0]
        if not wanted or each.id not in trained or each.id in done or job.late():
            continue
        share, moved = _jitter(each, job)
        job.log().write("codes", {"id": each.id, "share": share, "moved": moved})
        print(
            f"{each.id}: {share:.3%} of the codes differ, weights by {moved:.3%}",
            file=sys.stderr,
            flush=True,
        )
    return []


def _jitter(each: Any, job: Job) -> tuple[float, float]:
    from _qat_data import Batches
    from _qat_train import data_of, loaded
    from _qat_watch import batch_jitter

    layers = need("tfq_ext.qat.layers", why="a QAT model's layers")
    data, _ = data_of(job.data, job.settings.train, job.settings.test)
    model = loaded(each, job.out)
    for layer in layers.qat_layers(model):
        if hasattr(layer, "norm"):
            layer.frozen = False
    batches = Batches(data.x_train, data.y_train, job.settings.batch, BATCHES, each.seed)
    return batch_jitter(model, [batches[k][0] for k in range(BATCHES)])
