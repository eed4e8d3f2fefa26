"""The weights of a QAT model that become integers, and how each meets its quantizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.kinds import channel_axes
from tfq_ext.qat.layers import qat_layers

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


@dataclass(frozen=True, eq=False)
class Weight:
    """One trained variable and its quantizer.

    Args:
        owner: the Quantized or FoldedBatchNorm layer.
        attribute: the variable's name in the layer inside, "kernel".
    """

    owner: Any
    attribute: str

    @property
    def name(self) -> str:
        """ "conv1/kernel"."""
        return f"{self.owner.name}/{self.attribute}"

    @property
    def quantizer(self) -> Any:
        """What rounds it."""
        return self.owner.quantizers[self.attribute]

    @property
    def variable(self) -> Any:
        """What is trained."""
        return getattr(self.owner.layer, self.attribute)

    def read(self) -> np.ndarray:
        """float32[...] as it meets the quantizer, BatchNormalization folded in."""
        return self.owner.weight(self.attribute)

    def keeps_grid(self) -> bool:
        """Whether values on the grid stay where they are when they are rounded again.

        Not so where weights are normalised first (A2Q), which doubling all of them shows: such a
        weight has no middle of a bin.
        """
        real, codes = self.read(), self.quantizer.codes(self.read())
        middles = self.middles(codes, real)
        doubled = self.middles(self.quantizer.codes(2 * real), 2 * real)
        normalised = middles.any() and np.array_equal(doubled, middles)
        return not normalised and np.array_equal(self.quantizer.codes(middles), codes)

    def middles(self, codes: np.ndarray, real: np.ndarray) -> np.ndarray:
        """float32[...] that codes stand for, on the grid of the weights `real`."""
        scale, zero = (
            np.asarray(self.quantizer.spread(part, real.ndim)) for part in self.quantizer.grid(real)
        )
        return (codes.astype(np.float32) - zero.astype(np.float32)) * scale

    def gain(self) -> Any:
        r"""Factor between the variable and what is rounded, in the graph; broadcasts.

        .. math:: \gamma / \sigma

        1 where no BatchNormalization is folded in; \( \sigma \) is the moving one.
        """
        if not isinstance(self.owner, FoldedBatchNorm):
            return ops.ones((), "float32")
        norm = self.owner.norm
        gain = 1.0 / ops.sqrt(ops.convert_to_tensor(norm.moving_variance) + norm.epsilon)
        if norm.gamma is not None:
            gain = gain * ops.convert_to_tensor(norm.gamma)
        axes = channel_axes(self.owner.layer, self.attribute)
        shape = self.variable.shape
        return ops.reshape(gain, [int(n) if k in axes else 1 for k, n in enumerate(shape)])


def student_of(model: Any) -> Any:
    """The model whose layers quantize: a Distiller's student, else the model itself."""
    return getattr(model, "student", model)


def weights_of(model: Any) -> Iterator[Weight]:
    """Every quantized weight, each once."""
    for owner in dict.fromkeys(qat_layers(student_of(model))):
        for attribute in getattr(owner, "quantizers", ()):
            yield Weight(owner, attribute)
