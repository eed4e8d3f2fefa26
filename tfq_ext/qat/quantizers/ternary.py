"""Ternary weights: one magnitude per channel (TWN), or one per small group (FGQ)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import SpecError
from tfq_ext.numerics.ternary import Layout
from tfq_ext.qat.fake_quant import straight_through
from tfq_ext.qat.maps.ternary import ternary
from tfq_ext.qat.quantizers.base import Quantizer, register
from tfq_ext.spec import QSpec

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class TernaryScale(Quantizer):
    r"""Weights of three values, thresholds found exactly at each step by sorting.

    .. math:: \hat w = \alpha\,\mathrm{sign}(w)\,1[|w| > \alpha / 2], \quad
        \alpha = S_{k^*} / k^*, \quad k^* = \arg\max_k S_k^2 / k, \quad
        \partial L / \partial w = \partial L / \partial \hat w

    where S_k sums the k largest magnitudes.

    With one magnitude per channel the codes are -1, 0, 1 (2 bits). Finer groups, and a second
    threshold, keep each magnitude as an 8-bit share of the channel's largest, as FGQ does.

    Args:
        thresholds: 1, or 2: negative weights have a magnitude of their own.
        group: N input channels at one tap share a magnitude; 0: all of a channel does.
        along: axis of the input channels; None: the last that is no channel axis. A depthwise
            kernel has none, and is not divided.
        bits: whatever is given, 2 or 8 by the above.
        kwargs: as of Quantizer; symmetric and narrow.

    Raises:
        SpecError: not 1 or 2 thresholds, a negative group, a grid that is not symmetric.

    Source: Li et al. 1605.04711 (TWN), equations 2 to 5; Mellempudi et al. 1705.01462 (FGQ).
    """

    def __init__(
        self,
        *,
        thresholds: int = 1,
        group: int = 0,
        along: int | None = None,
        bits: int = 2,
        symmetric: bool = True,
        narrow: bool = True,
        **kwargs: Any,
    ):
        if thresholds not in (1, 2) or group < 0 or not (symmetric and narrow):
            raise SpecError(
                f"Ternary weights have 1 or 2 thresholds, groups of 0 or more, and a symmetric, "
                f"narrow grid; got {thresholds}, {group}, {symmetric=}, {narrow=}."
            )
        depthwise = along is None and len(kwargs.get("axes") or ()) > 1
        self.divided = group > 0 and not depthwise
        bits = 8 if thresholds == 2 or self.divided else 2
        super().__init__(bits=bits, symmetric=True, narrow=True, **kwargs)
        self.thresholds, self.group, self.along = int(thresholds), int(group), along
        self.built = True

    def layout(self, shape: Any) -> Layout:
        """Channels and groups of a kernel."""
        whole = tuple(int(n) for n in shape)
        if not self.divided:
            return Layout(whole, self.axes or ())
        along = self.reduced(len(whole))[-1] if self.along is None else self.along
        return Layout(whole, self.axes or (), along, self.group)

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights on their three values."""
        if not self.enabled:
            return x
        w = ops.cast(x, "float32")
        values = self.layout(w.shape).join(self._map(w)[0], ops)
        return ops.cast(straight_through(w, values), x.dtype)

    def _map(self, w: Any) -> tuple[Any, Any]:
        rows = self.layout(w.shape).split(ops.stop_gradient(w), ops)
        return ternary(rows, two_sided=self.thresholds == 2, shared=self.bits == 2)

    def refit(self, old: QSpec, new: QSpec) -> None:
        """There is no other width.

        Raises:
            SpecError: the width would change.
        """
        if old != new:
            raise SpecError(f"Ternary weights have three values; {new.bits} bits do not apply.")

    def step(self, x: Any = None) -> Any:
        """Scales of the weights x."""
        w = ops.cast(x, "float32")
        return ops.reshape(self._map(w)[1], self.channels(w.shape))

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Scales of the weights x; zero points 0."""
        scale = ops.convert_to_numpy(self.step(ops.convert_to_tensor(x, "float32")))
        return scale, np.zeros(scale.shape, np.int32)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        own = {"thresholds": self.thresholds, "group": self.group, "along": self.along}
        return {**super().get_config(), **own}
