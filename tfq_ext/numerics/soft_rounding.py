r"""AdaRound's optimisation, compiled: every output channel is a problem of its own.

A tile of channels runs through all steps before the next tile starts: a block of patches is then
read once for 16 channels, threads meet once a call, and no sum crosses channels. So the result
depends neither on the number of threads nor on which channel lies where.

Source: Nagel et al. 2004.10568, equations 21 to 25. Departure: beta falls in whole numbers, so
that the power is a few products.
"""

from __future__ import annotations

import numba
import numpy as np

from tfq_ext.numerics.jit import njit

BLOCK = 64  # patches in a mini-batch: a row of a block fills four cache lines
TILE = 16  # channels that share a block while it lies in the second-level cache
LANES = 4  # channels that share it while it lies in a register
ZETA, GAMMA = np.float32(1.1), np.float32(-0.1)
_WIDTH = np.float32(1.2)  # ZETA - GAMMA
_B1, _B2, _TINY = np.float32(0.9), np.float32(0.999), np.float32(1e-8)
_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
# No "ninf": nothing may assume that. "numpy": a division that may raise does not vectorise.
_FAST = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc", "nsz", "arcp"},
}


@njit(inline="always", **_FAST)
def _sigmoid(v):  # type: ignore[no-untyped-def]
    """1 / (1 + exp(-v)) to 2e-7: half a tanh by Eigen's ratio of polynomials, which vectorises."""
    x = min(max(v * _HALF, np.float32(-7.9)), np.float32(7.9))
    s = x * x
    p = np.float32(-2.76076847742355e-16)
    p = p * s + np.float32(2.00018790482477e-13)
    p = p * s + np.float32(-8.60467152213735e-11)
    p = p * s + np.float32(5.12229709037114e-08)
    p = p * s + np.float32(1.48572235717979e-05)
    p = p * s + np.float32(6.37261928875436e-04)
    p = p * s + np.float32(4.89352455891786e-03)
    q = np.float32(1.19825839466702e-06)
    q = q * s + np.float32(1.18534705686654e-04)
    q = q * s + np.float32(2.26843463243900e-03)
    q = q * s + np.float32(4.89352518554385e-03)
    return _HALF + _HALF * (x * p / q)


@njit(inline="always", **_FAST)
def _rectified(sigma):  # type: ignore[no-untyped-def]
    """h of sigma(V)."""
    return min(max(sigma * _WIDTH + GAMMA, _ZERO), _ONE)


@njit(**_FAST)
def soften(v, floor, least, most, sigma, codes):  # type: ignore[no-untyped-def]
    """sigma(V) and the soft codes clip(floor + h(V)) of a row, in place."""
    for j in range(v.size):
        sigma[j] = _sigmoid(v[j])
        codes[j] = min(max(floor[j] + _rectified(sigma[j]), least), most)


@njit(**_FAST)
def _forward(codes, block, y):  # type: ignore[no-untyped-def]
    """y[l, b] = sum_j codes[l, j] block[j, b] of 4 lanes, two inputs at a time."""
    y[:] = _ZERO
    n = codes.shape[1]
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    for j in range(0, n - 1, 2):
        a, b = block[j], block[j + 1]
        a0, a1, a2, a3 = codes[0, j], codes[1, j], codes[2, j], codes[3, j]
        b0, b1, b2, b3 = codes[0, j + 1], codes[1, j + 1], codes[2, j + 1], codes[3, j + 1]
        for k in range(BLOCK):
            y0[k] += a0 * a[k] + b0 * b[k]
            y1[k] += a1 * a[k] + b1 * b[k]
            y2[k] += a2 * a[k] + b2 * b[k]
            y3[k] += a3 * a[k] + b3 * b[k]
    if n % 2:
        _forward_one(codes, block, y, n - 1)


@njit(**_FAST)
def _forward_one(codes, block, y, j):  # type: ignore[no-untyped-def]
    """The last input of an odd number."""
    for lane in range(len(codes)):
        for k in range(BLOCK):
            y[lane, k] += codes[lane, j] * block[j, k]


@njit(**_FAST)
def _backward(y, block, slope):  # type: ignore[no-untyped-def]
    """slope[l, j] = sum_b y[l, b] block[j, b] of 4 lanes."""
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    for j in range(slope.shape[1]):
        x = block[j]
        s0, s1, s2, s3 = _ZERO, _ZERO, _ZERO, _ZERO
        for k in range(BLOCK):
            s0 += y0[k] * x[k]
            s1 += y1[k] * x[k]
            s2 += y2[k] * x[k]
            s3 += y3[k] * x[k]
        slope[0, j], slope[1, j], slope[2, j], slope[3, j] = s0, s1, s2, s3


@njit(**_FAST)
def _alone(codes, block, y):  # type: ignore[no-untyped-def]
    """`_forward` of one channel whose inputs no other shares (depthwise)."""
    y[:] = _ZERO
    for j in range(codes.size):
        for k in range(BLOCK):
            y[k] += codes[j] * block[j, k]


@njit(**_FAST)
def _alone_back(y, block, slope):  # type: ignore[no-untyped-def]
    """`_backward` of one channel."""
    for j in range(slope.size):
        s = _ZERO
        for k in range(BLOCK):
            s += y[k] * block[j, k]
        slope[j] = s


