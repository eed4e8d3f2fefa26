"""A weight as rows, one an output channel: the shape in which every rounder sees a layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def to_rows(weight: np.ndarray, axis: int) -> np.ndarray:
    """[C, n] of a weight whose output channels lie along `axis`; other axes keep their order."""
    moved = np.moveaxis(weight, axis, 0)
    return np.ascontiguousarray(moved).reshape(moved.shape[0], -1)


def from_rows(rows: np.ndarray, shape: Sequence[int], axis: int) -> np.ndarray:
    """The inverse of `to_rows`, for a weight of this shape."""
    moved = [shape[axis], *(d for k, d in enumerate(shape) if k != axis % len(shape))]
    return np.ascontiguousarray(np.moveaxis(rows.reshape(moved), 0, axis))
