"""How sure a measured accuracy is: intervals for shares, and for the drop between two models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError


def wilson_interval(k: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share of k hits in n.

    `(p + z^2/2n -/+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)`

    Args:
        k: hits, 0..n; fractions of hits (ties) are allowed.
        n: trials; 0 gives (0, 1).
        confidence: coverage, in (0, 1).

    Raises:
        DataError: k outside 0..n, or a confidence outside (0, 1).

    Source: Wilson 1927, JASA 22.
    """
    from scipy.stats import norm

    _check_confidence(confidence)
    if n < 0 or not 0 <= k <= n:
        raise DataError(f"Hits lie in 0..n, got {k} of {n}.")
    if n == 0:
        return 0.0, 1.0
    z, p = float(norm.ppf(0.5 + confidence / 2)), k / n
    middle = p + z * z / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    lo, hi = (middle - half) / scale, (middle + half) / scale
    return (0.0 if k == 0 else float(lo)), (1.0 if k == n else float(hi))


@dataclass(frozen=True)
class PairedDrop:
    """Accuracy lost from reference to candidate on the same samples.

    Args:
        drop: reference minus candidate, a share; > 0 is a loss.
        lo, hi: its interval.
        p_value: of "both are equally good", exact McNemar, two-sided.
    """

    drop: float
    lo: float
    hi: float
    p_value: float


def paired_drop(
    reference: np.ndarray,
    candidate: np.ndarray,
    confidence: float = 0.95,
    *,
    resamples: int = 20_000,
    seed: int = 0,
) -> PairedDrop:
    """The drop in accuracy with a paired percentile bootstrap, and McNemar's exact test.

    Both models see the same samples, so samples on which they agree carry no doubt: the interval
    is several times narrower than that of two separate accuracies. If no sample differs, the
    bootstrap would give width 0, so both ends take the rule of three's generalisation,
    `1 - (1 - confidence)^(1/n)`.

    Args:
        reference, candidate: float[N] hits per sample, 0..1, as `metrics.hits` gives them.
        confidence: coverage, in (0, 1).
        resamples: bootstrap rounds.
        seed: of the bootstrap.

    Raises:
        DataError: shapes differ, empty, or a confidence outside (0, 1).

    Source: Efron 1979; McNemar 1947, Psychometrika 12.
    """
    from scipy.stats import binomtest

    _check_confidence(confidence)
    r, c = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if r.shape != c.shape or r.ndim != 1 or not r.size:
        raise DataError(
            f"Paired hits are two equal non-empty rows, got {list(r.shape)} and {list(c.shape)}."
        )
    lost, won = int((r > c).sum()), int((r < c).sum())
    if lost + won == 0:
        bound = 1 - (1 - confidence) ** (1 / r.size)
        return PairedDrop(0.0, -bound, bound, 1.0)
    # Resampling N rows of few distinct differences is a multinomial draw of their counts.
    values, counts = np.unique(r - c, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(r.size, counts / r.size, size=resamples)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    lo, hi = np.quantile(draws @ values / r.size, tails)
    test = binomtest(lost, lost + won, 0.5)
    return PairedDrop(float((r - c).mean()), float(lo), float(hi), float(test.pvalue))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise DataError(f"Confidence lies in (0, 1), got {confidence}; 0.95 is usual.")
