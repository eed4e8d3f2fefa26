"""A candidate's weights and biases against the reference's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.validation.comparison.nodes import CLAMPS, Node, View
from tfq_ext.validation.comparison.tensors import constant_real, stored_constant

_BITS = {"int2": 2, "int4": 4, "int8": 8, "uint8": 8, "int16": 16, "float16": 16, "float32": 32}
OTHER_FACTOR = 0.2  # departure from 1 from which on a channel is scaled, not rounded
LOST_DB = 15.0  # a channel whose weights are rounded this coarsely; 8 bits of its own give 40
DEAD = 1e-3  # of the median channel's width
SAME_DIRECTION = 0.95  # cosine of a channel that was scaled, not changed


@dataclass(frozen=True)
class WeightFacts:
    """The weight of one op.

    Args:
        bits: of what is stored.
        scales: number of scales; 0 for floats.
        channels: of the output.
        sqnr_db: dequantized against the reference's, dB; inf where equal.
        worst_db, worst: the channel that lost most.
        lost: share of the live channels below 15 dB: next to nothing is left of them.
        spread: widest over narrowest channel of the reference (dead ones left out).
        bias_change: float64[C], the candidate's bias minus the reference's, reals; None without.
        bias_headroom: bits that the greatest bias code leaves below the end of its type.
    """

    bits: int
    scales: int
    channels: int
    sqnr_db: float
    worst_db: float
    worst: int
    lost: float
    spread: float
    bias_change: np.ndarray | None
    bias_headroom: float | None


def weight_facts(mine: View, a: Node, other: View, b: Node) -> WeightFacts | None:
    """Facts of a pair of nodes; None where there is no weight, or layouts or foldings differ."""
    pair = _pair(mine, a, other, b)
    if pair is None or not same_layers(a, b):
        return None
    w, v = pair
    stored = stored_constant(other.graph, int(other.weight(b) or 0))
    q = other.graph.tensors[stored].quantization if stored is not None else None
    noise, signal = (np.square(x).sum(axis=1) for x in (v - w, w))
    with np.errstate(divide="ignore", invalid="ignore"):
        channel = 10 * np.log10(signal / noise)
    channel = np.where(noise == 0, np.inf, channel)
    widths = np.abs(w).max(axis=1)
    live = widths > DEAD * np.median(widths)
    worst = int(np.argmin(np.where(live, channel, np.inf)))
    return WeightFacts(
        bits=_BITS.get(other.graph.dtype(stored), 8) if stored is not None else 32,
        scales=0 if q is None or q.scale is None else len(q.scale),
        channels=len(w),
        sqnr_db=_db(float(signal.sum()), float(noise.sum())),
        worst_db=float(channel[worst]),
        worst=worst,
        lost=float(np.mean(channel[live] < LOST_DB)) if live.any() else 0.0,
        spread=float(widths[live].max() / widths[live].min()) if live.any() else 1.0,
        bias_change=_bias_change(mine, a, other, b),
        bias_headroom=_headroom(other, b),
    )


def _db(signal: float, noise: float) -> float:
    if noise == 0:
        return float("inf")
    return 10 * float(np.log10(signal / noise)) if signal > 0 else float("-inf")


def same_layers(a: Node, b: Node) -> bool:
    """Whether both nodes keep the same constants outside their weight."""
    codes = [[s.code for s in n.stages if s.code not in CLAMPS] for n in (a, b)]
    return codes[0] == codes[1]


def rescaled(mine: View, a: Node, other: View, b: Node) -> bool:
    """Whether at least half of the channels are the reference's times a factor that is not 1."""
    pair = _pair(mine, a, other, b)
    if pair is None or not same_layers(a, b):
        return False
    w, v = pair
    power, dot = np.square(w).sum(axis=1), (w * v).sum(axis=1)
    length = np.sqrt(power * np.square(v).sum(axis=1))
    live = length > 0
    if not live.any():
        return False
    straight = dot[live] >= SAME_DIRECTION * length[live]
    factor = dot[live] / power[live]
    return bool(np.mean(straight & (np.abs(factor - 1) > OTHER_FACTOR)) >= 0.5)


def _pair(mine: View, a: Node, other: View, b: Node) -> tuple[np.ndarray, np.ndarray] | None:
    """(reference's, candidate's) weight as float64[C, rest]; None where layouts differ."""
    w, v = mine.weight_rows(a), other.weight_rows(b)
    if w is None or v is None or a.code != b.code or w.shape != v.shape:
        return None
    return w.astype(np.float64), v.astype(np.float64)


def _bias_change(mine: View, a: Node, other: View, b: Node) -> np.ndarray | None:
    p, q = mine.bias(a), other.bias(b)
    if q is None:
        return None
    v = constant_real(other.graph, q)
    if v is None:
        return None
    w = np.zeros_like(v) if p is None else constant_real(mine.graph, p)
    return None if w is None or w.shape != v.shape else v.astype(np.float64) - w


def _headroom(other: View, b: Node) -> float | None:
    tensor = other.bias(b)
    codes = None if tensor is None else other.graph.constant(tensor)
    if codes is None or codes.dtype.kind != "i" or not codes.size:
        return None
    greatest = float(np.abs(codes.astype(np.float64)).max())
    return float(np.log2(2.0 ** (8 * codes.dtype.itemsize - 1) / max(greatest, 1.0)))
