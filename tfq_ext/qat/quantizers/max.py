"""Weight scales from the weights' own extremes, anew at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import fake_quant, grid_of_range, on_grid, straight_through
from tfq_ext.qat.quantizers.base import Quantizer, register

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class MaxScale(Quantizer):
    r"""The grid follows the weights, so nothing is clipped and every gradient passes.

    .. math:: s_c = \max_{i \in c} |w_i| / q_{max}, \quad
        \partial L / \partial w = \partial L / \partial \hat w

    Asymmetric grids (which TFLite does not have for weights) take minimum and maximum, and mask
    what nudging leaves outside. `frozen` changes nothing here: there is no state to freeze.

    Args:
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Krishnamoorthi 1806.08342, sections 2.2 and 2.5.
    """

    def __init__(self, *, symmetric: bool = True, narrow: bool = True, **kwargs: Any):
        super().__init__(symmetric=symmetric, narrow=narrow and symmetric, **kwargs)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        scale, zero = (self.spread(part, len(w.shape)) for part in self._grid(w))
        if not self.symmetric:
            return ops.cast(fake_quant(w, scale, zero, self.spec), x.dtype)
        limit = float(self.spec.qmax)
        return ops.cast(straight_through(w, on_grid(w, scale, -limit, limit)), x.dtype)

    def _grid(self, w: Any) -> tuple[Any, Any]:
        w, axes = ops.stop_gradient(w), self.reduced(len(w.shape))
        if self.symmetric:
            bound = ops.max(ops.abs(w), axis=axes)
            return grid_of_range(-bound, bound, self.spec)
        lo = ops.minimum(ops.min(w, axis=axes), 0.0)
        return grid_of_range(lo, ops.maximum(ops.max(w, axis=axes), 0.0), self.spec)

    def step(self, x: Any = None) -> Any:
        """Scales of the weights x."""
        return self._grid(ops.cast(x, "float32"))[0]

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scales and zero points of the weights x."""
        parts = self._grid(ops.convert_to_tensor(x, "float32"))
        scale, zero = map(ops.convert_to_numpy, parts)
        return scale, zero.astype(np.int32)
