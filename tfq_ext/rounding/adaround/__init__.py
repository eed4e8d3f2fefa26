"""AdaRound: rounding learned on a layer's output.

problem   a layer laid out for the compiled loops
soft      h(V), the soft way up
learn     the optimisation, and flips of single codes after it
score     which codes are better, with the activation
"""

from dataclasses import replace

import numpy as np

from tfq_ext.rounding.adaround.learn import AdaRound, Learned, Progress, learn
from tfq_ext.rounding.adaround.score import patch_error
from tfq_ext.rounding.gptq import gptq
from tfq_ext.rounding.job import Job, Learning

__all__ = [
    "AdaRound",
    "Learned",
    "Progress",
    "learn",
    "learned_codes",
    "patch_error",
]


def learned_codes(
    job: Job, *, start: np.ndarray | None = None, progress: Progress | None = None
) -> np.ndarray:
    """`learn` for the table of rounders, GPTQ's codes its rival: int8[C, n].

    Args:
        job: its argument is the number of steps; None: the default. Its `tell` hears how it went.
        start: int8[C, n] codes to start from; None: nearest rounding's.
        progress: called with (steps done, steps).
    """
    settings = AdaRound()
    if job.argument is not None:
        settings = replace(settings, iterations=int(job.argument))
    rivals = [] if job.data is None else [gptq(job.weight, job.params, job.data)]
    found = learn(
        job.weight,
        job.params,
        job.data,
        settings,
        seed=job.seed,
        start=start,
        rivals=rivals,
        progress=progress,
    )
    if job.tell is not None:
        before, after = float(found.before.mean()), float(found.after.mean())
        job.tell(Learning(settings.iterations, found.unsettled, before, after))
    return found.codes
