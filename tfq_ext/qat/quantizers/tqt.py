"""Power-of-two scales with trained thresholds: TQT, for weights and for activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.maps.learned import power_of_two as power
from tfq_ext.qat.maps.learned import tqt
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, grid_of, register
from tfq_ext.qat.quantizers.learned import Learned
from tfq_ext.qat.quantizers.starts import power_of_two
from tfq_ext.spec import TINY, QSpec

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class TqtScale(Quantizer):
    r"""TQT for weights: the scale is a power of two, its threshold's logarithm is trained.

    .. math:: s = 2^{\lceil \log_2 t \rceil - (b - 1)}, \quad
        \frac{\partial \hat w}{\partial \log_2 t} = s \ln 2 \begin{cases}
        \mathrm{rnd}(w/s) - w/s & \text{inside} \\ q_{min} \text{ or } q_{max} & \text{outside}
        \end{cases}

    The paper has one threshold for a tensor (axes None) and trains it with Adam at 1e-2, which
    its gradients are not scaled for anything else.

    Args:
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Jain et al. 1903.08066, equations 4 to 8.
    """

    def __init__(self, *, symmetric: bool = True, narrow: bool = True, **kwargs: Any):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)

    def build(self, input_shape: Any) -> None:
        """One threshold per channel; 1 until `start`."""
        shape = self.channels(input_shape)
        self.log2_t = Learned(self, "log2_t", shape, 0.0, relative=False)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        log2_t = self.spread(self.log2_t(self.frozen), len(w.shape))
        return ops.cast(tqt(w, log2_t, self.spec.qmin, self.spec.qmax, self.bits - 1), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The threshold is the larger magnitude of each channel's range."""
        low, high = checked_range(lo, hi, self.name)
        self.log2_t.set(np.log2(np.maximum(np.maximum(-low, high), TINY)))

    def start_from(self, w: Any) -> None:
        """The power of two with least squared error; t in the middle of what rounds up to it."""
        exponent = power_of_two(self.rows(w), self.spec)
        self.log2_t.set(exponent.reshape(self.log2_t.anchor.shape) - 0.5)

    def hold(self) -> None:
        """Take the threshold as it is now."""
        if self.built:
            self.log2_t.hold(self.frozen)

    def step(self, x: Any = None) -> Any:
        """Exact powers of two."""
        return power(ops.ceil(self.log2_t(self.frozen)) - (self.bits - 1))

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Exact powers of two; zero points 0."""
        scale = np.exp2(np.ceil(self.log2_t.numpy(self.frozen)) - (self.bits - 1))
        return scale.astype(np.float32), np.zeros(scale.shape, np.int32)


@register
class TqtRange(Quantizer):
    r"""TQT for activations: the scale is a power of two; code 0 or the lowest code stands for 0.

    .. math:: s = 2^{\lceil \log_2 t \rceil - (b - 1)} \text{ (signed) or }
        2^{\lceil \log_2 t \rceil - b}

    Args:
        signed: the tensor has negative values; `start` decides by the range.
        kwargs: as of Quantizer.

    Source: Jain et al. 1903.08066, equations 4 to 8.
    """

    def __init__(self, *, signed: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.signed = bool(signed)
        self.log2_t = Learned(self, "log2_t", (), 3.0, relative=False)
        self.built = True

    def _codes(self) -> tuple[int, int, int]:
        """Lowest and highest code minus zero point, and the bits of the positive side."""
        spec: QSpec = self.spec
        if spec.symmetric:
            return -spec.qmax, spec.qmax, spec.bits - 1
        if self.signed:
            return spec.qmin, spec.qmax, spec.bits - 1
        return 0, spec.qmax - spec.qmin, spec.bits

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid, whichever slot."""
        if not self.enabled:
            return x
        low, high, bits = self._codes()
        y = tqt(ops.cast(x, "float32"), self.log2_t(self.frozen), low, high, bits)
        return ops.cast(y, x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The threshold is the range's larger magnitude; without negative values, unsigned."""
        low, high = checked_range(lo, hi, self.name)
        self.signed = bool(low < 0)
        self.log2_t.set(np.log2(np.maximum(np.maximum(-low, high), TINY)))

    def hold(self) -> None:
        """Take the threshold as it is now."""
        self.log2_t.hold(self.frozen)

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid; both exact."""
        low, high, bits = self._codes()
        scale = float(np.exp2(np.ceil(self.log2_t.numpy(self.frozen)) - bits))
        return low * scale, high * scale

    def step(self, x: Any = None) -> Any:
        """The exact power of two."""
        return power(ops.ceil(self.log2_t(self.frozen)) - self._codes()[2])

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale, an exact power of two, and zero point."""
        return grid_of(*self.range(), self.spec)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "signed": self.signed}
