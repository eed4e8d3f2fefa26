"""From an 8-bit image to the values that a model was trained on, and the exact map between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import DataError, UnknownName

Size = int | tuple[int, int] | None
Numbers = float | tuple[float, ...]
MODES = ("RGB", "L", "RGBA")
LAYOUTS = ("NHWC", "NCHW")


@dataclass(frozen=True)
class Preprocess:
    """x = (pixel * scale - mean) / std, after resizing and cropping the 8-bit image.

    Args:
        resize: pixels; one number for the shorter side (aspect kept), (height, width) for both.
            Without resize and crop an image is resized to the model's height and width.
        crop: pixels, taken from the centre after resizing; one number is a square.
        scale, mean, std: one number, or one per channel; mean and std in units of x after scale.
        mode: "RGB", "L" or "RGBA"; None follows the model's channel count.
        layout: "NHWC" or "NCHW"; None follows the model's shape.

    Resampling is bilinear with antialiasing (Pillow's); the image stays 8-bit until scaled.
    """

    resize: Size = None
    crop: Size = None
    scale: Numbers = 1.0
    mean: Numbers = 0.0
    std: Numbers = 1.0
    mode: str | None = None
    layout: str | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "crop"):
            _check_size(name, getattr(self, name))
        for name in ("scale", "mean", "std"):
            if not np.all(np.isfinite(getattr(self, name))):
                raise DataError(f"preprocess: {name} must be finite, got {getattr(self, name)}.")
        if np.any(np.asarray(self.std) == 0) or np.any(np.asarray(self.scale) == 0):
            raise DataError(f"preprocess: scale ({self.scale}) and std ({self.std}) cannot be 0.")
        for name, known in (("mode", MODES), ("layout", LAYOUTS)):
            if getattr(self, name) not in (None, *known):
                raise DataError(
                    f"preprocess: {name} is {', '.join(known)}, got {getattr(self, name)!r}."
                )

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read the command line's form, `resize=256,crop=224,mean=0.5:0.5:0.5,scale=1/255`."""
        found: dict[str, object] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = part.partition("=")
            try:
                found[name.strip()] = _READERS[name.strip()](value.strip())
            except UnknownName as error:
                raise DataError(f"preprocess: {error}") from None
            except (ValueError, ZeroDivisionError):
                raise DataError(
                    f"preprocess: cannot read {part!r}. Write sizes as 224 or 224x320, numbers as "
                    "0.5, 1/255 or, per channel, 0.485:0.456:0.406."
                ) from None
        return cls(**found)  # type: ignore[arg-type]

    def __str__(self) -> str:
        parts = []
        for item in fields(self):
            value = getattr(self, item.name)
            if value != item.default:
                join = "x" if item.name in ("resize", "crop") else ":"
                many = isinstance(value, tuple)
                parts.append(f"{item.name}={join.join(map(str, value)) if many else value}")
        return ",".join(parts)

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """(a, b) of x = a * pixel + b: float64[] or float64[C] each."""
        scale, mean, std = (np.asarray(v, np.float64) for v in (self.scale, self.mean, self.std))
        return scale / std, -mean / std

    def affine(self) -> tuple[float, float] | None:
        """(scale, zero_point) of x = scale * (pixel - zero_point), one map for all channels.

        The uint8 input can then be quantized without any error, provided that zero_point is a
        whole number of 0..255: (x - 127)/128 gives 127; x/127.5 - 1 gives 127.5, which is not.
        """
        a, b = (np.unique(c) for c in self.coefficients())
        if a.size > 1 or b.size > 1:
            return None
        return float(a[0]), float(-b[0] / a[0]) + 0.0

    def values(self, pixels: np.ndarray, *, axis: int, dtype: str) -> np.ndarray:
        """The affine map, channel by channel, in float64 rounded once to float32.

        Args:
            pixels: numbers [..], of any dtype.
            axis: where the channels lie.
            dtype: what the model's input holds; integers cannot take a map other than x = pixel.
        """
        a, b = self.coefficients()
        if np.all(a == 1) and np.all(b == 0):
            return pixels
        if np.dtype(dtype).kind != "f":
            raise DataError(
                f"the input is {dtype}, so scale, mean and std cannot apply. Leave them out."
            )
        channels = pixels.shape[axis]
        for name in ("scale", "mean", "std"):
            given = np.size(getattr(self, name))
            if given not in (1, channels):
                raise DataError(f"{name} has {given} values, the image has {channels} channels.")
        form = [1] * pixels.ndim
        form[axis] = -1
        mapped = pixels * (a.reshape(form) if a.ndim else a) + (b.reshape(form) if b.ndim else b)
        return mapped.astype(np.float32)

    def channel_axis(self, shape: tuple[int, ...]) -> int:
        """Where the channels of an image input of this shape lie: -1 (NHWC) or 1 (NCHW)."""
        first = shape[1] in (1, 3, 4) and shape[-1] not in (1, 3, 4)
        return {"NHWC": -1, "NCHW": 1, None: 1 if first else -1}[self.layout]


def _check_size(name: str, size: Size) -> None:
    sides = (size,) if isinstance(size, int) else size
    if sides is not None and (len(sides) not in (1, 2) or min(sides) < 1):
        raise DataError(f"preprocess: {name} takes n or (height, width), over 0; got {size}.")


def _size(text: str) -> Size:
    sides = tuple(int(side) for side in text.split("x"))
    if len(sides) > 2:
        raise ValueError(text)
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])


def _numbers(text: str) -> Numbers:
    values = tuple(_number(value) for value in text.split(":"))
    return values[0] if len(values) == 1 else values


def _number(text: str) -> float:
    over, slash, under = text.partition("/")
    return float(Fraction(over) / Fraction(under if slash else 1))


_READERS: Table[Callable[[str], object]] = Table(
    "preprocess option",
    {
        "resize": _size,
        "crop": _size,
        "scale": _numbers,
        "mean": _numbers,
        "std": _numbers,
        "mode": str.upper,
        "layout": str.upper,
    },
)
