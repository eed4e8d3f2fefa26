"""One call of an integer op, and the arithmetic that its kernels share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tfq_ext.numerics.fixedpoint import (
    MULTIPLY,
    Integers,
    quantize_multiplier,
    quantize_multipliers,
    requantize_float,
    round_away,
)

Array = npt.NDArray[Any]
_BOUNDS = {"int4": (-8, 7), "int2": (-2, 1)}


class Unsupported(Exception):
    """This reference has no such case; the message says which. Never leaves the package."""


@dataclass(frozen=True, eq=False)
class Grid:
    """Type, scale(s) and zero point(s) of one tensor.

    Args:
        dtype: "int8", "uint8", "int16", "int4", "int32", "int64", "float32", "bool", ...
        scale: float32[K]; empty where the tensor has none.
        zero: int64[K].
        axis: of the tensor, along which K scales lie.
        shape: of this call.
    """

    dtype: str
    scale: npt.NDArray[np.float32]
    zero: Integers
    axis: int = 0
    shape: tuple[int, ...] = ()

    @property
    def s(self) -> np.float32:
        """The scale of a tensor that has one."""
        if len(self.scale) != 1:
            raise Unsupported(f"{len(self.scale)} scales where the kernel takes one")
        return np.float32(self.scale[0])

    @property
    def z(self) -> int:
        """The zero point of a tensor that has one."""
        return int(self.zero[0]) if len(self.zero) else 0

    @property
    def low(self) -> int:
        """Smallest code."""
        return _BOUNDS[self.dtype][0] if self.dtype in _BOUNDS else int(np.iinfo(self.dtype).min)

    @property
    def high(self) -> int:
        """Largest code."""
        return _BOUNDS[self.dtype][1] if self.dtype in _BOUNDS else int(np.iinfo(self.dtype).max)

    def same(self, other: Grid) -> bool:
        """Whether the codes of both mean the same reals."""
        return np.array_equal(self.scale, other.scale) and np.array_equal(self.zero, other.zero)


@dataclass(frozen=True, eq=False)
class Call:
    """What a kernel is given.

    Args:
        code: the op.
        options: its schema options object, or None.
        inputs: codes as stored (4-bit ones unpacked to int8), None for an absent input.
        grids: of the inputs, in their order; None where absent.
        outputs: grids of the outputs, their shapes those of this call.
        rounding: "double", "single" or "xnnpack": the arithmetic to follow.
    """

    code: str
    options: Any
    inputs: tuple[Array | None, ...]
    grids: tuple[Grid | None, ...]
    outputs: tuple[Grid, ...]
    rounding: str = "double"

    def x(self, k: int = 0) -> Array:
        """Codes of input `k`."""
        values = self.inputs[k] if k < len(self.inputs) else None
        if values is None:
            raise Unsupported(f"input {k} is absent")
        return values

    def grid(self, k: int = 0) -> Grid:
        """Grid of input `k`."""
        found = self.grids[k] if k < len(self.grids) else None
        if found is None:
            raise Unsupported(f"input {k} is absent")
        return found

    def has(self, k: int) -> bool:
        """Whether optional input `k` is given."""
        return k < len(self.inputs) and self.inputs[k] is not None

    @property
    def y(self) -> Grid:
        """Grid of the first output."""
        return self.outputs[0]

    def option(self, name: str, default: Any) -> Any:
        """A field of the options, or what TFLite assumes without them."""
        value = getattr(self.options, name, None)
        return default if value is None else value

    def centred(self, k: int = 0, dtype: type = np.int32) -> Array:
        """q - z of input `k`."""
        return self.x(k).astype(dtype) - dtype(self.grid(k).z)


def real(*scales: np.float32) -> float:
    """Scales as doubles, the first divided by the last, those between multiplied in."""
    product = float(scales[0])
    for s in scales[1:-1]:
        product *= float(s)
    return product / float(scales[-1])


def fused_range(call: Call) -> tuple[int, int]:
    """Lowest and highest code that the fused activation leaves."""
    return activation_range(call, int(call.option("fusedActivationFunction", 0)))


_LIMITS: dict[int, tuple[float | None, float | None]] = {
    0: (None, None),  # NONE
    1: (0.0, None),  # RELU
    2: (-1.0, 1.0),  # RELU_N1_TO_1
    3: (0.0, 6.0),  # RELU6
}


def activation_range(call: Call, function: int) -> tuple[int, int]:
    """[low, high] codes of the output under an activation; ties of 6/s as the kernel rounds them.

    Raises:
        Unsupported: an activation that no integer kernel fuses (TANH, SIGN_BIT).
    """
    if function not in _LIMITS:
        raise Unsupported(f"fused activation {function}")
    y = call.y
    nearest = np.rint if call.rounding == "xnnpack" else round_away
    low, high = (
        None if v is None else y.z + int(nearest(np.float32(v) / y.s)) for v in _LIMITS[function]
    )
    lowest, highest = y.low, y.high
    return (
        lowest if low is None else min(max(lowest, low), highest),
        highest if high is None else max(min(highest, high), lowest),
    )


def scaled(call: Call, x: npt.ArrayLike, multiplier: float) -> Integers:
    """x M by the fixed-point multiplier of M, rounded as the call asks."""
    m0, shift = quantize_multiplier(multiplier)
    return MULTIPLY.get(call.rounding, MULTIPLY["single"])(x, m0, shift)


def to_output(call: Call, x: npt.ArrayLike, multiplier: float, limits: tuple[int, int]) -> Array:
    """z + x M, clipped to `limits`, as codes of the first output."""
    return finish(call, scaled(call, x, multiplier) + call.y.z, limits)


def to_output_float(call: Call, x: npt.ArrayLike, scale: Any, limits: tuple[int, int]) -> Array:
    """The same by XNNPACK's float32 product."""
    return requantize_float(x, scale, call.y.z, *limits).astype(call.y.dtype)


def finish(call: Call, codes: npt.ArrayLike, limits: tuple[int, int] | None = None) -> Array:
    """Clip (to the type without limits) and store."""
    low, high = limits or (call.y.low, call.y.high)
    return np.clip(codes, low, high).astype(call.y.dtype)


def per_channel(reals: Iterable[float], channels: int) -> tuple[Integers, Integers]:
    """(M0, shift) of each output channel; one multiplier serves all."""
    m0, shift = quantize_multipliers(list(reals))
    return np.broadcast_to(m0, channels), np.broadcast_to(shift, channels)
