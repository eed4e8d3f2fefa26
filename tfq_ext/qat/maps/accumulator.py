r"""The map of A2Q: weights normalised so that an accumulator of P bits holds any sum.

Source: Colbert et al. 2308.13504 (A2Q), section 4; 2401.10432 (A2Q+). METHODS.md 10.
"""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import inside, inverse, take_upstream
from tfq_ext.qat.maps.learned import summed_like
from tfq_ext.spec import TINY

keras = need("keras", why="Accumulator-aware training")
ops = keras.ops
MARGIN = 2.0**-12  # float32 sums of norms may be a little low; integers must not pay for it


def normalised(v: Any, norm: Any, limit: Any, axes: tuple[int, ...], *, centered: bool) -> Any:
    r"""Weight normalisation with a ceiling: :math:`w = \min(g, T s)\, v / \|v\|_1`.

    Args:
        v: float32[...], the trained direction.
        norm: g, float32, rank of v with 1 along `axes`.
        limit: T s, likewise.
        axes: what a channel sums over.
        centered: subtract the channel's mean from v first (A2Q+).
    """
    v = v - ops.mean(v, axis=axes, keepdims=True) if centered else v
    length = ops.maximum(ops.sum(ops.abs(v), axis=axes, keepdims=True), TINY)
    return v * (ops.minimum(norm, limit * (1.0 - MARGIN)) / length)


def toward_zero(w: Any, scale: Any, limit: float) -> Any:
    r"""Rounds towards zero, which cannot raise the l1 norm; straight through inside.

    .. math:: \hat w = s\,\mathrm{clip}(\mathrm{trunc}(w / s), -q, q), \quad
        \frac{\partial \hat w}{\partial s} = \begin{cases} \mathrm{trunc}(w/s) - w/s & \text{inside}
        \\ \pm q & \text{outside} \end{cases}

    Args:
        w: float32[...].
        scale: float32, rank of w with 1 where shared.
        limit: q, the highest code.
    """
    return _toward_zero(w, scale, ops.cast(limit, "float32"))


@ops.custom_gradient
def _toward_zero(w: Any, scale: Any, limit: Any) -> tuple[Any, Any]:
    u = w * inverse(scale)
    code = ops.clip(ops.trunc(u), -limit, limit)

    def grad(*args: Any, upstream: Any = None) -> tuple[Any, Any, Any]:
        upstream = take_upstream(args, upstream)
        within = inside(w, scale, -limit, limit)
        ds = summed_like(upstream * (code - ops.where(within, u, 0.0)), scale)
        return ops.where(within, upstream, 0.0), ds, ops.zeros_like(limit)

    return code * scale, grad
