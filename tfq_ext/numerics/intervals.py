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


FEW_CHANGES = 25  # discordant pairs below which the bootstrap's ends are too near


def paired_interval(
    reference: np.ndarray, candidate: np.ndarray, confidence: float = 0.95, *, seed: int = 0
) -> PairedDrop:
    """`paired_drop`, its interval widened to Bonett and Price's where few samples changed.

    With three hits lost, none won, of 1,000, the bootstrap says [0, 0.007] and McNemar p = 0.25:
    a percentile bootstrap of few events is too sure. Below `FEW_CHANGES` discordant pairs both
    intervals are joined:

    `d' -/+ z sqrt((p + q - d'^2) / (n + 2))`, p = (lost + 1) / (n + 2), q = (won + 1) / (n + 2),
    d' = p - q.

    Source: Bonett and Price 2012, J. Educ. Behav. Stat. 37.
    """
    from scipy.stats import norm

    found = paired_drop(reference, candidate, confidence, seed=seed)
    r, c = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if int((r != c).sum()) >= FEW_CHANGES:
        return found
    n = r.size + 2
    p = (float(np.maximum(r - c, 0).sum()) + 1) / n
    q = (float(np.maximum(c - r, 0).sum()) + 1) / n
    half = float(norm.ppf(0.5 + confidence / 2) * np.sqrt((p + q - (p - q) ** 2) / n))
    lo, hi = max(-1.0, p - q - half), min(1.0, p - q + half)
    return PairedDrop(found.drop, min(found.lo, lo), max(found.hi, hi), found.p_value)


def chernoff_interval(k: float, n: int, error: float) -> tuple[float, float]:
    """A bound on the mean of n values in [0, 1] that sum to k, valid for every n and any shape.

    All p with `n KL(k/n || p) <= ln(2 / error)`; unlike Wilson's or a bootstrap's it is never
    too narrow, which is what repeated looks at the data need.

    Source: Hoeffding 1963, JASA 58, theorem 1.
    """
    _check_confidence(1 - error)
    if n < 1 or not 0 <= k <= n:
        raise DataError(f"Sums of n values of [0, 1] lie in 0..n, got {k} of {n}.")
    mean, budget = k / n, np.log(2 / error) / n
    return _reach(mean, 0.0, budget), _reach(mean, 1.0, budget)


def _reach(mean: float, end: float, budget: float) -> float:
    """How far from the mean towards `end` the divergence stays within the budget; bisection."""
    near, far = mean, end
    if _binary_kl(mean, end) <= budget:
        return end
    for _ in range(60):
        middle = (near + far) / 2
        near, far = (middle, far) if _binary_kl(mean, middle) <= budget else (near, middle)
    return far


def _binary_kl(a: float, b: float) -> float:
    """KL divergence of two coins, nats."""
    parts = [x * np.log(x / y) if y > 0 else np.inf for x, y in ((a, b), (1 - a, 1 - b)) if x > 0]
    return float(sum(parts))


def cautious_drop(reference: np.ndarray, candidate: np.ndarray, error: float) -> PairedDrop:
    """The drop with an interval that is wrong with probability `error` at most, for any n.

    What was lost and what was won are bounded apart, each by `chernoff_interval` with half of
    the error. Wider than `paired_interval`, and fit for stopping early (see `looks`).
    """
    r, c = np.asarray(reference, np.float64), np.asarray(candidate, np.float64)
    if r.shape != c.shape or r.ndim != 1 or not r.size:
        raise DataError(f"Paired hits are two equal rows, got {list(r.shape)}, {list(c.shape)}.")
    lost = chernoff_interval(float(np.maximum(r - c, 0).sum()), r.size, error / 2)
    won = chernoff_interval(float(np.maximum(c - r, 0).sum()), r.size, error / 2)
    point = float((r - c).mean())
    return PairedDrop(point, lost[0] - won[1], lost[1] - won[0], paired_drop(r, c).p_value)


def detectable_drop(
    n: int, changed: float = 0.0, *, confidence: float = 0.95, power: float = 0.8
) -> float:
    """The smallest drop that n paired samples would most likely tell from none.

    `(z_confidence + z_power) sqrt(changed / n)`, and no less than what n samples without a single
    change still allow.

    Args:
        n: samples.
        changed: share of samples that only one of the two models gets right.
        confidence: of the interval that must stay clear of zero.
        power: how likely it shall be that it does.

    Source: Connor 1987, Biometrics 43 (McNemar's test, normal approximation).
    """
    from scipy.stats import norm

    _check_confidence(confidence)
    if n < 1 or not 0 <= changed <= 1:
        raise DataError(f"There are 1 or more samples and a share of 0..1, got {n}, {changed}.")
    z = float(norm.ppf(0.5 + confidence / 2)) + float(norm.ppf(power))
    least = 1 - (1 - confidence) ** (1 / n)
    return min(max(z * float(np.sqrt(changed / n)), least), 1.0)


def resampled_sums(values: np.ndarray, *, resamples: int = 2000, seed: int = 0) -> np.ndarray:
    """Column sums over bootstrap resamples of the rows: float64[resamples, K].

    Args:
        values: number[N, K].
        resamples: rounds; fewer (400 at least) where N is over 50,000.
        seed: of the draws.
    """
    x = np.asarray(values, np.float64)
    rounds = min(resamples, max(400, 100_000_000 // max(len(x), 1)))
    rng, made = np.random.default_rng(seed), []
    for _ in range(rounds):
        drawn = rng.integers(0, len(x), len(x))
        made.append(np.bincount(drawn, minlength=len(x)) @ x)
    return np.stack(made)


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """The middle `confidence` of resampled values; NaN among them are left out."""
    _check_confidence(confidence)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    finite = np.asarray(values)[~np.isnan(values)]
    if not finite.size:
        return -np.inf, np.inf
    lo, hi = np.quantile(finite, tails, method="inverted_cdf")
    return float(lo), float(hi)
