"""Reals on the edges of a grid, and which of them lie on a tie."""

from __future__ import annotations

import numpy as np

HAIR = 3e-6  # of a step, per code: float32 carries 1.2e-7 relative, a few roundings deep


def edges(scale: float, low: int, high: int) -> np.ndarray:
    """Codes low - 2 to high + 2: each one, half a step and a hair either side; float32[n]."""
    codes = np.arange(low - 2, high + 3, dtype=np.float64)
    hair = HAIR * np.maximum(np.abs(codes), 1)
    rows = [codes, codes - 0.5, codes + 0.5, codes - hair, codes + hair]
    rows += [codes + 0.5 - hair, codes + 0.5 + hair]
    return np.unique((np.concatenate(rows) * scale).astype(np.float32))


def on_tie(x: np.ndarray, scale: np.ndarray | float, hair: float = HAIR) -> np.ndarray:
    """Whether x / s lies within a hair of half a step, where backends may round apart."""
    u = np.abs(np.asarray(x, np.float64) / np.asarray(scale, np.float64))
    return np.abs(u - np.floor(u) - 0.5) <= hair * np.maximum(u, 1)
