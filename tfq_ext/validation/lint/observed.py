"""What the tensors of a file held over samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Observed:
    """What one tensor held over all samples.

    Args:
        low, high: smallest and largest value: codes of quantized tensors, else reals.
        at_low, at_high: share of the values that equal the type's smallest / largest code
            (0.0 where the tensor is not quantized).
        outside: share of the fed values beyond the tensor's grid (inputs only).
        count: number of values.
    """

    low: float
    high: float
    at_low: float = 0.0
    at_high: float = 0.0
    outside: float = 0.0
    count: int = 0
