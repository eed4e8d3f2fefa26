"""Weight scales from the largest magnitude, anew at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import divided, on_grid, straight_through
from tfq_ext.qat.quantizers.base import Quantizer
from tfq_ext.spec import TINY

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@keras.saving.register_keras_serializable(package="tfq_ext")
class MaxScale(Quantizer):
    r"""The grid follows the weights, so nothing is clipped and every gradient passes.

    .. math:: s_c = \max_{i \in c} |w_i| / q_{max}, \quad
        \partial L / \partial w = \partial L / \partial \hat w

    `frozen` changes nothing here: there is no state to freeze.

    Args:
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Krishnamoorthi 1806.08342, sections 2.2 and 2.5.
    """

    def __init__(self, *, symmetric: bool = True, narrow: bool = True, **kwargs: Any):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        scale = self.spread(self._scale(w), len(w.shape))
        limit = float(self.spec.qmax)
        return ops.cast(straight_through(w, on_grid(w, scale, -limit, limit)), x.dtype)

    def _scale(self, w: Any) -> Any:
        bound = ops.max(ops.abs(w), axis=self.reduced(len(w.shape)))
        return ops.maximum(divided(bound, float(self.spec.qmax)), TINY)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scales of the weights x; zero points 0."""
        scale = ops.convert_to_numpy(self._scale(ops.convert_to_tensor(x, "float32")))
        return scale, np.zeros(scale.shape, np.int32)
