"""How near two outputs are: dB, angles, agreement, and the intervals around counts of hits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import DataError


@dataclass(frozen=True)
class SqnrAccumulator:
    """Signal and noise power of a stream, summed exactly, so that merging is associative.

    Each batch is summed in float64; batches are added as fractions.

    Args:
        signal: sum of reference^2.
        noise: sum of (reference - candidate)^2.
    """

    signal: Fraction = Fraction(0)
    noise: Fraction = Fraction(0)

    def add(self, reference: np.ndarray, candidate: np.ndarray) -> SqnrAccumulator:
        """With one more batch; arrays of one shape.

        Raises:
            DataError: shapes differ, nothing in them, NaN or inf.
        """
        r, c = _pair(reference, candidate)
        noise = np.square(r - c).sum()
        return SqnrAccumulator(
            self.signal + Fraction(float(np.square(r).sum())), self.noise + Fraction(float(noise))
        )

    def merge(self, other: SqnrAccumulator) -> SqnrAccumulator:
        """Both streams together."""
        return SqnrAccumulator(self.signal + other.signal, self.noise + other.noise)

    @property
    def value(self) -> float:
        """10 log10(signal / noise) in dB; inf without noise, -inf without signal."""
        if self.noise == 0:
            return float("inf")
        if self.signal == 0:
            return float("-inf")
        return 10 * float(np.log10(float(self.signal / self.noise)))


def sqnr_db(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Signal to quantization noise ratio, `10 log10(sum r^2 / sum (r - c)^2)`, in dB.

    Raises:
        DataError: shapes differ, nothing in them, NaN or inf.
    """
    return SqnrAccumulator().add(reference, candidate).value


def cosine(reference: np.ndarray, candidate: np.ndarray) -> float:
    """`r c / (|r| |c|)` over all values, -1..1; 1 if both are zero, 0 if only one is."""
    r, c = (_unit(x) for x in _pair(reference, candidate))
    norms = float(np.linalg.norm(r)) * float(np.linalg.norm(c))
    if norms == 0:
        return float(not r.any() and not c.any())
    return float(np.clip((r * c).sum() / norms, -1.0, 1.0))


def relative_l2(reference: np.ndarray, candidate: np.ndarray) -> float:
    """`|r - c| / |r|`, a share of the reference's norm; inf if only the reference is zero."""
    r, c = _pair(reference, candidate)
    noise, signal = float(np.linalg.norm(r - c)), float(np.linalg.norm(r))
    if signal == 0:
        return 0.0 if noise == 0 else float("inf")
    return noise / signal


def agreement(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Share of samples with the same argmax on the last axis, 0..1.

    Integer logits tie often. A sample whose candidate has several maxima counts for the share of
    them that are maxima of the reference too: what breaking ties at random would give on average.
    """
    r, c = _pair(reference, candidate)
    best_r, best_c = (x == x.max(axis=-1, keepdims=True) for x in (r, c))
    return float(((best_r & best_c).sum(-1) / best_c.sum(-1)).mean())


def kl_divergence(reference: np.ndarray, candidate: np.ndarray) -> float:
    """Mean KL(softmax(r) || softmax(c)) over samples, classes on the last axis; nats."""
    r, c = (log_softmax(x) for x in _pair(reference, candidate))
    return max(float((np.exp(r) * (r - c)).sum(-1).mean()), 0.0)


def ties(logits: np.ndarray) -> int:
    """Number of samples whose greatest value on the last axis is not alone."""
    logits = np.asarray(logits)
    return int(((logits == logits.max(axis=-1, keepdims=True)).sum(-1) > 1).sum())


def hits(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> np.ndarray:
    """Whether each label is among the k greatest; a tie across the k-th place counts in part.

    Args:
        logits: float[N, C].
        labels: int[N], 0 <= label < C.
        k: 1..C.

    Returns:
        float64[N], 0..1.

    Raises:
        DataError: shapes or labels that do not fit.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not 1 <= k <= logits.shape[1]:
        raise DataError(
            f"Hits need logits [N, C], labels [N] and 1 <= k <= C, got logits "
            f"{list(logits.shape)}, labels {list(labels.shape)}, k={k}."
        )
    if labels.size and not (labels.min() >= 0 and labels.max() < logits.shape[1]):
        raise DataError(
            f"Labels lie in {labels.min()}..{labels.max()}, "
            f"the model has {logits.shape[1]} classes."
        )
    own = np.take_along_axis(logits, labels[:, None].astype(np.int64), axis=1)
    greater, equal = (logits > own).sum(1), (logits == own).sum(1)
    return np.clip((k - greater) / np.maximum(equal, 1), 0.0, 1.0)


def top_k(logits: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Mean of `hits`, 0..1."""
    return float(hits(logits, labels, k).mean())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log probabilities on the last axis; float64, the shape of `logits`."""
    x = np.asarray(logits, np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(axis=-1, keepdims=True)))


def _pair(reference: np.ndarray, candidate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r, c = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if r.shape != c.shape:
        raise DataError(f"Cannot compare shapes {list(r.shape)} and {list(c.shape)}.")
    if not r.size:
        raise DataError(f"Nothing to compare: both arrays have shape {list(r.shape)}.")
    if not (np.isfinite(r).all() and np.isfinite(c).all()):
        raise DataError("Cannot compare arrays that hold NaN or inf; look at them first.")
    return r, c


def _unit(x: np.ndarray) -> np.ndarray:
    """Divided by the greatest magnitude, so that squares neither vanish nor overflow."""
    top = np.abs(x).max()
    return x / top if top > 0 else x


@dataclass(frozen=True)
class Metric:
    """One entry of METRICS.

    Args:
        measure: (reference, candidate) -> number.
        unit: "dB", "nats", "share" or "" for a plain ratio.
        identity: the value when both are equal.
        higher_is_better: direction.
        scale_free: "each" if scaling either array changes nothing, "joint" if scaling both does
            not, "no" otherwise.
        doc: one line.
    """

    measure: Callable[[np.ndarray, np.ndarray], float]
    unit: str
    identity: float
    higher_is_better: bool
    scale_free: str
    doc: str


METRICS: Table[Metric] = Table(
    "metric",
    {
        "sqnr_db": Metric(sqnr_db, "dB", float("inf"), True, "joint", "signal over noise power"),
        "cosine": Metric(cosine, "", 1.0, True, "each", "cosine of the angle between both"),
        "relative_l2": Metric(relative_l2, "share", 0.0, False, "joint", "norm of the difference"),
        "agreement": Metric(agreement, "share", 1.0, True, "each", "samples with the same argmax"),
        "kl_divergence": Metric(
            kl_divergence, "nats", 0.0, False, "no", "divergence of the softmax outputs"
        ),
    },
)
