"""Nearest rounding: the baseline that every other rounder must beat on the layer's output."""

from __future__ import annotations

import numpy as np

from tfq_ext.spec import QParams


def nearest(weight: np.ndarray, params: QParams) -> np.ndarray:
    """q = clip(round(w / s) + z), ties away from zero; int8 of the weight's shape."""
    return params.encode(weight).astype(np.int8)
