"""Stopping early, and staying right: looks at doubling sizes that share one error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.intervals import PairedDrop, cautious_drop

FIRST = 128  # samples at the first look
ERROR = 0.05  # of everything together
FINAL = 1 - ERROR / 2  # confidence of the interval when no look decided


def error_of(look: int) -> float:
    """What look 1, 2, 3, ... may err: `ERROR / 2 / (look (look + 1))`, in sum ERROR / 2.

    The other half is for the end of the samples, so that all statements of one run are wrong
    with probability `ERROR` at most, however many looks there were.
    """
    return ERROR / 2 / (look * (look + 1))


@dataclass
class Looks:
    """Watches the hits as they come and says when the drop is on one side of the bound.

    Args:
        bound: on the drop, a share.

    Samples must come in random order: a folder of classes in turn would decide on the first.
    """

    bound: float
    done: int = 0

    def __post_init__(self) -> None:
        if not -1 < self.bound < 1:
            raise DataError(f"stop is a bound on the drop, a share in (-1, 1), got {self.bound}.")

    def next_size(self) -> int:
        """Samples that the next look needs."""
        return FIRST * 2**self.done

    def decide(self, reference: np.ndarray, candidate: np.ndarray) -> tuple[int, PairedDrop] | None:
        """(samples used, drop) at the first look that decides, or None; call with all hits so far.

        Looks are taken at their own sizes, whatever has come since, so that the decision does not
        depend on how many samples were under way.
        """
        while len(candidate) >= self.next_size():
            size = self.next_size()
            self.done += 1
            found = cautious_drop(reference[:size], candidate[:size], error_of(self.done))
            if found.hi <= self.bound or found.lo > self.bound:
                return size, found
        return None
