"""What pruning and clustering leave in a weight: zeros, and few distinct values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST = 256  # distinct values; TFMOT's clustering knows 2 to some dozens
PER_VALUE = 4  # elements a value, below which few values are no clusters but a small tensor
SMALLEST = 64  # elements
_LOOK = 4096  # elements that tell most weights apart from clustered ones


@dataclass(frozen=True)
class Structure:
    """Zeros and distinct values of one tensor.

    Args:
        size: elements.
        zeros: how many are 0.
        distinct: distinct values.
        in_channel: the most distinct values that one output channel has; BatchNorm folding
            scales each channel, which multiplies `distinct` and leaves this.
        channel_size: elements of a channel.
    """

    size: int
    zeros: int
    distinct: int
    in_channel: int
    channel_size: int

    @classmethod
    def of(cls, values: np.ndarray, axis: int, zeros: int | None = None) -> Structure:
        """Counted.

        Args:
            values: reals, or codes.
            axis: of the output channels.
            zeros: how many stand for 0, where that is not the number 0.
        """
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
        found = int(np.count_nonzero(values == 0)) if zeros is None else zeros
        most = max((int(np.unique(row).size) for row in rows), default=0)
        width = rows.shape[1]
        return cls(int(values.size), found, int(np.unique(values).size), most, width)

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0..1."""
        return self.zeros / self.size if self.size else 0.0

    @property
    def clustered(self) -> bool:
        """Few values for so many elements."""
        return self.size >= SMALLEST and self.distinct <= min(MOST, self.size // PER_VALUE)

    @property
    def clustered_by_channel(self) -> bool:
        """Few values in each channel, though not in the tensor."""
        enough = self.channel_size >= SMALLEST and not self.clustered
        return enough and self.in_channel <= min(MOST, self.channel_size // PER_VALUE)


def clusters(values: np.ndarray) -> np.ndarray | None:
    """The distinct values of a clustered weight, ascending; None for an ordinary one."""
    if values.size < SMALLEST or np.unique(values.reshape(-1)[:_LOOK]).size > MOST:
        return None
    found = np.unique(values)
    return found if found.size <= min(MOST, values.size // PER_VALUE) else None
