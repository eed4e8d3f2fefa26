r"""Weights that jump to and fro between two integers, and what is done about them: pure numpy.

A code oscillates when it changes in the direction opposite to its last change. With \( o \) the
indicator of that, the frequency is a moving average:

.. math:: f \leftarrow m\,o + (1 - m) f

Source: Nagel et al. 2203.11086, section 3.3 and algorithm 1. Departure: codes are looked at every
`every` steps, not at each; a weight that flips from step to step is caught by either.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import SpecError


@dataclass(frozen=True, eq=False)
class Trace:
    """What is remembered of one tensor's codes.

    Args:
        codes: int16[...], last seen.
        direction: int8[...], sign of each code's last change; 0 before the first.
        frequency: float32[...], f.
        mean: float32[...], moving average of the codes.
        changed, turned: bool[...], what the last look found.
    """

    codes: np.ndarray
    direction: np.ndarray
    frequency: np.ndarray
    mean: np.ndarray
    changed: np.ndarray
    turned: np.ndarray

    @classmethod
    def start(cls, codes: np.ndarray) -> Trace:
        """First look."""
        none = np.zeros(codes.shape, bool)
        still = np.zeros(codes.shape, np.int8)
        zero, q = np.zeros(codes.shape, np.float32), codes.astype(np.int16)
        return cls(q, still, zero, q.astype(np.float32), none, none)

    def look(self, codes: np.ndarray, momentum: float) -> Trace:
        """Another look.

        Args:
            codes: integers, shaped as before.
            momentum: m, weight of this look in the averages.
        """
        q = codes.astype(np.int16)
        sign = np.sign(q - self.codes).astype(np.int8)
        changed = sign != 0
        turned = sign * self.direction < 0
        m = np.float32(momentum)
        frequency = m * turned + (1 - m) * self.frequency
        mean = m * q + (1 - m) * self.mean
        return Trace(q, np.where(changed, sign, self.direction), frequency, mean, changed, turned)


@dataclass(frozen=True)
class Dampen:
    r"""An extra loss that draws weights to the middle of their bins.

    .. math:: \lambda \sum_i (\hat w_i - \mathrm{clip}(w_i))^2

    \( \lambda \) rises from 0 to `strength` along a cosine, in `stages` steps, each of which
    traces the train function again.

    Source: Nagel et al. 2203.11086, section 4.1.
    """

    strength: float = 0.1
    stages: int = 8

    def __post_init__(self) -> None:
        if not (self.strength > 0 and self.stages >= 1):
            raise SpecError(
                f"Dampen needs strength > 0 and stages >= 1; got {self.strength}, {self.stages}."
            )


@dataclass(frozen=True)
class Freeze:
    """Weights whose frequency passes a threshold stay on the integer they were at most.

    The threshold falls from `start` to `end` along a cosine.

    Args:
        start, end: of the threshold, in oscillations per look.
        momentum: m of the averages.
        every: optimizer steps between two looks; frozen weights are put back at each.

    Source: Nagel et al. 2203.11086, section 4.2 and table 7 (4 bits: 0.1 to 0.01).
    """

    start: float = 0.1
    end: float = 0.01
    momentum: float = 0.01
    every: int = 5

    def __post_init__(self) -> None:
        rates = 0 < self.end <= self.start <= 1 and 0 < self.momentum <= 1
        if not (rates and self.every >= 1):
            raise SpecError(f"Freeze needs 0 < end <= start <= 1, 0 < momentum <= 1; got {self}.")


OSCILLATION: Table[type] = Table("oscillation control", {"dampen": Dampen, "freeze": Freeze})


def control(value: str | Dampen | Freeze | None) -> Dampen | Freeze | None:
    """A name becomes the control with its defaults."""
    if isinstance(value, str):
        return OSCILLATION[value]()
    if value is not None and not isinstance(value, tuple(OSCILLATION.values())):
        raise SpecError(f"oscillation must be one of {', '.join(OSCILLATION)}; got {value!r}.")
    return value


@dataclass(frozen=True, eq=False)
class Pins:
    """Codes of one tensor with those that are frozen.

    Args:
        trace: of all codes; frozen ones no longer count.
        frozen: bool[...].
        integers: int16[...], where they stay.
    """

    trace: Trace
    frozen: np.ndarray = field(repr=False)
    integers: np.ndarray = field(repr=False)

    @classmethod
    def start(cls, codes: np.ndarray) -> Pins:
        """First look; nothing is frozen."""
        return cls(Trace.start(codes), np.zeros(codes.shape, bool), codes.astype(np.int16))

    def look(self, codes: np.ndarray, momentum: float, threshold: float) -> Pins:
        """Another look; codes that oscillate too often are frozen at their mean's integer."""
        seen = np.where(self.frozen, self.integers, codes)
        trace = self.trace.look(seen, momentum)
        new = ~self.frozen & (trace.frequency > threshold)
        integers = np.where(new, np.rint(trace.mean).astype(np.int16), self.integers)
        return Pins(trace, self.frozen | new, integers)
