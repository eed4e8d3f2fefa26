r"""Which k values a weight should share, exactly: one-dimensional k-means on a grid of integers.

Deep Compression runs Lloyd's iteration from k points even over [min, max], and ends in whatever
local minimum is near. Shared values that kernels can read are codes, and there are few of those:
dynamic programming over them finds the best k. Of neighbouring values a < b, what lies between
costs :math:`\sum p (r - a)^2` below their middle and :math:`\sum p (b - r)^2` above.

Source: Han et al. 1510.00149, section 3; Wang & Song 2011 (k-means in one dimension by dynamic
programming). METHODS.md 12.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.errors import SpecError


def best_values(steps: np.ndarray, power: np.ndarray, lo: int, hi: int, count: int) -> np.ndarray:
    """The integers that stand for `steps` with the least weighted squared error.

    Args:
        steps: float64[n], in codes.
        power: float64[n], what each one's squared error weighs; >= 0.
        lo, hi: smallest and largest code.
        count: values at most.

    Returns:
        int64[<= count], ascending; fewer where more would gain nothing.

    Raises:
        SpecError: count below 1.
    """
    if count < 1:
        raise SpecError(f"A weight has at least 1 value, got {count}.")
    first, last, between = _costs(steps, power, lo, hi)
    total, before, ends = first, [], [first + last]
    while len(ends) < min(count, len(first)):
        through = total[:, None] + between
        before.append(through.argmin(axis=0))
        total = through.min(axis=0)
        ends.append(total + last)
    k = int(np.argmin([end.min() for end in ends]))
    chosen = [int(ends[k].argmin())]
    for place in reversed(before[:k]):
        chosen.append(int(place[chosen[-1]]))
    return lo + np.array(chosen[::-1], np.int64)


def to_values(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The nearest of `values` (ascending), the upper one on a tie; int64[n]."""
    middles = (values[1:] + values[:-1]) / 2
    return values[np.searchsorted(middles, steps, side="right")]


def _costs(
    steps: np.ndarray, power: np.ndarray, lo: int, hi: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Costs of what lies below the first value, above the last, and between two of them.

    Returns:
        float64[L], float64[L], float64[L, L]; inf unless the second is above the first.
    """
    codes = np.arange(lo, hi + 1)
    # middles of integers are whole halves: bin [j / 2, (j + 1) / 2) never straddles one
    place = np.clip(np.floor(2 * (steps - lo)).astype(np.int64), -1, 2 * (hi - lo)) + 1
    sums = np.zeros((3, 2 * (hi - lo) + 3))
    for row, part in zip(sums, (power, power * steps, power * steps**2), strict=True):
        row[1:] = np.cumsum(np.bincount(place, part, minlength=row.size - 1))

    def cost(value: np.ndarray, start: np.ndarray | int, stop: np.ndarray | int) -> np.ndarray:
        mass, mean, square = (row[stop] - row[start] for row in sums)
        return np.asarray(square - 2 * value * mean + value**2 * mass)

    at = np.arange(len(codes))
    edge = 2 * at + 1  # bins that end at each code
    middle = at[:, None] + at[None, :] + 1
    low = cost(codes[:, None], np.minimum(edge[:, None], middle), middle)
    high = cost(codes[None, :], middle, np.maximum(edge[None, :], middle))
    between = np.where(at[:, None] < at[None, :], low + high, np.inf)
    return cost(codes, 0, edge), cost(codes, edge, sums.shape[1] - 1), between