@njit(**_FAST)
def _residual(y, target, scale, bias, bounds, gain):  # type: ignore[no-untyped-def]
    """The slope of the loss by y, in place: gain (s y + bias - target) where the clip passes."""
    for k in range(BLOCK):
        z = scale * y[k] + bias
        y[k] = gain * (z - target[k]) if bounds[0] < z < bounds[1] else _ZERO


@njit(**_FAST)
def _penalise(sigma, beta, weight, slope):  # type: ignore[no-untyped-def]
    """Add the slope of weight (1 - |2h - 1|^beta) by h; beta: a whole number from 2 up."""
    for j in range(sigma.size):
        x = _TWO * _rectified(sigma[j]) - _ONE
        p = _TWO * weight * np.float32(beta) * x
        for _ in range(beta - 2):
            p *= abs(x)
        slope[j] -= p


@njit(**_FAST)
def _adam(state, floor, least, most, slope, sigma, rate, fix):  # type: ignore[no-untyped-def]
    """One Adam step on V where it moves the code; fix: 1 / (1 - b^t) of both moments.

    Where h has reached 0 or 1 the moments are dropped: left to decay they become denormal numbers,
    which cost ten times as much.
    """
    v, m1, m2 = state[0], state[1], state[2]
    for j in range(v.size):
        s = sigma[j]
        r = s * _WIDTH + GAMMA
        moves = _ZERO < r < _ONE and least <= floor[j] < most
        d = slope[j] * _WIDTH * s * (_ONE - s)
        a, b = _B1 * m1[j] + (_ONE - _B1) * d, _B2 * m2[j] + (_ONE - _B2) * d * d
        m1[j], m2[j] = (a if moves else _ZERO), (b if moves else _ZERO)
        v[j] -= rate * (m1[j] * fix[0]) / (np.sqrt(m2[j] * fix[1]) + _TINY)


@njit(nogil=True)
def _correction(number):  # type: ignore[no-untyped-def]
    """Adam's corrections for its start at step `number`, from 1."""
    return np.float32(1 / (1 - 0.9**number)), np.float32(1 / (1 - 0.999**number))


@njit(**_FAST)
def _tile(first, last, model, data, step, work):  # type: ignore[no-untyped-def]
    """One step of channels first..last - 1 (at most TILE), which share their inputs."""
    state, floor, scale, bias, bounds, ends, gain = model
    block, target = data
    beta, weight, rate, fix = step
    sigma, codes, slope, y = work
    for c in range(first, last):
        soften(state[c, 0], floor[c], ends[c, 0], ends[c, 1], sigma[c - first], codes[c - first])
    _products(last - first, codes, block, y, slope, False)
    for c in range(first, last):
        _residual(y[c - first], target[c], scale[c], bias[c], bounds, gain[c])
    _products(last - first, codes, block, y, slope, True)
    for c in range(first, last):
        s, g = sigma[c - first], slope[c - first]
        if beta:
            _penalise(s, beta, weight, g)
        _adam(state[c], floor[c], ends[c, 0], ends[c, 1], g, s, rate, fix)


@njit(**_FAST)
def _products(count, codes, block, y, slope, back):  # type: ignore[no-untyped-def]
    """Both matrix products of a tile; idle lanes of the last four hold what nobody reads."""
    if count == 1:
        if back:
            _alone_back(y[0], block, slope[0])
        else:
            _alone(codes[0], block, y[0])
        return
    for a in range(0, count, LANES):
        if back:
            _backward(y[a : a + LANES], block, slope[a : a + LANES])
        else:
            _forward(codes[a : a + LANES], block, y[a : a + LANES])


@njit(parallel=True, **_FAST)
def descend(model, blocks, target, plan, weight, rate):  # type: ignore[no-untyped-def]
    """Run the planned steps on every channel; V and Adam's moments change in place.

    Args:
        model: state float32[C, 3, n] (V and the two moments); floor float32[C, n], the lower of
            the two codes, zero point taken off; scale, bias float32[C]; bounds float32[2] where
            the activation clips, finite; ends float32[C, 2] lowest and highest code, zero point
            taken off; gain float32[C], slope of the loss by y over the residual.
        blocks: float32[G, K, n, BLOCK] patches.
        target: float32[K, C, BLOCK] outputs wanted, after the activation.
        plan: int64[T, 3] of each step: its block, whole beta (0: no penalty), its number from 1.
        weight: float32 of the penalty.
        rate: float32 of Adam.
    """
    channels, n = model[1].shape
    share = channels // blocks.shape[0]
    parts = (share + TILE - 1) // TILE  # tiles of a group
    for part in numba.prange(parts * blocks.shape[0]):
        group = part // parts
        first = group * share + (part % parts) * TILE
        last = min(first + TILE, (group + 1) * share)
        lanes = (last - first + LANES - 1) // LANES * LANES
        rows = (lanes, n)
        work = (
            np.zeros(rows, np.float32),
            np.zeros(rows, np.float32),
            np.zeros(rows, np.float32),
            np.zeros((lanes, BLOCK), np.float32),
        )
        for t in range(len(plan)):
            step = (plan[t, 1], weight, rate, _correction(plan[t, 2]))
            _tile(first, last, model, (blocks[group, plan[t, 0]], target[plan[t, 0]]), step, work)
