"""The better of several roundings, channel by channel, on the layer's output."""

from __future__ import annotations

import numpy as np

from tfq_ext.rounding.layer_data import LayerData, squared_error
from tfq_ext.rounding.nearest import nearest
from tfq_ext.spec import QParams

_MARGIN = 1e-9  # relative: what summing in another order may change must not choose


def better_than_nearest(
    weight: np.ndarray, params: QParams, data: LayerData, *candidates: np.ndarray
) -> np.ndarray:
    """Nearest rounding's codes, or a candidate's in the channels whose output it brings closer.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        candidates: int8[C, n] codes each; an earlier one stays on a draw.

    Returns:
        int8[C, n]. No channel's `squared_error` is above nearest rounding's.
    """
    best = nearest(weight, params)
    least = squared_error(weight, params.decode(best), data)
    for codes in candidates:
        error = squared_error(weight, params.decode(codes), data)
        won = error < least * (1 - _MARGIN)
        best = np.where(won[:, None], codes, best)
        least = np.where(won, error, least)
    return best


def undominated(
    weight: np.ndarray,
    params: QParams,
    data: LayerData,
    codes: np.ndarray,
    fallback: np.ndarray,
) -> np.ndarray:
    """`codes`, or `fallback` in the channels where that has as many zeros and a smaller error.

    Args:
        weight: float32[C, n].
        params: the grid, its axis 0 or None.
        data: of the layer.
        codes: int8[C, n] found on the data.
        fallback: int8[C, n] found without.

    Returns:
        int8[C, n].
    """
    zero = np.asarray(params.zero_point).reshape(-1, 1)
    fewer = np.sum(codes == zero, axis=1) <= np.sum(fallback == zero, axis=1)
    worse = squared_error(weight, params.decode(codes), data) > (1 + _MARGIN) * squared_error(
        weight, params.decode(fallback), data
    )
    return np.where((fewer & worse)[:, None], fallback, codes)
