"""How far the values of an op can reach: sound bounds from grids, weights and activations."""

from __future__ import annotations

import numpy as np

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.validation.lint.subject import Op, Subject, Weight
from tfq_ext.validation.lint.weight_rules import bias_of

Interval = tuple[float, float]
# Bounds of what an op can give, whatever it reads.
OF_OP: dict[str, Interval] = {
    "LOGISTIC": (0.0, 1.0),
    "SOFTMAX": (0.0, 1.0),
    "TANH": (-1.0, 1.0),
    "L2_NORMALIZATION": (-1.0, 1.0),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "RELU_0_TO_1": (0.0, 1.0),
}
# Fused activations as intervals that cut.
OF_ACTIVATION: dict[str, Interval] = {
    "NONE": (-np.inf, np.inf),
    "RELU": (0.0, np.inf),
    "RELU6": (0.0, 6.0),
    "RELU_N1_TO_1": (-1.0, 1.0),
    "TANH": (-1.0, 1.0),
}


def cut(interval: Interval, by: Interval) -> Interval:
    """Values clamped into `by`."""
    low, high = (min(max(end, by[0]), by[1]) for end in interval)
    return low, high


def weighted(s: Subject, w: Weight) -> tuple[np.ndarray, np.ndarray] | None:
    """Per output channel: smallest and largest real value before the activation; float64[C] each.

        low_c = b_c + sum_k min(w_ck x_low, w_ck x_high), high_c alike

    with [x_low, x_high] what the input's grid represents (zero, the padding, is inside).
    None where the input has no grid.
    """
    op = w.op
    if w.fact.data >= len(op.inputs):
        return None
    x = s.activation_grid(op.graph, op.inputs[w.fact.data])
    scales = w.grid.scales
    if x is None or len(scales) not in (1, len(w.channels)) or not np.isfinite(scales).all():
        return None
    zeros = w.grid.zeros if len(w.grid.zeros) == len(scales) else w.grid.zeros[:1]
    real = (w.channels.astype(np.float64) - zeros[:, None]) * scales[:, None]
    up, down = np.maximum(real, 0).sum(axis=1), np.minimum(real, 0).sum(axis=1)
    low, high = x.range
    bias = _bias(s, op, x.scale * scales, len(real))
    return up * low + down * high + bias, up * high + down * low + bias


def _bias(s: Subject, op: Op, scales: np.ndarray, channels: int) -> np.ndarray:
    """As the kernel adds it: codes times s_x s_w."""
    tensor = bias_of(s, op)
    codes = s.constant(op.graph, tensor) if tensor >= 0 else None
    if codes is None or codes.size != channels or codes.dtype.kind != "i":
        return np.zeros(channels)
    return np.asarray(codes.reshape(-1).astype(np.float64) * scales)


def reach(s: Subject, op: Op) -> Interval | None:
    """Bounds of an op's first output; None where nothing is known. Remembered by the subject."""
    place = (op.graph.index, op.number)
    if place not in s.bounds:
        s.bounds[place] = _reach(s, op)
    return s.bounds[place]


def _reach(s: Subject, op: Op) -> Interval | None:
    if op.code in OF_OP:
        return OF_OP[op.code]
    w = s.weight_at.get((op.graph.index, op.number))
    if op.code in WEIGHTS and w is not None:
        found = weighted(s, w)
        if found is None:
            return None
        return cut((float(found[0].min()), float(found[1].max())), OF_ACTIVATION[_act(op)])
    bound = OF_ACTIVATION[_act(op)]
    return bound if np.isfinite(bound).all() else None


def _act(op: Op) -> str:
    return op.activation if op.activation in OF_ACTIVATION else "NONE"
