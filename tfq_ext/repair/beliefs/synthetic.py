"""Beliefs as statistics, so that every calibrator can choose ranges from them."""

from __future__ import annotations

import numpy as np

from tfq_ext.calibrate.stats import Stats, TensorStats
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.repair.beliefs.belief import Belief
from tfq_ext.repair.beliefs.propagation import Beliefs
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Model, digest

VALUES = 1 << 17  # of a tensor, over its channels
MOST, LEAST = 4096, 33  # of a channel


def synthetic(model: Model, beliefs: Beliefs) -> Stats:
    """Statistics as if one sample had been seen whose channels are distributed as believed.

    Every channel gives equally likely values; least and greatest are the ends of what a range must
    hold, so that min-max covers ALPHA deviations.
    """
    tensors = {}
    for graph in model.graphs:
        for t in observed(graph):
            if (belief := beliefs.tensors.get(graph.name(t))) is not None:
                tensors[graph.name(t)] = tensor_stats(belief)
    return Stats(tensors, digest(model.to_bytes()))


def tensor_stats(belief: Belief) -> TensorStats:
    """Of one tensor."""
    count = min(max(VALUES // belief.channels, LEAST), MOST)
    values = belief.points(count).astype(np.float32)
    ends = np.array(belief.reach).astype(np.float32) + np.float32(0.0)  # -0.0 becomes 0.0
    return TensorStats(
        count=values.size,
        nan=0,
        inf=0,
        min=float(ends.min()),
        max=float(ends.max()),
        histogram=Histogram.of(values),
        sample_keys=np.zeros(1, np.int64),
        sample_min=ends.min(keepdims=True).reshape(1),
        sample_max=ends.max(keepdims=True).reshape(1),
        channels=None,
    )
