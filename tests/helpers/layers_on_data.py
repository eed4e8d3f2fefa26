"""Layers with inputs like those behind a ReLU: correlated, never negative."""

from __future__ import annotations

import numpy as np

from tfq_ext.rounding import LayerData, squared_error, weight_params
from tfq_ext.spec import QParams, QSpec


def inputs(m: int, n: int, seed: int, *, groups: int = 1, correlated: bool = True) -> np.ndarray:
    """float32[m, groups, n]."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(n, n)) * np.exp(-np.arange(n) / 40)[:, None] / 3
    x = rng.normal(size=(m, groups, n))
    return np.maximum(x @ mix if correlated else x, 0).astype(np.float32)


def weights(channels: int, n: int, seed: int = 0) -> np.ndarray:
    """float32[channels, n]."""
    return np.random.default_rng(seed).normal(0, 0.05, (channels, n)).astype(np.float32)


def grid(weight: np.ndarray, bits: int) -> QParams:
    return weight_params(weight, QSpec(bits, narrow=True, axis=0))


def total_error(weight: np.ndarray, codes: np.ndarray, params: QParams, data: LayerData) -> float:
    """Relative error of the layer's output, root mean square over all channels."""
    error = squared_error(weight, params.decode(codes), data)
    return float(np.sqrt(error.sum() / data.power.sum()))
