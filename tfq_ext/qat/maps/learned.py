r"""Maps whose scale, threshold or offset is trained: LSQ, LSQ+, TQT, PACT.

All share the forward :math:`\hat x = s\,\mathrm{clip}(\mathrm{rnd}(x/s), low, high)` with whole
numbers low = q_min - z and high = q_max - z, and differ in what they tell their parameter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import inside, inverse, on_grid, take_upstream

keras = need("keras", why="Fake quantization")
ops = keras.ops
POWERS = 60  # 2^-60 .. 2^60, exact on every backend, which exp2 is not


def lsq(x: Any, scale: Any, low: Any, high: Any, gain: Any) -> Any:
    r"""LSQ: the scale learns from rounding errors inside and from the end codes outside.

    .. math:: \frac{\partial \hat x}{\partial s} = \begin{cases} \mathrm{rnd}(x/s) - x/s
        & \text{inside} \\ low \text{ or } high & \text{outside} \end{cases}, \quad
        \frac{\partial \hat x}{\partial x} = 1[low\, s \le x \le high\, s]

    Args:
        x: float32[...].
        scale: float32[], or rank of x with 1 where shared; > 0.
        low, high: float32[], lowest and highest code minus zero point.
        gain: float32[], factor of the scale's gradient, see `step_gain`.

    Source: Esser et al. 1902.08153 (LSQ), equations 1 to 3.
    """
    return _lsq(x, scale, *_reals(low, high, gain))


@ops.custom_gradient
def _lsq(x: Any, scale: Any, low: Any, high: Any, gain: Any) -> tuple[Any, Any]:
    def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = take_upstream(args, upstream)
        within, code, rest = _parts(x, scale, low, high)
        ds = summed_like(upstream * ops.where(within, rest, code), scale) * gain
        return ops.where(within, upstream, 0.0), ds, *map(ops.zeros_like, (low, high, gain))

    return on_grid(x, scale, low, high), grad


def lsq_plus(
    x: Any, scale: Any, offset: Any, zero: Any, qmin: float, qmax: float, gain: Any
) -> Any:
    r"""LSQ+: the offset moves with the values that are clipped, and rounds to a zero point.

    .. math:: z = \mathrm{clip}(\mathrm{rnd}(-\beta / s), q_{min}, q_{max}), \quad
        \hat x = s (\mathrm{clip}(\mathrm{rnd}(x/s) + z, q_{min}, q_{max}) - z)
    .. math:: \frac{\partial \hat x}{\partial \beta} = 1[\text{outside}], \quad
        \frac{\partial \hat x}{\partial s} = \begin{cases} \mathrm{rnd}(x/s) - x/s
        & \text{inside} \\ q_{min} \text{ or } q_{max} & \text{outside} \end{cases}

    Args:
        x: float32[...].
        scale: float32[], > 0.
        offset: float32[], beta: the real that code 0 stands for; the forward uses `zero`.
        zero: float32[], z, from `zero_of_offset`.
        qmin, qmax: lowest and highest code.
        gain: float32[], factor of both parameters' gradients.

    Source: Bhalgat et al. 2004.09576 (LSQ+), equations 3 to 6; there beta is not rounded.
    """
    return _lsq_plus(x, scale, offset, *_reals(zero, qmin, qmax, gain))


@ops.custom_gradient
def _lsq_plus(
    x: Any, scale: Any, offset: Any, zero: Any, qmin: Any, qmax: Any, gain: Any
) -> tuple[Any, Any]:
    low, high = qmin - zero, qmax - zero

    def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = take_upstream(args, upstream)
        within, code, rest = _parts(x, scale, low, high)
        ds = ops.sum(upstream * ops.where(within, rest, code + zero)) * gain
        db = ops.sum(ops.where(within, 0.0, upstream)) * gain
        still = map(ops.zeros_like, (zero, qmin, qmax, gain))
        return ops.where(within, upstream, 0.0), ds, db, *still

    return on_grid(x, scale, low, high), grad


def zero_of_offset(scale: Any, offset: Any, qmin: Any, qmax: Any) -> Any:
    """The whole number that stands for real 0 when code 0 stands for `offset`; no gradient."""
    return ops.stop_gradient(ops.clip(ops.round(-offset / scale), qmin, qmax))


def tqt(x: Any, log2_t: Any, low: Any, high: Any, bits: int) -> Any:
    r"""TQT: a power-of-two scale whose threshold is trained as its logarithm.

    .. math:: s = 2^{\lceil \log_2 t \rceil} / 2^{bits}, \quad
        \frac{\partial \hat x}{\partial \log_2 t} = s \ln 2 \begin{cases}
        \mathrm{rnd}(x/s) - x/s & low \le \mathrm{rnd}(x/s) \le high \\
        low \text{ or } high & \text{outside} \end{cases}

    Args:
        x: float32[...].
        log2_t: float32[], or rank of x with 1 where shared.
        low, high: float32[], lowest and highest code minus zero point.
        bits: of the positive side: b - 1 of signed codes, b of unsigned ones.

    Source: Jain et al. 1903.08066 (TQT), equations 4 to 8. The mask is on the rounded code.
    """
    return _tqt(x, log2_t, power_of_two(ops.ceil(log2_t) - bits), *_reals(low, high))


@ops.custom_gradient
def _tqt(x: Any, log2_t: Any, scale: Any, low: Any, high: Any) -> tuple[Any, Any]:
    def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = take_upstream(args, upstream)
        u = x * inverse(scale)
        code = ops.round(u)
        within = ops.logical_and(code >= low, code <= high)
        slope = ops.where(within, code - u, ops.clip(code, low, high))
        dt = summed_like(upstream * slope, scale) * scale * math.log(2.0)
        return ops.where(within, upstream, 0.0), dt, *map(ops.zeros_like, (scale, low, high))

    return on_grid(x, scale, low, high), grad


def power_of_two(exponent: Any) -> Any:
    """2^exponent for whole numbers within -60..60, exact; float32, no gradient."""
    table = ops.convert_to_tensor(np.exp2(np.arange(-POWERS, POWERS + 1)), "float32")
    index = ops.cast(ops.clip(exponent, -POWERS, POWERS), "int32") + POWERS
    return ops.stop_gradient(ops.take(table, index))


def pact(x: Any, alpha: Any, scale: Any, low: Any, high: Any) -> Any:
    r"""PACT: a trained ceiling; what lies at or above it moves it, the rest passes.

    .. math:: y = \mathrm{clip}(x, 0, \alpha), \quad \frac{\partial y}{\partial \alpha} =
        1[x \ge \alpha], \quad \frac{\partial y}{\partial x} = 1[0 \le x < \alpha]

    With low < 0 the floor is :math:`-\alpha` and :math:`x \le -\alpha` gives -1: our extension
    to tensors with two signs.

    Args:
        x: float32[...].
        alpha: float32[], the ceiling, > 0.
        scale: float32[], alpha over the number of steps.
        low, high: float32[], lowest and highest code minus zero point.

    Source: Choi et al. 1805.06085 (PACT), equations 1 to 3.
    """
    return _pact(x, alpha, scale, *_reals(low, high))


@ops.custom_gradient
def _pact(x: Any, alpha: Any, scale: Any, low: Any, high: Any) -> tuple[Any, Any]:
    def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = take_upstream(args, upstream)
        above = x >= alpha
        below = ops.logical_and(low < 0.0, x <= -alpha)
        passes = ops.logical_and(x >= ops.where(low < 0.0, -alpha, 0.0), x < alpha)
        passes = ops.logical_and(passes, ops.logical_not(below))
        da = ops.sum(ops.where(above, upstream, 0.0)) - ops.sum(ops.where(below, upstream, 0.0))
        dx = ops.where(passes, upstream, 0.0)
        return dx, da, *map(ops.zeros_like, (scale, low, high))

    return on_grid(x, scale, low, high), grad


def step_gain(values: Any, scale: Any, steps: float, *, batched: bool) -> Any:
    r"""LSQ's gradient scale :math:`g = 1 / \sqrt{n\, Q_p}`; float32[].

    Args:
        values: the tensor that is quantized.
        scale: its scales; n is how many values one scale serves.
        steps: Q_p, how many steps the grid has above zero.
        batched: the first axis counts samples, which do not count into n.

    Source: Esser et al. 1902.08153, section 2.2.
    """
    shape = ops.shape(values)[1:] if batched else ops.shape(values)
    n = ops.cast(ops.prod(ops.stack(shape)) if len(shape) else 1, "float32")
    share = float(np.prod([int(size) for size in scale.shape]))
    return ops.rsqrt(ops.maximum(n, 1.0) / share * steps)


def summed_like(values: Any, like: Any) -> Any:
    """Sum over the axes along which `like` was broadcast; the shape of `like`."""
    rank = len(like.shape)
    if rank == 0:
        return ops.sum(values)
    axes = tuple(k for k in range(rank) if like.shape[k] == 1)
    return ops.sum(values, axis=axes, keepdims=True)


def _parts(x: Any, scale: Any, low: Any, high: Any) -> tuple[Any, Any, Any]:
    """Inside or not, the clipped code, and rnd(x/s) - x/s."""
    u = x * inverse(scale)
    rounded = ops.round(u)
    return inside(x, scale, low, high), ops.clip(rounded, low, high), rounded - u


def _reals(*values: Any) -> tuple[Any, ...]:
    return tuple(ops.cast(value, "float32") for value in values)
