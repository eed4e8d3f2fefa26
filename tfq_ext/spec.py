"""The vocabulary: which integers a tensor may hold, and which reals they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tfq_ext.errors import SpecError


def round_half_away(x: np.ndarray | float) -> np.ndarray:
    """Nearest integer, ties away from zero (C's std::round, which TFLite uses); same dtype."""
    whole = np.trunc(x)
    rest = x - whole  # exact; adding 0.5 first would not be
    return np.asarray(whole + (rest >= 0.5) - (rest <= -0.5))  # copysign takes ten times as long


@dataclass(frozen=True)
class QSpec:
    """Which integers one tensor may hold. Says nothing about real values."""

    bits: int = 8
    symmetric: bool = True
    narrow: bool = False  # drop the most negative code: [-127, 127]
    axis: int | None = None  # None: one scale for the whole tensor

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise SpecError(f"bits must lie in 2..16, got {self.bits}.")
        if self.narrow and not self.symmetric:
            raise SpecError("narrow needs symmetric: only symmetric grids drop a code.")

    @property
    def qmin(self) -> int:
        """Lowest code."""
        return -(2 ** (self.bits - 1)) + (1 if self.narrow else 0)

    @property
    def qmax(self) -> int:
        """Highest code."""
        return 2 ** (self.bits - 1) - 1

    def on(self, axis: int | None) -> QSpec:
        """The same grid with scales along another axis."""
        return replace(self, axis=axis)


INT8_ACTIVATION = QSpec(8, symmetric=False)
INT16_ACTIVATION = QSpec(16, symmetric=True)
INT8_WEIGHT = QSpec(8, narrow=True)
INT4_WEIGHT = QSpec(4, narrow=True)


@dataclass(frozen=True)
class Range:
    """An interval of reals that contains 0; `Range.of` widens any interval so that it does."""

    min: float
    max: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.min) and np.isfinite(self.max)):
            raise SpecError(f"A range must be finite, got [{self.min}, {self.max}].")
        if not self.min <= 0.0 <= self.max:
            raise SpecError(f"A range must contain 0, got [{self.min}, {self.max}].")

    @classmethod
    def of(cls, lo: float, hi: float) -> Range:
        """The smallest range that contains `lo`, `hi` and 0 (Krishnamoorthi, section 2.1)."""
        return cls(min(float(lo), 0.0), max(float(hi), 0.0))

    def __or__(self, other: Range) -> Range:
        return Range(min(self.min, other.min), max(self.max, other.max))

    @property
    def width(self) -> float:
        """max - min, in units of the tensor."""
        return self.max - self.min

    def scaled(self, factor: float) -> Range:
        """Both ends times `factor` (> 0)."""
        return Range(self.min * factor, self.max * factor)


NO_RANGE = Range(0.0, 0.0)


