"""Learned step sizes: LSQ for weights and activations."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import grid_of_range, straight_through
from tfq_ext.qat.maps.learned import lsq, step_gain
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, file_range, grid_of, register
from tfq_ext.qat.quantizers.learned import Learned
from tfq_ext.qat.quantizers.starts import SCALE_STARTS
from tfq_ext.spec import TINY, QSpec

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
UNSTARTED = 6.0  # upper end of an activation range before `start`, as TFMOT's


@register
class LsqScale(Quantizer):
    r"""LSQ for weights: one trained scale per channel.

    .. math:: \hat w = s\,\mathrm{clip}(\mathrm{rnd}(w / s), q_{min}, q_{max}), \quad
        \frac{\partial \hat w}{\partial s} = g \cdot \begin{cases}
        \mathrm{rnd}(w/s) - w/s & \text{inside} \\ q_{min} \text{ or } q_{max} & \text{outside}
        \end{cases}, \quad g = 1/\sqrt{n\,q_{max}}

    Args:
        begin: how `start_from` finds s: "best" takes for each channel the one with least squared
            error of "mse" (a search), "lsq" (the paper's 2 mean|w| / sqrt(q_max)) and "max".
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Source: Esser et al. 1902.08153, equations 1 to 3 and sections 2.1, 2.2.
    """

    def __init__(
        self, *, begin: str = "best", symmetric: bool = True, narrow: bool = True, **kwargs: Any
    ):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)
        SCALE_STARTS[begin]
        self.begin = begin

    def build(self, input_shape: Any) -> None:
        """One scale per channel; 1 / qmax until `start`."""
        self.scale = Learned(self, "scale", self.channels(input_shape), 1 / self.spec.qmax)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their grid."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        scale = self.spread(self.scale(self.frozen), len(w.shape))
        low, high = self.spec.qmin, self.spec.qmax
        gain = step_gain(w, scale, high, batched=False)
        return ops.cast(lsq(w, scale, low, high, gain), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The scale whose highest code is the larger magnitude of each channel's range."""
        low, high = checked_range(lo, hi, self.name)
        self.scale.set(np.maximum(np.maximum(-low, high) / self.spec.qmax, TINY))

    def start_from(self, w: Any) -> None:
        """The scale that `begin` names."""
        self.scale.set(
            SCALE_STARTS[self.begin](self.rows(w), self.spec).reshape(self.scale.anchor.shape)
        )

    def refit(self, old: QSpec, new: QSpec) -> None:
        """Keep the range when the codes' width changes."""
        if self.built:
            self.scale.set(self.scale.numpy(self.frozen) * (old.qmax / new.qmax))

    def hold(self) -> None:
        """Take the scale as it is now."""
        if self.built:
            self.scale.hold(self.frozen)

    def step(self, x: Any = None) -> Any:
        """The learned scales."""
        return self.scale(self.frozen)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The learned scales; zero points 0."""
        scale = self.scale.numpy(self.frozen)
        return scale, np.zeros(scale.shape, np.int32)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "begin": self.begin}


@register
class LsqRange(Quantizer):
    r"""LSQ for activations: one trained scale; code 0 or the lowest code stands for 0.

    .. math:: \hat x = s\,\mathrm{clip}(\mathrm{rnd}(x / s), q_{min} - z, q_{max} - z), \quad
        z = 0 \text{ (signed) or } q_{min}

    Its gradients are LSQ's, with n the values of one sample. A tensor with few negative values
    wastes codes here; "lsq+" does not.

    Args:
        signed: the tensor has negative values; `start` decides by the range.
        kwargs: as of Quantizer.

    Source: Esser et al. 1902.08153, equations 1 to 3 and section 2.2.
    """

    def __init__(self, *, signed: bool = True, **kwargs: Any):
        super().__init__(**kwargs)
        self.signed = bool(signed)
        self.scale = Learned(self, "scale", (), UNSTARTED / self.bounds(self.spec)[1])
        self.built = True

    def bounds(self, spec: QSpec) -> tuple[int, int]:
        """Lowest and highest code minus zero point."""
        if spec.symmetric:
            return -spec.qmax, spec.qmax
        zero = 0 if self.signed else spec.qmin
        return spec.qmin - zero, spec.qmax - zero

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid, whichever slot."""
        if not self.enabled:
            return x
        real, scale = ops.cast(x, "float32"), self.scale(self.frozen)
        low, high = self.bounds(self.spec)
        scale = straight_through(scale, self._step(scale))
        gain = step_gain(real, scale, high, batched=True)
        return ops.cast(lsq(real, scale, low, high, gain), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The scale that covers the range; without negative values the grid is unsigned."""
        lower, upper = checked_range(lo, hi, self.name)
        self.signed = bool(lower < 0)
        low, high = self.bounds(self.spec)
        self.scale.set(max(float(lower) / low if low else 0.0, float(upper) / high, TINY))

    def refit(self, old: QSpec, new: QSpec) -> None:
        """Keep the range when the codes' width changes."""
        factor = self.bounds(old)[1] / self.bounds(new)[1]
        self.scale.set(self.scale.numpy(self.frozen) * factor)

    def hold(self) -> None:
        """Take the scale as it is now."""
        self.scale.hold(self.frozen)

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid."""
        return file_range(*self._ends(), self.spec)

    def step(self, x: Any = None) -> Any:
        """Scale of the range."""
        return self._step(self.scale(self.frozen))

    def _step(self, scale: Any) -> Any:
        low, high = self.bounds(self.spec)
        return grid_of_range(low * scale, high * scale, self.spec)[0]

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of the range."""
        return grid_of(*self._ends(), self.spec)

    def _ends(self) -> tuple[Any, Any]:
        scale = self.scale.numpy(self.frozen)
        low, high = self.bounds(self.spec)
        return scale * np.float32(low), scale * np.float32(high)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "signed": self.signed}
