"""Greedy flips of single codes, compiled: what is left to gain once a rounder is done.

Each channel walks over its inputs, moves a code one step wherever that lowers its own loss, and
stops when a whole walk moved none (or after `walks`). Channels do not meet: the result depends
neither on the number of threads nor on which channel lies where.
"""

from __future__ import annotations

import numba
import numpy as np

from tfq_ext.numerics.jit import njit

_LEAST_GAIN = np.float32(1e-5)  # of the loss: less is what summing in float32 may make up
_FAST = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


@njit(**_FAST)
def _loss(z, blocks, j, step, target, lo, hi):  # type: ignore[no-untyped-def]
    """Sum of (clip(z + step x_j) - target)^2 over patches."""
    total = np.float32(0)
    for k in range(len(z)):
        old, x, wanted = z[k], blocks[k, j], target[k]
        for b in range(x.size):
            e = min(max(old[b] + step * x[b], lo), hi) - wanted[b]
            total += e * e
    return total


@njit(**_FAST)
def _shift(z, blocks, j, step):  # type: ignore[no-untyped-def]
    """z += step x_j."""
    for k in range(len(z)):
        old, x = z[k], blocks[k, j]
        for b in range(x.size):
            old[b] += step * x[b]


@njit(**_FAST)
def _walk(codes, least, most, blocks, z, target, scale, lo, hi, best):  # type: ignore[no-untyped-def]
    """One pass over a channel's codes; its loss after it."""
    for j in range(codes.size):
        for move in (-1, 1):
            if not least[j] <= codes[j] + move <= most[j]:
                continue
            step = scale * np.float32(move)
            loss = _loss(z, blocks, j, step, target, lo, hi)
            if loss < best * (1 - _LEAST_GAIN):
                _shift(z, blocks, j, step)
                codes[j] += move
                best = loss
                break
    return best


@njit(parallel=True, **_FAST)
def flip(codes, least, most, scale, bias, bounds, blocks, target, walks):  # type: ignore[no-untyped-def]
    """Lower each channel's loss over the patches by flips; the codes change in place.

    Args:
        codes: int32[C, n], zero point taken off.
        least, most: int32[C, n] how far each code may go.
        scale, bias: float32[C].
        bounds: float32[2] where the activation clips; finite.
        blocks: float32[G, K, n, B] patches.
        target: float32[K, C, B] outputs wanted, after the activation.
        walks: at most so many passes; 0 only measures.

    Returns:
        float32[C] the sum of squares over the patches, after.
    """
    channels, n = codes.shape
    share = channels // len(blocks)
    after = np.empty(channels, np.float32)
    lo, hi = bounds[0], bounds[1]
    for c in numba.prange(channels):
        inputs, wanted = blocks[c // share], target[:, c].copy()
        z = np.full(wanted.shape, bias[c], np.float32)
        for j in range(n):
            _shift(z, inputs, j, scale[c] * np.float32(codes[c, j]))
        best = _loss(z, inputs, 0, np.float32(0), wanted, lo, hi)
        for _ in range(walks):
            before = best
            best = _walk(codes[c], least[c], most[c], inputs, z, wanted, scale[c], lo, hi, before)
            if best == before:
                break
        after[c] = best
    return after
