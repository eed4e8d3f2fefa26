"""The demo-sized network of these tests, and a study of it that all of them share."""

from __future__ import annotations

from functools import cache

import numpy as np
from small_nets import images, residual

from tfq_ext.recipe import load_recipe
from tfq_ext.search.study import open_study

CONTENT = residual(spread=30.0).to_bytes()
DATA = images(24)
# No look at the emitted file: these tests are not about ranges.
RECIPE = load_recipe({"base": "int8-minmax"})


@cache
def study():
    return open_study(CONTENT, DATA, recipe=RECIPE, show_progress=False)


def labelled(n=40, seed=9):
    """(images, the float model's own classes): its top-1 is 1."""
    from tfq_ext.tflite.runner import Runner

    x, run = images(n, seed=seed), Runner(CONTENT)
    scores = [next(iter(run({"image": row[None]}).values())) for row in x]
    return x, np.concatenate(scores).argmax(1)
