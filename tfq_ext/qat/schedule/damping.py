"""The loss against oscillation, as a regularizer on the trained variables."""

from __future__ import annotations

from typing import Any

from tfq_ext._optional import need
from tfq_ext.qat.schedule.weights import Weight, weights_of

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
Regularizer: Any = keras.regularizers.Regularizer
FAR = 1e6  # maps to the end of any grid that does not follow its values


class Damper(Regularizer):
    r"""Squared distance of weights from the middle of their bins.

    .. math:: \lambda \sum_i (\hat w_i - \mathrm{clip}(w_i, q_{min} s, q_{max} s))^2

    \( \hat w \), s and the folded gain are constants; weights beyond the grid get no gradient.
    A regularizer, since Keras adds those of any variable to the loss on every backend, whatever
    the model's class.

    Args:
        weight: what is damped.
        strength: lambda.
        inner: the regularizer that the variable had; its loss is added.

    Source: Nagel et al. 2203.11086, equation 9.
    """

    def __init__(self, weight: Weight, strength: float, inner: Any = None):
        self.weight, self.strength, self.inner = weight, strength, inner

    def __call__(self, x: Any) -> Any:
        """The loss of the variable's value x."""
        quantizer = self.weight.quantizer
        w = ops.cast(x, "float32") * ops.stop_gradient(self.weight.gain())
        fixed = ops.stop_gradient(w)
        rounded = ops.stop_gradient(quantizer(fixed, training=False))
        low = ops.stop_gradient(quantizer(ops.full_like(fixed, -FAR), training=False))
        high = ops.stop_gradient(quantizer(ops.full_like(fixed, FAR), training=False))
        inside = ops.where(w > high, high, ops.where(w < low, low, w))
        loss = self.strength * ops.sum(ops.square(rounded - inside))
        return loss if self.inner is None else loss + ops.cast(self.inner(x), "float32")

    def get_config(self) -> dict[str, Any]:
        """For printing only: the layers' configs hold their own regularizers."""
        return {"weight": self.weight.name, "strength": self.strength}


def damp(model: Any, strength: float) -> None:
    """Attach a Damper to every quantized weight; strength 0 restores what was there."""
    for weight in weights_of(model):
        now = weight.variable.regularizer
        inner = now.inner if isinstance(now, Damper) else now
        on = strength and weight.keeps_grid()
        weight.variable.regularizer = Damper(weight, strength, inner) if on else inner
