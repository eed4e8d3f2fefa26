"""Everything that is asked of two streams of values, in one pass each (numba, no GIL).

A lane of the accumulator is one channel, or several rows of channels laid side by side where there
are few: independent sums vectorise, one running sum does not. Every statistic has a tight loop of
its own over one row, for the same reason. About 1.6 ns a value.
"""

from __future__ import annotations

import numpy as np

from tfq_ext.numerics.jit import njit

# Rows of the accumulator float64[ROWS, lanes].
SIGNAL, NOISE, DOT, POWER, SHIFT, ABS, MOST, GRID, CLIP, LOW, HIGH = range(11)
ROWS = 11
_LEAST = 64  # lanes, at least: fewer channels are laid side by side
BINS = 1 << 16


def empty(channels: int) -> np.ndarray:
    """An accumulator for so many channels (>= 1); float64[ROWS, lanes]."""
    return np.zeros((ROWS, channels * max(1, -(-_LEAST // channels))))


def folded(sums: np.ndarray, channels: int) -> np.ndarray:
    """The accumulator by channel; float64[ROWS, C]. MOST is a maximum, the others are sums."""
    parts = sums.reshape(ROWS, -1, channels)
    total = parts.sum(axis=1)
    total[MOST] = parts[MOST].max(axis=0)
    return np.asarray(total)


@njit(nogil=True)
def add(r, codes, scale, zero, step, lo, hi, sums):  # type: ignore[no-untyped-def]
    """Add what the reference `r` and the candidate's `codes` say about each other.

    Args:
        r: float32[N], channels fastest.
        codes: [N] of any number type; the candidate's value is scale * (code - zero).
        scale, zero: float32.
        step: width of the candidate's codes in reals, 0 for floats.
        lo, hi: the candidate's outermost values in reals; unused for floats.
        sums: float64[ROWS, lanes], added to; lanes is a multiple of the channels.

    GRID is the squared error of `r` on the candidate's grid, CLIP the part of it that comes from
    values more than half a step outside, LOW and HIGH count those.
    """
    wide = sums.shape[1]
    a, b, e = np.zeros(wide), np.zeros(wide), np.zeros(wide)
    signal, noise, dot, power = sums[0], sums[1], sums[2], sums[3]
    shift, total, most = sums[4], sums[5], sums[6]
    for start in range(0, r.size, wide):
        n = min(wide, r.size - start)
        x, q = r[start : start + n], codes[start : start + n]
        for j in range(n):
            a[j] = np.float64(x[j])
        for j in range(n):
            b[j] = np.float64(scale * (np.float32(q[j]) - zero))
        for j in range(n):
            e[j] = b[j] - a[j]
        for j in range(n):
            signal[j] += a[j] * a[j]
        for j in range(n):
            noise[j] += e[j] * e[j]
        for j in range(n):
            dot[j] += a[j] * b[j]
        for j in range(n):
            power[j] += b[j] * b[j]
        for j in range(n):
            shift[j] += e[j]
        for j in range(n):
            total[j] += abs(e[j])
        for j in range(n):
            v = abs(e[j])
            most[j] = v if v > most[j] else most[j]
        if step > 0:
            _on_grid(a, n, step, lo, hi, sums, b)


@njit(nogil=True)
def add_noise(r, codes, scale, zero, sums):  # type: ignore[no-untyped-def]
    """SIGNAL, NOISE and SHIFT of `add` alone, at half the time."""
    wide = sums.shape[1]
    a, e = np.zeros(wide), np.zeros(wide)
    signal, noise, shift = sums[0], sums[1], sums[4]
    for start in range(0, r.size, wide):
        n = min(wide, r.size - start)
        x, q = r[start : start + n], codes[start : start + n]
        for j in range(n):
            a[j] = np.float64(x[j])
        for j in range(n):
            e[j] = np.float64(scale * (np.float32(q[j]) - zero)) - a[j]
        for j in range(n):
            signal[j] += a[j] * a[j]
        for j in range(n):
            noise[j] += e[j] * e[j]
        for j in range(n):
            shift[j] += e[j]


@njit(nogil=True)
def _on_grid(a, n, step, lo, hi, sums, d):  # type: ignore[no-untyped-def]
    """GRID, CLIP, LOW and HIGH of one row a[:n]; `d` is scratch."""
    grid, clip, low, high = sums[7], sums[8], sums[9], sums[10]
    half, inverse = 0.5 * step, 1.0 / step
    for j in range(n):
        v = np.rint((a[j] - lo) * inverse) * step + lo
        v = v if v > lo else lo
        v = v if v < hi else hi
        d[j] = (v - a[j]) * (v - a[j])
    for j in range(n):
        grid[j] += d[j]
    for j in range(n):
        below = a[j] < lo - half
        low[j] += 1.0 if below else 0.0
        clip[j] += d[j] if below else 0.0
    for j in range(n):
        above = a[j] > hi + half
        high[j] += 1.0 if above else 0.0
        clip[j] += d[j] if above else 0.0


@njit(nogil=True)
def encode_into(x, scale, zero, qmin, qmax, out):  # type: ignore[no-untyped-def]
    """out = clip(round(x / scale) + zero), ties away from zero; flat arrays of one length.

    scale, zero, qmin, qmax: float32, so codes are exact up to 24 bits.
    """
    for i in range(x.size):
        v = x[i] / scale
        q = np.floor(abs(v) + np.float32(0.5))
        q = (q if v >= 0 else -q) + zero
        out[i] = min(max(q, qmin), qmax)


@njit(nogil=True)
def count_into(x, counts):  # type: ignore[no-untyped-def]
    """Add float32[N] to uint32[BINS] by the top half of the bit pattern; returns (min, max)."""
    bits = x.view(np.uint32)
    lo, hi = np.float32(np.inf), np.float32(-np.inf)
    for i in range(x.size):
        counts[bits[i] >> np.uint32(16)] += np.uint32(1)
        lo, hi = min(lo, x[i]), max(hi, x[i])
    return lo, hi
