"""A trained ceiling for activations: PACT."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import grid_of_range
from tfq_ext.qat.maps.learned import pact
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, file_range, grid_of, register
from tfq_ext.qat.quantizers.learned import Learned
from tfq_ext.spec import TINY

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class PactRange(Quantizer):
    r"""PACT: activations between 0 and a trained alpha, which L2 pulls down.

    .. math:: y = \mathrm{clip}(x, 0, \alpha), \quad s = \alpha / (q_{max} - q_{min}), \quad
        \frac{\partial y}{\partial \alpha} = 1[x \ge \alpha], \quad L \mathrel{+}= \lambda \alpha^2

    A tensor with negative values is clipped at -alpha as well, which the paper does not have.

    Args:
        l2: lambda.
        signed: the tensor has negative values; `start` decides by the range.
        kwargs: as of Quantizer.

    Source: Choi et al. 1805.06085, equations 1 to 3 and section 3.
    """

    def __init__(self, *, l2: float = 1e-4, signed: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.l2 = float(l2)
        self.signed = bool(signed)
        self.alpha = Learned(self, "alpha", (), 6.0)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid, whichever slot."""
        if training and self.l2 and not self.frozen:
            self.add_loss(self.l2 * ops.square(self.alpha(False)))
        if not self.enabled:
            return x
        alpha = self.alpha(self.frozen)
        scale, zero = map(ops.stop_gradient, self._grid(alpha))
        low, high = float(self.spec.qmin) - zero, float(self.spec.qmax) - zero
        low = ops.maximum(low, -high) if self.symmetric else low
        return ops.cast(pact(ops.cast(x, "float32"), alpha, scale, low, high), x.dtype)

    def _grid(self, alpha: Any) -> tuple[Any, Any]:
        return grid_of_range(alpha * self._share(), alpha, self.spec)

    def step(self, x: Any = None) -> Any:
        """Scale of the range."""
        return self._grid(self.alpha(self.frozen))[0]

    def _share(self) -> float:
        """The lower end in units of alpha; a step beyond -1, so that the zero point is 0."""
        if not self.signed:
            return 0.0
        return -1.0 if self.symmetric else float(self.spec.qmin / np.float32(self.spec.qmax))

    def start(self, lo: Any, hi: Any) -> None:
        """Alpha is the range's larger magnitude; a range with negative values makes it signed."""
        low, high = checked_range(lo, hi, self.name)
        self.signed = bool(low < 0)
        self.alpha.set(np.maximum(np.maximum(-low, high), TINY))

    def hold(self) -> None:
        """Take alpha as it is now."""
        self.alpha.hold(self.frozen)

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid."""
        return file_range(*self._ends(), self.spec)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of the range."""
        return grid_of(*self._ends(), self.spec)

    def _ends(self) -> tuple[Any, Any]:
        alpha = self.alpha.numpy(self.frozen)
        return alpha * np.float32(self._share()), alpha

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "l2": self.l2, "signed": self.signed}
