r"""Ternary weights in the graph: the numerics of `numerics.ternary` in keras.ops.

.. math:: \hat w = s\,c\,\mathrm{sign}(w)\,1[|w| > s\,c / 2], \quad c = \mathrm{rnd}(\alpha / s),
    \quad \partial L / \partial w = \partial L / \partial \hat w

Source: Li et al. 1605.04711 (TWN); Mellempudi et al. 1705.01462 (FGQ). METHODS.md 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.numerics.ternary import STEPS
from tfq_ext.qat.fake_quant import divided, inverse
from tfq_ext.spec import TINY

keras = need("keras", why="Ternary weights")
ops = keras.ops
PAIRS = 8  # up to here pairs beat sorting under XLA (N = 4: 9 ms against 45; in a graph 42, 41)


def best_alpha(rows: Any) -> Any:
    r"""Magnitude of least squared error, :math:`S_k / k` where :math:`S_k^2 / k` is largest.

    Args:
        rows: float32[C, G, N].

    Returns:
        float32[C, G].
    """
    n = int(rows.shape[-1])
    means, counts = (_by_pairs if n <= PAIRS else _by_sorting)(ops.abs(rows))
    picked = ops.one_hot(ops.argmax(means * means * counts, axis=-1), n, dtype="float32")
    return ops.sum(means * picked, axis=-1)


def _by_sorting(magnitude: Any) -> tuple[Any, Any]:
    """Mean of the k largest, and k, for k = 1..N; float32[C, G, N] and float32[N]."""
    counts = np.arange(1, int(magnitude.shape[-1]) + 1, dtype=np.float32)
    return ops.cumsum(-ops.sort(-magnitude, axis=-1), axis=-1) / counts, counts


def _by_pairs(magnitude: Any) -> tuple[Any, Any]:
    """The same for thresholds at each weight, by comparing all pairs; float32[C, G, N] each."""
    kept = magnitude[..., None, :] >= magnitude[..., :, None]
    counts = ops.sum(ops.cast(kept, "float32"), axis=-1)
    return ops.sum(ops.where(kept, magnitude[..., None, :], 0.0), axis=-1) / counts, counts


def ternary(rows: Any, *, two_sided: bool = False, shared: bool = True) -> tuple[Any, Any]:
    """Ternary values of least squared error and the scale whose multiples they are.

    Args:
        rows: float32[C, G, N] weights, C channels of G groups.
        two_sided: negative weights have a magnitude of their own.
        shared: a channel has one magnitude, which is its scale; else 127ths of the largest.

    Returns:
        float32[C, G, N] values and float32[C, 1, 1] scales; values / scales are whole.
    """
    up = best_alpha(ops.maximum(rows, 0.0) if two_sided else rows)
    down = best_alpha(ops.minimum(rows, 0.0)) if two_sided else up
    top = ops.max(ops.maximum(up, down), axis=1, keepdims=True)[..., None]
    scale = ops.maximum(top if shared else divided(top, float(STEPS)), TINY)
    per_scale = inverse(scale)
    units = rows * per_scale
    count_up, count_down = (ops.round(a[..., None] * per_scale) for a in (up, down))
    positive = ops.where(2.0 * units > count_up, count_up, 0.0)
    negative = ops.where(-2.0 * units > count_down, count_down, 0.0)
    return (positive - negative) * scale, scale
