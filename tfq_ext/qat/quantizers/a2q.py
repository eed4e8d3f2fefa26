"""Weights whose sums an accumulator of P bits always holds: A2Q and A2Q+."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import SpecError
from tfq_ext.numerics.accumulator_bound import centered_bound, l1_bound
from tfq_ext.qat.maps.accumulator import normalised, toward_zero
from tfq_ext.qat.quantizers.base import Quantizer, checked_range, register
from tfq_ext.qat.quantizers.learned import Learned
from tfq_ext.spec import TINY, QSpec

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@register
class A2qScale(Quantizer):
    r"""A2Q: weight normalisation under an l1 bound, and rounding towards zero.

    .. math:: \hat w = s\,\mathrm{clip}(\mathrm{trunc}(\tfrac{1}{s} \min(g, T s)
        \tfrac{v}{\|v\|_1}), q_{min}, q_{max}), \quad T = (2^{P-1} - 1)\,2^{1_{signed} - N}
    .. math:: L \mathrel{+}= \lambda \sum_c \max(\log_2 g_c - \log_2 T s_c, 0)

    So :math:`\|q\|_1 \le T` in each channel, whatever training does. v is the layer's kernel; g
    and s are trained (the paper trains their logarithms).

    Args:
        accumulator_bits: P.
        input_bits: N; LiteRT multiplies with q - z, which is unsigned 8 bits behind a ReLU
            (z = -128) and signed 9 bits in general.
        input_signed: whether those are.
        penalty: lambda.
        centered: A2Q+, for unsigned inputs: v sums to 0, and T = (2^P - 2) / (2^N - 1).
        kwargs: as of Quantizer; symmetric and narrow unless told otherwise.

    Raises:
        SpecError: centered with signed inputs, or a bound below one code.

    Source: Colbert et al. 2308.13504, equations 11 to 17; 2401.10432 for `centered`.
    """

    def __init__(
        self,
        *,
        accumulator_bits: int = 32,
        input_bits: int = 8,
        input_signed: bool = False,
        penalty: float = 1e-3,
        centered: bool = False,
        symmetric: bool = True,
        narrow: bool = True,
        **kwargs: Any,
    ):
        super().__init__(symmetric=symmetric, narrow=narrow, **kwargs)
        if centered and input_signed:
            raise SpecError("A2Q+ centers weights for unsigned inputs; here they are signed.")
        self.accumulator_bits, self.input_bits = int(accumulator_bits), int(input_bits)
        self.input_signed, self.centered = bool(input_signed), bool(centered)
        self.penalty = float(penalty)
        if self.bound < 1:
            raise SpecError(
                f"{accumulator_bits} bits hold no product of {input_bits}-bit inputs: the bound on "
                f"|q|_1 is {self.bound:.3g}. Give the accumulator more bits."
            )

    @property
    def bound(self) -> float:
        """T, the largest sum of a channel's |codes|."""
        if self.centered:
            return centered_bound(self.accumulator_bits, self.input_bits)
        return l1_bound(self.accumulator_bits, self.input_bits, signed=self.input_signed)

    def build(self, input_shape: Any) -> None:
        """One scale and one norm per channel; 1 / qmax and 1 until `start`."""
        shape = self.channels(input_shape)
        self.scale = Learned(self, "scale", shape, 1 / self.spec.qmax)
        self.norm = Learned(self, "norm", shape, 1.0)
        self.built = True

    def call(self, x: Any, training: bool | None = None, slot: int | None = 0) -> Any:
        """The weights within their bound, on their grid."""
        w = ops.cast(x, "float32")
        rank = len(w.shape)
        scale, norm = (self.spread(part(self.frozen), rank) for part in (self.scale, self.norm))
        limit = scale * self.bound
        if training and self.penalty and not self.frozen:
            over = ops.log2(norm) - ops.log2(limit)
            self.add_loss(self.penalty * ops.sum(ops.maximum(over, 0.0)))
        if not self.enabled:
            return x
        w = normalised(w, norm, limit, self.reduced(rank), centered=self.centered)
        return ops.cast(toward_zero(w, scale, self.spec.qmax), x.dtype)

    def start(self, lo: Any, hi: Any) -> None:
        """The scale whose highest code is the larger magnitude; norms wait for `start_from`."""
        low, high = checked_range(lo, hi, self.name)
        self.scale.set(np.maximum(np.maximum(-low, high) / self.spec.qmax, TINY))

    def start_from(self, w: Any) -> None:
        """The norms of the weights, and the scale under which the map changes them least."""
        rows = self.rows(w).astype(np.float64)
        rows = rows - rows.mean(axis=1, keepdims=True) if self.centered else rows
        norm = np.maximum(np.abs(rows).sum(axis=1), TINY)
        top = np.maximum(np.abs(rows).max(axis=1) / self.spec.qmax, TINY)
        # a hair off the whole powers: trunc must not depend on how w / s rounds at the maximum
        scales = top * np.exp2(np.arange(-2, 9, 0.25) - 0.01)[:, None]
        errors = [self._error(rows, scale, norm) for scale in scales]
        best = np.argmin(errors, axis=0)
        shape = self.scale.anchor.shape
        self.scale.set(scales[best, np.arange(len(rows))].reshape(shape))
        self.norm.set(norm.reshape(shape))

    def _error(self, rows: np.ndarray, scale: np.ndarray, norm: np.ndarray) -> np.ndarray:
        shrink = np.minimum(1.0, self.bound * scale / norm)
        codes = np.trunc(rows * (shrink / scale)[:, None])
        codes = np.clip(codes, -self.spec.qmax, self.spec.qmax)
        return np.square(codes * scale[:, None] - rows).sum(axis=1)

    def refit(self, old: QSpec, new: QSpec) -> None:
        """Keep the range when the codes' width changes."""
        if self.built:
            self.scale.set(self.scale.numpy(self.frozen) * (old.qmax / new.qmax))

    def hold(self) -> None:
        """Take scale and norm as they are now."""
        if self.built:
            self.scale.hold(self.frozen)
            self.norm.hold(self.frozen)

    def step(self, x: Any = None) -> Any:
        """The learned scales."""
        return self.scale(self.frozen)

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The learned scales; zero points 0."""
        scale = self.scale.numpy(self.frozen)
        return scale, np.zeros(scale.shape, np.int32)

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        own = ("accumulator_bits", "input_bits", "input_signed", "penalty", "centered")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}