@dataclass(frozen=True)
class QParams:
    """An affine grid: real = scale * (code - zero_point).

    Args:
        spec: which codes exist.
        scale: float32[] or float32[C], > 0, reals per code.
        zero_point: int32[] or int32[C], the code of real 0.

    Source: Krishnamoorthi 1806.08342, equations 1 to 3; Jacob et al. 1712.05877, section 2.1.
    """

    spec: QSpec
    scale: np.ndarray
    zero_point: np.ndarray

    def __init__(self, spec: QSpec, scale: object, zero_point: object = 0) -> None:
        s = np.asarray(scale, np.float32)
        z = np.broadcast_to(np.asarray(zero_point, np.int32), s.shape).copy()
        if s.ndim > 1 or (s.ndim == 1) != (spec.axis is not None):
            raise SpecError(f"Scale of shape {s.shape} does not fit axis={spec.axis}.")
        if not (np.all(np.isfinite(s)) and np.all(s > 0)):
            raise SpecError(f"Scales must be finite and > 0, got {s.min()}..{s.max()}.")
        if np.any(z < spec.qmin) or np.any(z > spec.qmax):
            raise SpecError(f"Zero point {z} is no code of [{spec.qmin}, {spec.qmax}].")
        if spec.symmetric and np.any(z != 0):
            raise SpecError("A symmetric grid has zero point 0.")
        object.__setattr__(self, "spec", spec)
        object.__setattr__(self, "scale", s)
        object.__setattr__(self, "zero_point", z)

    @classmethod
    def from_range(cls, spec: QSpec, r: Range) -> QParams:
        """The grid for a real range, zero point nudged to a code; one scale.

        Symmetric grids take max(|min|, |max|). The arithmetic is that of TFLite's converter
        (scale in float32, then z = round(qmin - min / s), ties away from zero), so that the
        file reads back bit for bit.
        """
        lo, hi = np.float32(r.min), np.float32(r.max)
        if spec.symmetric:
            bound = float(max(-lo, hi))
            return cls(spec, max(bound / spec.qmax, TINY))
        if hi == lo:
            return cls(spec, 1.0, 0)
        scale = np.maximum((hi - lo) / np.float32(spec.qmax - spec.qmin), np.float32(TINY))
        z = round_half_away(spec.qmin - float(lo) / float(scale))
        return cls(spec, scale, int(np.clip(z, spec.qmin, spec.qmax)))

    @property
    def range(self) -> Range:
        """The reals that the outermost codes stand for (one scale only)."""
        s, z = float(self.scale), int(self.zero_point)
        return Range((self.spec.qmin - z) * s, (self.spec.qmax - z) * s)

    def _along(self, values: np.ndarray, ndim: int) -> np.ndarray:
        if self.spec.axis is None:
            return values
        shape = [1] * ndim
        shape[self.spec.axis] = -1
        return values.reshape(shape)

    def encode(self, x: np.ndarray) -> np.ndarray:
        """Codes of `x`: clip(round(x / s) + z), ties away from zero as TFLite rounds; int32."""
        x = np.asarray(x, np.float32)
        q = round_half_away(x / self._along(self.scale, x.ndim))
        q = q + self._along(self.zero_point, x.ndim)
        return np.clip(q, self.spec.qmin, self.spec.qmax).astype(np.int32)

    def decode(self, q: np.ndarray) -> np.ndarray:
        """Reals of codes; float32."""
        q = np.asarray(q)
        shifted = (q.astype(np.int32) - self._along(self.zero_point, q.ndim)).astype(np.float32)
        return np.asarray(self._along(self.scale, q.ndim) * shifted, np.float32)

    def fake_quant(self, x: np.ndarray) -> np.ndarray:
        """decode(encode(x)): the reals that survive."""
        return self.decode(self.encode(x))


TINY = 1e-9  # floor for scales of constant tensors; LiteRT refuses scale 0
_ULPS = (0, 1, -1, 2, -2, 3, -3)


def range_for(params: QParams) -> Range:
    """The range from which `QParams.from_range` makes this very grid; its inverse.

    About one float32 scale in 240 is the quotient of no float32 width by 255 (and one in 32768
    that of none by 32767): its neighbour, one unit in the last place away, is made instead.

    Args:
        params: one scale, at least `TINY`.

    Raises:
        SpecError: a scale per channel, or one below `TINY`.
    """
    spec = params.spec
    if params.scale.ndim or params.scale < np.float32(TINY):
        raise SpecError(f"A range has one scale, at least {TINY:g}; got {params.scale}.")
    s, z = params.scale, int(params.zero_point)
    best = (np.inf, params.range)
    for found in _candidates(spec, float(s), z):
        made = QParams.from_range(spec, found)
        if int(made.zero_point) == z:
            best = min(best, (abs(float(made.scale) - float(s)), found), key=lambda row: row[0])
        if best[0] == 0.0:
            break
    return best[1]


def _candidates(spec: QSpec, s: float, z: int) -> Iterator[Range]:
    """Ranges within a few units in the last place of the one that real arithmetic gives."""
    if spec.symmetric:
        for bound in _near(s * spec.qmax):
            yield Range(-bound, bound)
        return
    for width in _near(s * (spec.qmax - spec.qmin)):
        for lo in _near((spec.qmin - z) * s):
            for hi in _near(width + lo):
                yield Range.of(lo, hi)


def _near(x: float) -> list[float]:
    """`x` in float32, then its neighbours, nearest first; 0 stays alone."""
    bits = np.float32(x).view(np.int32)
    return [float((bits + k).view(np.float32)) for k in _ULPS] if x else [0.0]
