"""The contract of every quantizer: a Keras layer that holds a grid and maps tensors onto it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import ModelError
from tfq_ext.qat.fake_quant import grid_of_range
from tfq_ext.spec import QParams, QSpec, Range, range_for

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
Layer: Any = keras.layers.Layer
register: Any = keras.saving.register_keras_serializable(package="tfq_ext")


class Quantizer(Layer):
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

    fake_quantizes = True  # how others tell a QAT model without importing this

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
        self._frozen = bool(frozen)
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
        new = QSpec(bits, symmetric=self.symmetric, narrow=self.narrow)
        self.refit(self._spec, new)
        self._spec = new

    @property
    def frozen(self) -> bool:
        """Whether ranges and scales stand still; momentum does not move them either."""
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        if bool(frozen) != self._frozen:
            self.hold()
        self._frozen = bool(frozen)

    def refit(self, old: QSpec, new: QSpec) -> None:
        """The codes change: a leaf that stores a scale changes it so that the range stays."""

    def hold(self) -> None:
        """`frozen` is about to change: a leaf that trains a number takes it as it is now."""

    def start(self, lo: Any, hi: Any) -> None:
        """Set the range before training; a leaf whose grid follows the values ignores it.

        Args:
            lo, hi: float32[] or float32[channels] ends; widened so that they contain 0.
        """

    def start_from(self, w: Any) -> None:
        """Set the scales by the weights themselves; their range, where a leaf knows no better.

        Args:
            w: float32 weights of the shape that the quantizer was built for.
        """
        real = np.asarray(w, np.float32)
        axes = self.reduced(real.ndim)
        self.start(real.min(axis=axes), real.max(axis=axes))

    def grid(self, x: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """The grid that the forward map uses now.

        Args:
            x: the weights, where the grid depends on them.

        Returns:
            float32 scale and int32 zero point, [] or [channel dims].
        """
        raise NotImplementedError

    def step(self, x: Any = None) -> Any:
        """The scale of `grid` in the graph; float32[] or [channel dims].

        Args:
            x: the weights, where the grid depends on them.
        """
        raise NotImplementedError

    def codes(self, w: Any) -> np.ndarray:
        """Integers that weights become, by the forward map itself.

        Args:
            w: float32 weights.

        Returns:
            int8 (int16 beyond 8 bits), shaped as w; (codes - zero) * scale == call(w), bit for bit.

        Raises:
            ModelError: the forward values lie on no grid of one scale per channel.
        """
        real = ops.convert_to_numpy(self(ops.convert_to_tensor(w, "float32"), training=False))
        scale, zero = (np.asarray(self.spread(v, real.ndim)) for v in self.grid(w))
        q = np.rint(real / scale)
        if not np.array_equal(q.astype(np.float32) * scale, real):
            raise ModelError(f"Quantizer {self.name!r}: the weights are on no grid; is it enabled?")
        q += zero
        if np.any(q < self.spec.qmin) or np.any(q > self.spec.qmax):
            raise ModelError(f"Quantizer {self.name!r}: codes {q.min()}..{q.max()} do not exist.")
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
        return (np if isinstance(values, np.ndarray) else ops).reshape(values, shape)

    def reduced(self, rank: int) -> tuple[int, ...]:
        """The axes that share one scale in a tensor of `rank`."""
        kept = {axis % rank for axis in self.axes or ()}
        return tuple(axis for axis in range(rank) if axis not in kept)

    def rows(self, w: Any) -> np.ndarray:
        """Weights with what shares a scale in one row; float32[channels, n]."""
        real = np.asarray(w, np.float32)
        kept = [axis % real.ndim for axis in self.axes or ()]
        moved = np.transpose(real, [*kept, *self.reduced(real.ndim)])
        return moved.reshape(int(np.prod(self.channels(real.shape))), -1)

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
    """Scale and zero point of an activation's range, as the forward map makes them."""
    low, high = ops.convert_to_tensor(lo, "float32"), ops.convert_to_tensor(hi, "float32")
    scale, zero = grid_of_range(low, high, spec)
    return ops.convert_to_numpy(scale), ops.convert_to_numpy(zero).astype(np.int32)


def file_range(lo: float, hi: float, spec: QSpec) -> tuple[float, float]:
    """The range, moved by an ulp or two where the file's arithmetic would nudge otherwise.

    The graph nudges in float32 and rounds ties up, the converter in float64 and away from zero:
    [-1.75, 125.75] has zero point -124 there and -125 here.

    Returns:
        ends for which `QParams.from_range` gives `grid_of(lo, hi)`.
    """
    params, asked = QParams(spec, *grid_of(lo, hi, spec)), Range.of(lo, hi)
    made = QParams.from_range(spec, asked)
    if (made.scale, made.zero_point) != (params.scale, params.zero_point):
        asked = range_for(params)
    return asked.min, asked.max
