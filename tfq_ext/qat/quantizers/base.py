"""The contract of every quantizer: a Keras layer that holds a grid and maps tensors onto it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.spec import QParams, QSpec, Range

keras = need("keras", why="Quantization-aware training")
ops = keras.ops


class Quantizer(keras.layers.Layer):
    """Maps a tensor onto a grid of integers and back to reals (fake quantization).

    Computes in float32 whatever the dtype policy, and returns the dtype that came in.

    Args:
        bits: 2 to 16; may be set later, and the range stays.
        symmetric: zero point 0.
        narrow: drop the most negative code.
        axes: channel axes of the tensor; None: one scale. (3,) for a conv kernel, (2, 3) for a
            depthwise one.
        enabled: False: the identity, though ranges are still observed (quantization delay).
        frozen: True: ranges and scales no longer move.
    """

    def __init__(
        self,
        *,
        bits: int = 8,
        symmetric: bool = False,
        narrow: bool = False,
        axes: tuple[int, ...] | None = None,
        enabled: bool = True,
        frozen: bool = False,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **kwargs)
        self._spec = QSpec(bits, symmetric=symmetric, narrow=narrow)
        self.axes = None if axes is None else tuple(int(axis) for axis in axes)
        self.enabled = enabled
        self.frozen = frozen
        self.supports_masking = True

    @property
    def spec(self) -> QSpec:
        """Which integers the tensor may hold."""
        return self._spec

    @property
    def symmetric(self) -> bool:
        """Whether the zero point is 0."""
        return self._spec.symmetric

    @property
    def narrow(self) -> bool:
        """Whether the most negative code is dropped."""
        return self._spec.narrow

    @property
    def bits(self) -> int:
        """Width of the codes; setting it keeps the range and changes the scale."""
        return self._spec.bits

    @bits.setter
    def bits(self, bits: int) -> None:
        old, self._spec = self._spec, QSpec(bits, symmetric=self.symmetric, narrow=self.narrow)
        if self.built:
            self.rescale((old.qmax - old.qmin) / (self._spec.qmax - self._spec.qmin))

    def rescale(self, factor: float) -> None:
        """The width of the codes changed: a leaf that stores a scale multiplies it by `factor`."""

    def start(self, lo: Any, hi: Any) -> None:
        """Set the range before training; a leaf whose grid follows the values ignores it.

        Args:
            lo, hi: float32[] or float32[channels] ends; widened so that they contain 0.
        """

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The grid that the forward map uses now.

        Args:
            x: the weights, where the grid depends on them.

        Returns:
            float32 scale and int32 zero point, [] or [channel dims].
        """
        raise NotImplementedError

    def codes(self, w: Any) -> np.ndarray:
        """Integers that weights become, by the forward map itself.

        Args:
            w: float32 weights.

        Returns:
            int8 (int16 beyond 8 bits), shaped as w; codes * scale == call(w), bit for bit.

        Raises:
            ModelError: the forward values lie on no grid of one scale per channel.
        """
        real = ops.convert_to_numpy(self(ops.convert_to_tensor(w, "float32"), training=False))
        scale = ops.convert_to_numpy(self.spread(self.grid(w)[0], real.ndim))
        q = np.rint(real / scale).astype(np.int32)
        inside = np.all((q >= self.spec.qmin) & (q <= self.spec.qmax))
        if not (inside and np.array_equal(q.astype(np.float32) * scale, real)):
            raise ModelError(f"Quantizer {self.name!r}: the weights are on no grid; is it enabled?")
        return q.astype(np.int8 if self.bits <= 8 else np.int16)

    def channels(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the scales for a tensor of `shape`."""
        return tuple(shape[axis] for axis in self.axes or ())

    def spread(self, values: Any, rank: int) -> Any:
        """Reshape values[channel dims] so that they broadcast against a tensor of `rank`."""
        if self.axes is None:
            return values
        shape = [1] * rank
        for axis, size in zip(self.axes, values.shape, strict=True):
            shape[axis] = int(size)
        return ops.reshape(values, shape)

    def reduced(self, rank: int) -> tuple[int, ...]:
        """The axes that share one scale in a tensor of `rank`."""
        kept = {axis % rank for axis in self.axes or ()}
        return tuple(axis for axis in range(rank) if axis not in kept)

    def compute_output_shape(self, input_shape: Any, *args: Any, **kwargs: Any) -> Any:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """All arguments of the constructor."""
        config = super().get_config()
        config.update(
            bits=self.bits,
            symmetric=self.symmetric,
            narrow=self.narrow,
            axes=None if self.axes is None else list(self.axes),
            enabled=self.enabled,
            frozen=self.frozen,
        )
        return config


def checked_range(lo: Any, hi: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Finite float32 ends that contain 0.

    Raises:
        ModelError: NaN, infinity, or an upper end below the lower one.
    """
    low, high = np.asarray(lo, np.float32), np.asarray(hi, np.float32)
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low <= high)):
        raise ModelError(f"Quantizer {name!r}: no range to start from: [{lo}, {hi}].")
    return np.minimum(low, 0), np.maximum(high, 0)


def grid_of(lo: float, hi: float, spec: QSpec) -> tuple[np.ndarray, np.ndarray]:
    """Scale and zero point of an activation's range, as TFLite's arithmetic gives them."""
    params = QParams.from_range(spec, Range(float(lo), float(hi)))
    return params.scale, params.zero_point
