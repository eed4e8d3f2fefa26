"""Activation ranges by a moving average of minimum and maximum, and constant ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.fake_quant import fake_quant_range, grid_of_range, rounded_again
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, file_range, grid_of, register

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class EmaRange(Quantizer):
    r"""Moving average of each batch's minimum and maximum.

    .. math:: min \leftarrow d \cdot min + (1 - d) \min(0, \min_i x_i), \quad
        max \leftarrow d \cdot max + (1 - d) \max(0, \max_i x_i)

    The first batch after an empty range (0, 0) is taken as it is; `start` makes that the second.

    Args:
        decay: d.
        slots: how many tensors share the grid; its range is the union of their averages.
        kwargs: as of Quantizer.

    Source: Jacob et al. 1712.05877, section 3.1; Krishnamoorthi 1806.08342, section 2.5.
    """

    def __init__(self, *, decay: float = 0.99, slots: int = 1, **kwargs: Any):
        super().__init__(**kwargs)
        self.decay = float(decay)
        self.slots = int(slots)
        self.ends = self.add_weight(
            shape=(self.slots, 2),
            initializer="zeros",
            dtype="float32",
            trainable=False,
            autocast=False,
            aggregation="mean",
            name="ends",
        )
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid; in training its extremes first go into row `slot` (None: into none)."""
        real = ops.cast(x, "float32")
        ends = ops.convert_to_tensor(self.ends)
        if training and not self.frozen and slot is not None:
            ends = self._observe(ops.stop_gradient(real), ends, slot)
        if not self.enabled:
            return x
        lo, hi = (ends[0, 0], ends[0, 1]) if self.slots == 1 else _union(ends)
        rounded = rounded_again if slot is None else fake_quant_range
        return ops.cast(rounded(real, lo, hi, self.spec), x.dtype)

    def _observe(self, x: Any, ends: Any, slot: int) -> Any:
        batch = ops.stack([ops.minimum(ops.min(x), 0.0), ops.maximum(ops.max(x), 0.0)])
        old = ends[slot]
        decay = ops.where(old[1] > old[0], self.decay, 0.0)
        row = batch + decay * (old - batch)
        mine = np.arange(self.slots)[:, None] == slot
        self.ends.assign(row[None] if self.slots == 1 else ops.where(mine, row[None], ends))
        return ops.convert_to_tensor(self.ends)

    def start(self, lo: Any, hi: Any) -> None:
        """Set the range of every slot; averages go on from there."""
        low, high = checked_range(lo, hi, self.name)
        self.ends.assign(np.tile(np.array([[low, high]], np.float32), (self.slots, 1)))

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid."""
        ends = ops.convert_to_numpy(self.ends)
        return file_range(ends[:, 0].min(), ends[:, 1].max(), self.spec)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of the range."""
        ends = ops.convert_to_numpy(self.ends)
        return grid_of(ends[:, 0].min(), ends[:, 1].max(), self.spec)

    def step(self, x: Any = None) -> Any:
        """Scale of the range."""
        lo, hi = _union(ops.convert_to_tensor(self.ends))
        return grid_of_range(lo, hi, self.spec)[0]

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "decay": self.decay, "slots": self.slots}


def _union(ends: Any) -> tuple[Any, Any]:
    return ops.min(ends[:, 0]), ops.max(ends[:, 1])


@register
class FixedRange(Quantizer):
    """A range that never moves: softmax (0 to 255/256), sigmoid, the model's own input.

    Args:
        min, max: ends of the range, real units; they contain 0.
        kwargs: as of Quantizer.
    """

    def __init__(self, *, min: float = 0.0, max: float = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.start(min, max)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """x on the grid."""
        if not self.enabled:
            return x
        lo, hi = (ops.convert_to_tensor(end, "float32") for end in (self.min, self.max))
        rounded = rounded_again if slot is None else fake_quant_range
        return ops.cast(rounded(ops.cast(x, "float32"), lo, hi, self.spec), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """Another constant; it goes into the config."""
        low, high = checked_range(lo, hi, self.name)
        self.min, self.max = float(low), float(high)

    def range(self) -> tuple[float, float]:
        """Minimum and maximum from which TFLite's arithmetic makes the grid."""
        return file_range(self.min, self.max, self.spec)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point of the range."""
        return grid_of(self.min, self.max, self.spec)

    def step(self, x: Any = None) -> Any:
        """Scale of the range."""
        lo, hi = (ops.convert_to_tensor(end, "float32") for end in (self.min, self.max))
        return grid_of_range(lo, hi, self.spec)[0]

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        return {**super().get_config(), "min": self.min, "max": self.max}
