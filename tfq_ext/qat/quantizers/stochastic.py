"""Stochastic rounding of weights, for comparison: unbiased, and worse."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import divided, inverse, straight_through
from tfq_ext.qat.quantizers.base import Quantizer, register
from tfq_ext.spec import TINY

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class StochasticScale(Quantizer):
    r"""As "max", but in training each weight rounds up or down at random, without bias.

    .. math:: \hat w = s\,\mathrm{clip}(\mathrm{rnd}(w / s + \epsilon), -q_{max}, q_{max}), \quad
        \epsilon \sim U(-1/2, 1/2)

    Outside training it rounds to nearest. The paper finds it worse than nearest for QAT.

    Args:
        seed: of the generator.
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Krishnamoorthi 1806.08342, equations 10 to 12 and figure 12.
    """

    def __init__(
        self, *, seed: int = 0, symmetric: bool = True, narrow: bool = True, **kwargs: Any
    ):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)
        self.seed = int(seed)
        self.generator = keras.random.SeedGenerator(self.seed)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        scale = self.spread(self._scale(w), len(w.shape))
        u = w * inverse(scale)
        if training:
            u = u + keras.random.uniform(ops.shape(w), -0.5, 0.5, seed=self.generator)
        limit = float(self.spec.qmax)
        y = scale * ops.clip(ops.round(u), -limit, limit)
        return ops.cast(straight_through(w, y), x.dtype)

    def _scale(self, w: Any) -> Any:
        bound = ops.max(ops.abs(w), axis=self.reduced(len(w.shape)))
        return ops.maximum(divided(bound, float(self.spec.qmax)), TINY)

    def step(self, x: Any = None) -> Any:
        """Scales of the weights x."""
        return self._scale(ops.cast(x, "float32"))

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scales of the weights x; zero points 0."""
        scale = ops.convert_to_numpy(self._scale(ops.convert_to_tensor(x, "float32")))
        return scale, np.zeros(scale.shape, np.int32)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "seed": self.seed}
