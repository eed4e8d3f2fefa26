r"""Integer least squares by a beam: the K best beginnings of a vector of codes, code by code.

\( \min_q \sum_t d_t (p_t - q_t)^2, \; p_t = b_t - \sum_{j<t} A_{tj} q_j \): the cost of the first t
codes does not depend on the rest, so that bad beginnings can be dropped early. One of them is
Babai's nearest plane (GPTQ); all of them, an exhaustive search.

Source: the K-best detector of multiple antennas (Guo & Nilsson, IEEE JSAC 24(3), 2006), with two
children a beginning: the two codes nearest to p.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.numerics.jit import njit

_BLOCK = 32  # codes whose order is kept up at each step; those before it once a block
_TIE = 1e-9


@njit(nogil=True)
def search(
    base: np.ndarray,
    below: np.ndarray,
    price: np.ndarray,
    lo: np.ndarray,
    hi: np.ndarray,
    width: int,
    codes: np.ndarray,
) -> None:
    """Fill `codes`, channel by channel.

    Args:
        base: float64[G, n, c], b.
        below: float64[G, n, n], A; only what lies below its diagonal is read.
        price: float64[G, n], d.
        lo, hi: float64[G, c], the smallest and largest code.
        width: beginnings that are kept, K.
        codes: float64[G, n, c], whole numbers of the least sum found.
    """
    groups, n, channels = base.shape
    left, taken = np.empty((n, width)), np.empty((n, width))
    for g in range(groups):
        for c in range(channels):
            left[:, 0] = base[g, :, c]
            best = _one(left, below[g], price[g], lo[g, c], hi[g, c], width, taken)
            codes[g, :, c] = taken[:, best]


@njit(nogil=True)
def _one(
    left: np.ndarray,
    below: np.ndarray,
    price: np.ndarray,
    lo: float,
    hi: float,
    width: int,
    taken: np.ndarray,
) -> int:
    """One channel: fill `taken` float64[n, K]; returns the column of the best."""
    n = len(price)
    cost, origin, parent = np.zeros(width), np.zeros(width, np.int64), np.zeros(width, np.int64)
    p, row = np.empty(width), np.empty(width)
    alive = 1
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        for k in range(alive):
            origin[k] = k
        for t in range(start, stop):
            for k in range(alive):
                p[k] = left[t, origin[k]]
            for j in range(start, t):
                for k in range(alive):
                    p[k] -= below[t, j] * taken[j, k]
            alive = _children(p, cost, alive, price[t], lo, hi, width, parent, row)
            taken[t, :alive] = row[:alive]
            _reorder(taken, start, t, parent, alive, row)
            for k in range(alive):
                row[k] = origin[parent[k]]
            for k in range(alive):
                origin[k] = np.int64(row[k])
        _reorder(taken, 0, start, origin, alive, row)
        _reorder(left, stop, n, origin, alive, row)
        for i in range(stop, n):
            for j in range(start, stop):
                for k in range(alive):
                    left[i, k] -= below[i, j] * taken[j, k]
    return int(np.argmin(cost[:alive]))


@njit(nogil=True)
def _reorder(
    rows: np.ndarray, first: int, last: int, by: np.ndarray, count: int, row: np.ndarray
) -> None:
    """rows[first:last, k] = rows[first:last, by[k]] for k < count."""
    for j in range(first, last):
        for k in range(count):
            row[k] = rows[j, by[k]]
        for k in range(count):
            rows[j, k] = row[k]


@njit(nogil=True)
def _children(
    p: np.ndarray,
    cost: np.ndarray,
    alive: int,
    price: float,
    lo: float,
    hi: float,
    width: int,
    parent: np.ndarray,
    code: np.ndarray,
) -> int:
    """The best `width` of two children each, by rising cost: into `cost`, `parent`, `code`."""
    before = cost[:alive].copy()
    count = 0
    for k in range(alive):
        whole = min(max(np.copysign(np.floor(abs(p[k]) + (0.5 + _TIE)), p[k]), lo), hi)
        side = 1.0 if p[k] > whole else -1.0
        other = whole + side if lo <= whole + side <= hi else whole - side
        for q in (whole, other):
            if not lo <= q <= hi:
                continue
            total = before[k] + price * (p[k] - q) ** 2
            if count == width and total >= cost[width - 1]:
                continue
            place = min(count, width - 1)
            while place > 0 and cost[place - 1] > total:
                cost[place], parent[place] = cost[place - 1], parent[place - 1]
                code[place] = code[place - 1]
                place -= 1
            cost[place], parent[place], code[place] = total, k, q
            count = min(count + 1, width)
    return count
