"""Learned step size and offset: LSQ+."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import SpecError
from tfq_ext.qat.fake_quant import grid_of_range, straight_through
from tfq_ext.qat.maps.learned import lsq_plus, step_gain, zero_of_offset
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, file_range, grid_of, register
from tfq_ext.qat.quantizers.learned import Learned, steered
from tfq_ext.spec import TINY, QSpec

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
UNSTARTED = 6.0


@register
class LsqPlusRange(Quantizer):
    r"""LSQ+: trained scale and trained offset; the zero point is the offset in whole steps.

    .. math:: z = \mathrm{clip}(\mathrm{rnd}(-\beta / s), q_{min}, q_{max}), \quad
        \hat x = s (\mathrm{clip}(\mathrm{rnd}(x / s) + z, q_{min}, q_{max}) - z)

    The offset is kept in steps of the scale that training began with; one step of SGD moves beta
    as the paper's update would. Both gradients carry LSQ's g.

    Args:
        kwargs: as of Quantizer; not symmetric.

    Source: Bhalgat et al. 2004.09576, equations 3 to 6. We round beta so that 0 stays 0.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        if self.symmetric:
            raise SpecError('"lsq+" learns a zero point, which symmetric grids lack: use "lsq".')
        steps = self.spec.qmax - self.spec.qmin
        self.scale = Learned(self, "scale", (), 2 * UNSTARTED / steps)
        self.offset = Learned(self, "offset", (), 0.0, relative=False, limit=float(steps))
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid, whichever slot."""
        if not self.enabled:
            return x
        real, scale, offset = ops.cast(x, "float32"), *self._state()
        low, high = float(self.spec.qmin), float(self.spec.qmax)
        zero = zero_of_offset(scale, offset, low, high)
        grid = self._grid(scale, zero)
        gain = step_gain(real, scale, high - low, batched=True)
        y = lsq_plus(real, straight_through(scale, grid), offset, zero, low, high, gain)
        return ops.cast(y, x.dtype)

    def _grid(self, scale: Any, zero: Any) -> Any:
        low, high = float(self.spec.qmin), float(self.spec.qmax)
        return grid_of_range((low - zero) * scale, (high - zero) * scale, self.spec)[0]

    def step(self, x: Any = None) -> Any:
        """Scale of the range."""
        scale, offset = self._state()
        zero = zero_of_offset(scale, offset, float(self.spec.qmin), float(self.spec.qmax))
        return self._grid(scale, zero)

    def _state(self) -> tuple[Any, Any]:
        """Scale and beta in real units."""
        unit = self.scale.anchor + 0.0
        free = ops.full_like(unit, np.inf)  # `offset` itself limits
        steps = steered(self.offset(self.frozen), 1.0 / (unit * unit), free)
        return self.scale(self.frozen), unit * steps

    def start(self, lo: Any, hi: Any) -> None:
        """Scale and offset that cover the range."""
        low, high = checked_range(lo, hi, self.name)
        scale, zero = grid_of(float(low), float(high), self.spec)
        self.scale.set(np.maximum(scale, TINY))
        self.offset.set(-zero.astype(np.float32))

    def refit(self, old: QSpec, new: QSpec) -> None:
        """Keep the range when the codes' width changes."""
        low, high = (float(end) for end in self._ends())
        scale, zero = grid_of(low, high, new)
        self.scale.set(np.maximum(scale, TINY))
        self.offset.set(-zero.astype(np.float32))

    def hold(self) -> None:
        """Take scale and offset as they are now."""
        scale, offset = self.scale.numpy(self.frozen), self._offset()
        self.scale.set(scale)
        self.offset.set(offset / scale)

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid."""
        return file_range(*self._ends(), self.spec)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of the range."""
        return grid_of(*self._ends(), self.spec)

    def _offset(self) -> np.ndarray:
        return ops.convert_to_numpy(self.scale.anchor) * self.offset.numpy(self.frozen)

    def _ends(self) -> tuple[Any, Any]:
        scale, low, high = self.scale.numpy(self.frozen), self.spec.qmin, self.spec.qmax
        zero = np.clip(np.rint(-self._offset() / scale), low, high).astype(np.float32)
        return scale * (np.float32(low) - zero), scale * (np.float32(high) - zero)
