"""Soft rounding: how far up each weight goes, a number between 0 and 1 with a slope."""

from __future__ import annotations

import numpy as np


def soft_start(steps: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """V with floor + h(V) = steps, float32; `steps` in units of the scale."""
    h = np.clip(steps.astype(np.float64) - floor, 0.0, 1.0)
    return -np.log(1.2 / (h + 0.1) - 1.0).astype(np.float32)


def soften(v: np.ndarray) -> np.ndarray:
    """h(V)."""
    return np.clip(1.2 / (1.0 + np.exp(-v.astype(np.float64))) - 0.1, 0.0, 1.0)
