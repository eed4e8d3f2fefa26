"""The range of the logits tensor, by the cross-entropy of what leaves the softmax."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.metrics import log_softmax
from tfq_ext.spec import QParams, QSpec, Range


def logit_candidates(logits: np.ndarray, steps: int = 60) -> list[Range]:
    """Min-max of the logits and both its ends shrunk together, down to 40 %."""
    full = Range.of(logits.min(), logits.max())
    return [full.scaled(factor) for factor in np.linspace(1.0, 0.4, steps)]


def cross_entropy(logits: np.ndarray, spec: QSpec, kept: Range) -> float:
    """Mean H(softmax(v), softmax(Q(v))) over samples, in nats.

    Args:
        logits: float32[N, C].
        spec: the grid's codes.
        kept: the range quantized to.
    """
    quantized = QParams.from_range(spec, kept).fake_quant(logits)
    return float(-(np.exp(log_softmax(logits)) * log_softmax(quantized)).sum(-1).mean())


def choose_logits(
    logits: np.ndarray, spec: QSpec, candidates: Iterable[Range] | None = None
) -> Range:
    """The candidate with the least cross-entropy; min-max always competes and wins ties.

    Args:
        logits: float32[N, C] before the softmax, of held-back samples.
        spec: the grid's codes.
        candidates: ranges to try; None for `logit_candidates`.

    Raises:
        DataError: not float[N, C] with C >= 2, or not finite.

    Source: white paper 2106.08295, section 3.1 (cross-entropy for the last layer).
    """
    logits = np.asarray(logits, np.float32)
    if logits.ndim != 2 or logits.shape[0] < 1 or logits.shape[1] < 2:
        raise DataError(f"Logits have shape [N, C] with C >= 2, got {list(logits.shape)}.")
    if not np.isfinite(logits).all():
        raise DataError("Logits hold NaN or inf; no range can be chosen from them.")
    full = Range.of(logits.min(), logits.max())
    tried = [full, *(logit_candidates(logits) if candidates is None else candidates)]
    return min(tried, key=lambda kept: cross_entropy(logits, spec, kept))
