"""Sums of floats without rounding, so that no order and no grouping of the terms changes a bit.

A sum is one long integer in units of 2^low, kept as limbs of 32 bits in int64: adding a float
touches three limbs, and the upper half of each int64 takes the carries until they are propagated.

Source: Kulisch's long accumulator (Computer Arithmetic and Validity, chapter 8), cut to the
exponents that sums of float32 and of their squares can have.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tfq_ext.errors import StatsError

_LIMB = 32
_CALLS_BEFORE_CARRY = 1 << 29  # a call moves a limb by less than 2^33; int64 holds 2^63


@dataclass(frozen=True)
class Grid:
    """Which sums are exact: multiples of 2^low below 2^high in magnitude."""

    low: int
    high: int

    @property
    def limbs(self) -> int:
        """Limbs that hold every such sum, sign and the spill of a 53-bit mantissa included."""
        return -(-(self.high - self.low) // _LIMB) + 1


# float32 is a multiple of 2^-149 below 2^128, a float64 sum of such is again a multiple of 2^-149,
# and their squares are multiples of 2^-298 below 2^256. 64 bits more: up to 2^63 values.
SUMS = Grid(-149, 192)
SQUARES = Grid(-298, 320)


@dataclass(frozen=True, eq=False)
class ExactSum:
    """C sums, exact: sum[c] = 2^grid.low * sum over l of limbs[l, c] * 2^(32 l).

    Args:
        grid: what can be held.
        limbs: int64[L, C] in canonical form (all but the last in [0, 2^32)), so that equal sums
            have equal limbs. The array is taken over and becomes read-only.

    Raises:
        StatsError: limbs of another shape or dtype, or not canonical.
    """

    grid: Grid
    limbs: np.ndarray

    def __post_init__(self) -> None:
        limbs = self.limbs
        if limbs.ndim != 2 or len(limbs) != self.grid.limbs or limbs.dtype != np.int64:
            raise StatsError(
                f"An exact sum has int64[{self.grid.limbs}, C] limbs, got {limbs.dtype}"
                f"{list(limbs.shape)}."
            )
        if np.any(limbs[:-1] >> _LIMB):
            raise StatsError("The limbs of an exact sum are not canonical: carries are pending.")
        limbs.flags.writeable = False

    @classmethod
    def zeros(cls, channels: int, grid: Grid) -> ExactSum:
        """C sums of nothing."""
        return cls(grid, np.zeros((grid.limbs, channels), np.int64))

    @classmethod
    def of(cls, values: np.ndarray, grid: Grid) -> ExactSum:
        """One term per channel; values float64[C]."""
        adder = Adder(len(values), grid)
        adder.add(values)
        return adder.freeze()

    def __add__(self, other: ExactSum) -> ExactSum:
        if self.grid != other.grid or self.limbs.shape != other.limbs.shape:
            raise StatsError(
                f"Exact sums over {self.channels} and {other.channels} channels do not add."
            )
        return ExactSum(self.grid, carried(self.limbs + other.limbs))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ExactSum):
            return NotImplemented
        return self.grid == other.grid and bool(np.array_equal(self.limbs, other.limbs))

    __hash__ = None  # type: ignore[assignment]

    @property
    def channels(self) -> int:
        """Number of sums, C."""
        return int(self.limbs.shape[1])

    def integers(self) -> list[int]:
        """The sums in units of 2^grid.low, as Python integers; C of them."""
        low = np.ascontiguousarray(self.limbs[:-1].T.astype("<u4"))
        return [
            int.from_bytes(limbs.tobytes(), "little") + (int(last) << _LIMB * len(limbs))
            for limbs, last in zip(low, self.limbs[-1], strict=True)
        ]

    def total(self) -> np.ndarray:
        """The sums rounded once, to nearest even; float64[C]."""
        unit = 1 << -self.grid.low
        return np.array([n / unit for n in self.integers()], np.float64)


class Adder:
    """The mutable side of `ExactSum`: add floats in place, freeze when done.

    Carries are propagated every 2^29 calls of `add`; the number of samples is not bounded by it.
    """

    def __init__(self, channels: int, grid: Grid) -> None:
        self.grid = grid
        self._limbs = np.zeros((grid.limbs, channels), np.int64)
        self._calls = 0

    def add(self, values: np.ndarray) -> None:
        """Add float64[C], one term per channel.

        Raises:
            StatsError: a term that is inf, NaN or outside the grid; the adder is then unusable.
        """
        from tfq_ext.numerics.scan import deposit  # numba: 0.3 s that reading statistics needs not

        if not deposit(values, self.grid.low, self._limbs):
            raise StatsError(
                f"Only multiples of 2^{self.grid.low} below 2^{self.grid.high} can be summed "
                f"exactly, got {values.min()}..{values.max()}."
            )
        self._calls += 1
        if self._calls == _CALLS_BEFORE_CARRY:
            self._limbs, self._calls = carried(self._limbs), 0

    def freeze(self) -> ExactSum:
        """What has been added so far; the adder may go on."""
        return ExactSum(self.grid, carried(self._limbs))


def carried(limbs: np.ndarray) -> np.ndarray:
    """The canonical form of int64[L, C]: all limbs but the last in [0, 2^32); a copy."""
    limbs = limbs.copy()
    for lower, upper in pairwise(limbs):
        upper += lower >> _LIMB
        lower &= (1 << _LIMB) - 1
    return limbs
