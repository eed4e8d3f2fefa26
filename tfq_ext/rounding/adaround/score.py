"""Which codes are better: by what a layer puts out, its activation included."""

from __future__ import annotations

import numpy as np

from tfq_ext.rounding.layer_data import LayerData, apply_rows, squared_error
from tfq_ext.spec import QParams

_MARGIN = 1e-5  # of the error: less is what summing in float32 may make up


def patch_error(weight: np.ndarray, reals: np.ndarray, data: LayerData) -> np.ndarray:
    """E (f(w x + b) - f(w^ x~ + b))^2 of each channel over the patches, float64[C].

    Args:
        weight: float32[C, n] the float weight; its outputs are in the patches.
        reals: float32[C, n] what the codes stand for.
        data: of the layer; without patches `squared_error` answers.
    """
    patches = data.patches
    if patches is None:
        return squared_error(weight, reals, data)
    got, wanted = (
        np.clip(y + patches.bias, patches.lo, patches.hi)
        for y in (apply_rows(reals, patches.rough), patches.target)
    )
    return np.square(got - wanted, dtype=np.float64).mean(axis=0)


def least_error(
    weight: np.ndarray,
    params: QParams,
    data: LayerData,
    tried: list[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Of each channel the codes that err least over the patches, and by how much.

    Where two err alike (a channel that the activation mutes on every patch) the error before the
    activation decides: it knows all positions.

    Args:
        weight: float32[C, n].
        params: the grid.
        data: of the layer.
        tried: (int8[C, n], float64[C] error over the patches) each; the first stays on a draw.
    """
    best, least = tried[0]
    before = squared_error(weight, params.decode(best), data)
    for codes, error in tried[1:]:
        moments = squared_error(weight, params.decode(codes), data)
        draw = np.abs(error - least) <= _MARGIN * least
        won = np.where(draw, moments < before * (1 - _MARGIN), error < least)
        best = np.where(won[:, None], codes, best)
        least, before = np.where(won, error, least), np.where(won, moments, before)
    return best, least
