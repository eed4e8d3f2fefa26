"""Learned step sizes: LSQ."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import lsq
from tfq_ext.qat.quantizers.base import Quantizer, checked_range
from tfq_ext.spec import TINY

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@keras.saving.register_keras_serializable(package="tfq_ext")
class LearnedScale(Quantizer):
    r"""LSQ: one trained scale per channel, kept as its logarithm so that it stays positive.

    .. math:: \hat w = s\,\mathrm{clip}(\mathrm{rnd}(w / s), q_{min}, q_{max}), \quad
        \frac{\partial \hat w}{\partial s} = g \cdot \begin{cases}
        \mathrm{rnd}(w/s) - w/s & \text{inside} \\ q_{min} \text{ or } q_{max} & \text{outside}
        \end{cases}, \quad g = 1/\sqrt{n\,q_{max}}

    Args:
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Esser et al. 1902.08153, equations 1 to 3 and section 2.2. We train log s.
    """

    def __init__(self, *, symmetric: bool = True, narrow: bool = True, **kwargs: Any):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)

    def build(self, input_shape: Any) -> None:
        """One logarithm of a scale per channel; 1 / qmax until `start`."""
        start = -np.log(self.spec.qmax)
        self.log_scale = self.add_weight(
            shape=self.channels(tuple(input_shape)),
            initializer=keras.initializers.Constant(start),
            dtype="float32",
            autocast=False,
            name="log_scale",
        )
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        log_scale = ops.convert_to_tensor(self.log_scale)
        if self.frozen:
            log_scale = ops.stop_gradient(log_scale)
        scale = self.spread(ops.maximum(ops.exp(log_scale), TINY), len(w.shape))
        return ops.cast(lsq(w, scale, self.spec), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The scale whose highest code is the larger magnitude of each channel's range."""
        low, high = checked_range(lo, hi, self.name)
        scale = np.maximum(np.maximum(-low, high) / self.spec.qmax, TINY)
        self.log_scale.assign(np.broadcast_to(np.log(scale), self.log_scale.shape))

    def rescale(self, factor: float) -> None:
        """Keep the range when the codes' width changes."""
        self.log_scale.assign(self.log_scale + float(np.log(factor)))

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The learned scales; zero points 0."""
        scale = ops.convert_to_numpy(ops.maximum(ops.exp(self.log_scale), TINY))
        return scale, np.zeros(scale.shape, np.int32)
