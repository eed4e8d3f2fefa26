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


def spend(
    ratios: np.ndarray, power: np.ndarray, budget: int, most: int, *, halvings: int = HALVINGS
) -> np.ndarray:
    """The best integers within the budget; of equal gains the earlier one is taken.

    Args:
        ratios: float64[C, n] >= 0.
        power: float64[C, n] >= 0, what each one's squared error weighs.
        budget: B, for each row.
        most: largest integer.
        halvings: of the interval that the price is sought in; with few, some of B may be left.

    Returns:
        int64[C, n].
    """
    top = power.max(axis=1, initial=0.0, keepdims=True)
    p = np.maximum(power / np.where(top > 0, top, 1), NEGLIGIBLE)
    found = _bought(ratios, p, np.zeros((len(p), 1)), most)
    over = found.sum(axis=1) > budget
    if np.any(over):
        found[over] = _within(ratios[over], p[over], budget, most, halvings)
    return found.astype(np.int64)


def _within(ratios: np.ndarray, p: np.ndarray, budget: int, most: int, halvings: int) -> np.ndarray:
    """Rows that cost more than the budget: the price at which it is just spent."""
    low = np.zeros((len(p), 1))
    high = (p * np.maximum(2 * ratios - 1, 0)).max(axis=1, keepdims=True)
    for _ in range(halvings):
        price = (low + high) / 2
        over = _bought(ratios, p, price, most).sum(axis=1, keepdims=True) > budget
        low, high = np.where(over, price, low), np.where(over, high, price)
    q = _bought(ratios, p, high, most)
    ties = np.minimum(_bought(ratios, p, low, most) - q, 1)  # what the last price buys
    left = budget - q.sum(axis=1, keepdims=True)
    return q + np.where(np.cumsum(ties, axis=1) <= left, ties, 0)


def _bought(ratios: np.ndarray, p: np.ndarray, price: np.ndarray, most: int) -> np.ndarray:
    """All steps that gain more than the price."""
    return np.clip(np.ceil(ratios - (1 + price / p) / 2), 0, most)
