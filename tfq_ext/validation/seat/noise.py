"""Inputs for who has none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfq_ext.tflite.runner import Arrays, Port


def noise(ports: Mapping[str, Port], seed: int = 0, *, whole: bool = False) -> Arrays:
    """Inputs that fit: uniform in -1..1 for reals, zeros for ids, masks and texts.

    Args:
        ports: of the model, by name.
        seed: of the values.
        whole: over all codes of a quantized input: -1..1 may be one or two codes of it.
    """
    rng = np.random.default_rng(seed)
    return {name: _fill(port, rng, whole) for name, port in ports.items()}


def _fill(port: Port, rng: np.random.Generator, whole: bool) -> np.ndarray:
    shape = tuple(1 if n < 0 else n for n in port.shape)
    if port.scale and whole:
        ends = np.iinfo(port.dtype)
        return port.decode(rng.integers(ends.min, ends.max, shape, port.dtype.type, endpoint=True))
    if port.scale or port.dtype.kind == "f":
        return rng.uniform(-1.0, 1.0, shape).astype(np.float32)
    return np.zeros(shape, port.dtype)
