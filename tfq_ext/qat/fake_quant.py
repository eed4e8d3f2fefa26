r"""Fake quantization: a map onto a grid, and the pseudo-gradient that training uses instead.

.. math:: \hat x = s \,\mathrm{clip}(\mathrm{rnd}(x s^{-1}),\ q_{min} - z,\ q_{max} - z)

`s` times a whole number is rounded once, so every backend and compiler gives the same bits.

Source: Krishnamoorthi 1806.08342, equations 1 to 3 and 14 to 17, with the zero point taken out
again (METHODS.md 0.1) and the mask on the nudged range. Ties go to even.
"""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.spec import TINY, QSpec

keras = need("keras", why="Fake quantization")
ops = keras.ops
TIE = 1e-4  # codes; how near to a tie a sum of float32 lands
FUSED_BITS = 8  # beyond, its float32 sums move codes: 1 in 100 at 16 bits


def divided(value: Any, number: float) -> Any:
    """value / number as IEEE divides; XLA would multiply by a rounded 1 / number."""
    return value / (number + 0.0 * value)


def inverse(scale: Any) -> Any:
    """1 / scale as IEEE divides; TensorFlow's graph would call a reciprocal that is an ulp off."""
    return (1.0 + 0.0 * scale) / scale


def grid_of_range(lo: Any, hi: Any, spec: QSpec) -> tuple[Any, Any]:
    r"""Scale and zero point as TFLite nudges them, in the graph.

    .. math:: s = (max - min) / (q_{max} - q_{min}), \quad z = q_{min} + \mathrm{rnd}(-min / s)

    Args:
        lo, hi: float32[...] ends of a range that contains 0.
        spec: the codes; symmetric grids take max(-lo, hi) over the highest code, and z = 0.

    Returns:
        float32[...] scale and float32[...] zero point, a whole number.

    Source: Jacob et al. 1712.05877, section 3; `QParams.from_range` is the same in numpy.
    """
    if spec.symmetric:
        bound = ops.maximum(-lo, hi)
        return ops.maximum(divided(bound, float(spec.qmax)), TINY), ops.zeros_like(bound)
    empty = hi <= lo
    width = ops.where(empty, float(spec.qmax - spec.qmin), hi - lo)
    lo = ops.where(empty, float(spec.qmin), lo)
    scale = ops.maximum(divided(width, float(spec.qmax - spec.qmin)), TINY)
    real = -lo / scale
    whole = ops.floor(real)
    above = whole + ops.cast(real - whole >= 0.5, "float32")
    above = ops.clip(above, 0.0, float(spec.qmax - spec.qmin))
    return scale, above + float(spec.qmin)


def fake_quant(x: Any, scale: Any, zero: Any, spec: QSpec) -> Any:
    r"""Onto the grid and back to reals; straight through inside the nudged range, edges included.

    .. math:: \partial L / \partial x = \partial L / \partial \hat x \cdot
        1[(q_{min} - z) s \le x \le (q_{max} - z) s]

    Args:
        x: float32[...].
        scale, zero: float32, broadcast against x; they get no gradient.
        spec: the codes.

    Source: Krishnamoorthi 1806.08342, equations 14 and 15.
    """
    scale, zero = ops.convert_to_tensor(scale), ops.cast(zero, "float32")
    return _masked(x, scale, float(spec.qmin) - zero, float(spec.qmax) - zero)


@ops.custom_gradient
def _masked(x: Any, scale: Any, low: Any, high: Any) -> tuple[Any, Any]:
    def grad(*args: Any, upstream: Any = None) -> tuple[Any, ...]:
        upstream = take_upstream(args, upstream)
        dx = ops.where(inside(x, scale, low, high), upstream, 0.0)
        return dx, ops.zeros_like(scale), ops.zeros_like(low), ops.zeros_like(high)

    return on_grid(x, scale, low, high), grad


def inside(x: Any, scale: Any, low: Any, high: Any) -> Any:
    """Whether x lies in the nudged range, edges included."""
    return ops.logical_and(x >= low * scale, x <= high * scale)


def take_upstream(args: tuple[Any, ...], upstream: Any) -> Any:
    """The incoming gradient: torch passes it by name, TensorFlow and JAX as the only argument."""
    return args[0] if upstream is None else upstream


def on_grid(x: Any, scale: Any, low: Any, high: Any) -> Any:
    """The plain map, without a gradient worth the name: s clip(rnd(x / s), low, high)."""
    return scale * ops.clip(ops.round(x * inverse(scale)), low, high)


@ops.custom_gradient
def straight_through(x: Any, y: Any) -> tuple[Any, Any]:
    """Forward y, backward as if it were x: for grids that follow the values and clip nothing."""

    def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any]:
        return take_upstream(args, upstream), ops.zeros_like(y)

    return ops.add(y, 0.0), grad


def rounded_again(x: Any, lo: Any, hi: Any, spec: QSpec) -> Any:
    """Means of values on a grid, back onto it as LiteRT's pooling rounds: ties away from code 0.

    That is not real 0: behind a ReLU all codes are negative, and a tie (one value in four of a 2x2
    mean) goes down. Straight through, for a mean lies inside the range.

    Args:
        x: float32[...] means of a few values on the grid.
        lo, hi: float32[] ends of the range, which contains 0.
        spec: the codes.
    """
    scale, zero = grid_of_range(lo, hi, spec)
    q = ops.stop_gradient(x / scale + zero)
    away = ops.sign(q) * ops.floor(ops.abs(q) + (0.5 + TIE))
    codes = ops.clip(away, float(spec.qmin), float(spec.qmax))
    return straight_through(x, ops.stop_gradient(scale * (codes - zero)))


def fake_quant_range(x: Any, lo: Any, hi: Any, spec: QSpec) -> Any:
    """`fake_quant` on the grid of one range; TensorFlow's fused op where it is faster.

    Forward and backward over 8 MB on two cores: 20 ms fused and 22 plain in a graph, 10 and 9
    under XLA. The per-channel op takes 50 ms for weights that the plain map does in 4.

    Args:
        x: float32[...].
        lo, hi: float32[] ends of the range, which contains 0.
        spec: the codes.
    """
    scale, zero = map(ops.stop_gradient, grid_of_range(lo, hi, spec))
    if keras.backend.backend() == "tensorflow" and not spec.symmetric and spec.bits <= FUSED_BITS:
        return _fused(x, scale, zero, spec)
    return fake_quant(x, scale, zero, spec)


def _fused(x: Any, scale: Any, zero: Any, spec: QSpec) -> Any:
    """TensorFlow's kernel on the nudged ends, from which it finds the same zero point again.

    From the raw ends XLA would find another where -min / s lies between two codes.
    """
    tf = need("tensorflow", why="The fused fake quantization")
    lo, hi = (spec.qmin - zero) * scale, (spec.qmax - zero) * scale
    return tf.quantization.fake_quant_with_min_max_vars(x, lo, hi, num_bits=spec.bits)
