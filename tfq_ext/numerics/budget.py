r"""Rounding under a budget: the integers nearest to a row whose sum may not exceed B.

.. math:: \min_q \sum_i p_i (r_i - q_i)^2, \quad 0 \le q_i \le q_{max}, \quad \sum_i q_i \le B

A step from q to q + 1 gains :math:`p (2 (r - q) - 1)`, less with each step, so that spending the
budget on the largest gains is optimal: all steps whose gain is above the one price at which the
budget is spent. AXE spends it greedily too, on top of the l1 projection of A2Q+ and rounding
towards zero, which never leave more than the optimum.

Source: Colbert et al. 2308.13504 (A2Q), 2401.10432 (A2Q+), 2409.17092 (AXE).
"""

from __future__ import annotations

import numpy as np

NEGLIGIBLE = 1e-9  # of a row's largest power: inputs that are always 0 still count a little
HALVINGS = 64  # of the price's interval: to the last bit


def spend(ratios: np.ndarray, power: np.ndarray, budget: int, most: int) -> np.ndarray:
    """The best integers within the budget; of equal gains the earlier one is taken.

    Args:
        ratios: float64[C, n] >= 0.
        power: float64[C, n] >= 0, what each one's squared error weighs.
        budget: B, for each row.
        most: largest integer.

    Returns:
        int64[C, n].
    """
    top = power.max(axis=1, initial=0.0, keepdims=True)
    p = np.maximum(power / np.where(top > 0, top, 1), NEGLIGIBLE)

    def bought(price: np.ndarray) -> np.ndarray:
        return np.clip(np.ceil(ratios - (1 + price / p) / 2), 0, most)

    low = np.zeros((len(ratios), 1))
    if np.all(bought(low).sum(axis=1) <= budget):
        return bought(low).astype(np.int64)
    high = (p * np.maximum(2 * ratios - 1, 0)).max(axis=1, keepdims=True)
    for _ in range(HALVINGS):
        price = (low + high) / 2
        over = bought(price).sum(axis=1, keepdims=True) > budget
        low, high = np.where(over, price, low), np.where(over, high, price)
    free = bought(np.zeros_like(low))
    fits = free.sum(axis=1, keepdims=True) <= budget
    q = np.where(fits, free, bought(high))
    ties = np.where(fits, 0, bought(low) - q)  # the price of the last step
    left = budget - q.sum(axis=1, keepdims=True)
    return (q + np.where(np.cumsum(ties, axis=1) <= left, ties, 0)).astype(np.int64)
