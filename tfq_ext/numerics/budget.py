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

from tfq_ext.numerics.jit import njit

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
    found = np.empty(ratios.shape, np.int64)
    _rows(np.ascontiguousarray(ratios, np.float64), 1 / p, budget, most, halvings, found)
    return found


@njit(nogil=True)
def _rows(
    ratios: np.ndarray, thrift: np.ndarray, budget: int, most: int, halvings: int, found: np.ndarray
) -> None:
    for c in range(len(ratios)):
        r, q = ratios[c], thrift[c]  # 1 / p
        low, high = 0.0, 0.0
        if _cost(r, q, 0.0, most) > budget:
            for i in range(len(r)):
                high = max(high, 2 * r[i] / q[i])  # buys nothing
            for _ in range(halvings):
                price = (low + high) / 2
                if _cost(r, q, price, most) > budget:
                    low = price
                else:
                    high = price
        left = budget - _cost(r, q, high, most)
        for i in range(len(r)):
            taken = _bought(r[i], q[i], high, most)
            if left > 0 and _bought(r[i], q[i], low, most) > taken:  # what the last price buys
                taken, left = taken + 1, left - 1
            found[c, i] = taken


@njit(nogil=True)
def _cost(ratios: np.ndarray, thrift: np.ndarray, price: float, most: int) -> int:
    total = 0
    for i in range(len(ratios)):
        total += _bought(ratios[i], thrift[i], price, most)
    return total


@njit(nogil=True)
def _bought(ratio: float, thrift: float, price: float, most: int) -> int:
    """All steps that gain more than the price."""
    return max(0, min(most, int(np.ceil(ratio - (1 + price * thrift) / 2))))
