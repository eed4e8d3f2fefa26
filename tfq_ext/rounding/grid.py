"""The grid of a weight: one scale per tensor or per output channel, by maximum or by MSE."""

from __future__ import annotations

import numpy as np

from tfq_ext._table import Table
from tfq_ext.errors import SpecError
from tfq_ext.rounding.layer_data import LayerData, squared_error
from tfq_ext.rounding.rows import to_rows
from tfq_ext.spec import QParams, QSpec, Range

FLOOR = 1e-9  # scale of a channel whose weights are all 0
_SHRINK_8 = np.linspace(1.0, 0.8, 21)  # 8 bits never clip more
_SHRINK = np.linspace(1.0, 0.3, 71)  # 1 % steps; Gaussian 4-bit optimum lies near 0.62


def weight_params(
    weight: np.ndarray, spec: QSpec, *, scale: str = "max", data: LayerData | None = None
) -> QParams:
    """Grid of a weight.

    Args:
        weight: float32[...]; the channel axis is `spec.axis`, None for one scale.
        spec: bits, symmetric or not, narrow or not.
        scale: "max" covers the largest weight; "mse" minimises the squared rounding error of
            each channel over shrink factors of that (METHODS: BRECQ's 1 % grid, L2); "output"
            minimises the error of the layer's output instead, where there are data.
        data: of the layer's inputs, for "output"; the weight is then [C, n] rows, axis 0 or None.

    Returns:
        QParams; dead channels (all 0) get scale 1e-9.

    Raises:
        SpecError: NaN or inf among the weights.
    """
    if not np.all(np.isfinite(weight)):
        raise SpecError(f"The weight has {int(np.sum(~np.isfinite(weight)))} NaN or inf values.")
    channels = _channels_first(np.asarray(weight, np.float32), spec.axis)
    if scale == "output" and data is not None and np.ndim(weight) == 2:
        return _by_output(np.asarray(weight, np.float32), spec, data)
    return SCALES[scale](channels, spec)


def _channels_first(weight: np.ndarray, axis: int | None) -> np.ndarray:
    """float32[C, n]; one row when there is one scale."""
    return weight.reshape(1, -1) if axis is None else to_rows(weight, axis)


def _covering(rows: np.ndarray, spec: QSpec, shrink: np.ndarray | float = 1.0) -> QParams:
    lo = np.minimum(rows.min(axis=1, initial=0.0), 0.0) * shrink
    hi = np.maximum(rows.max(axis=1, initial=0.0), 0.0) * shrink
    if spec.symmetric:
        scale = np.maximum(np.maximum(-lo, hi) / spec.qmax, FLOOR).astype(np.float32)
        return _params(spec, scale, np.zeros(len(scale), np.int32))
    grids = [QParams.from_range(spec.on(None), Range.of(a, b)) for a, b in zip(lo, hi, strict=True)]
    return _params(
        spec, np.array([g.scale for g in grids]), np.array([g.zero_point for g in grids])
    )


def _params(spec: QSpec, scale: np.ndarray, zero: np.ndarray) -> QParams:
    if spec.axis is None:
        return QParams(spec, scale[0], zero[0])
    return QParams(spec, scale, zero)


def _by_max(rows: np.ndarray, spec: QSpec) -> QParams:
    return _covering(rows, spec)


def _by_mse(rows: np.ndarray, spec: QSpec) -> QParams:
    row_spec = spec.on(0)
    best = np.full(len(rows), np.inf)
    factor = np.ones(len(rows))
    for f in _SHRINK:
        grid = _covering(rows, row_spec, f)
        error = np.square(grid.fake_quant(rows) - rows).sum(axis=1, dtype=np.float64)
        better = error < best
        best[better], factor[better] = error[better], f
    return _covering(rows, spec, factor)


def _by_output(rows: np.ndarray, spec: QSpec, data: LayerData) -> QParams:
    """As `_by_mse`, on the layer's output; with one scale, on the sum over the channels."""
    best: np.ndarray | None = None
    widest = _by_max(_channels_first(rows, spec.axis), spec)
    factor = np.ones(np.shape(widest.scale))
    for f in _SHRINK if spec.bits <= 4 else _SHRINK_8:
        grid = QParams(spec, widest.scale * np.float32(f), widest.zero_point)
        error = squared_error(rows, grid.fake_quant(rows), data)
        error = error if spec.axis is not None else error.sum()
        better = np.ones(np.shape(error), bool) if best is None else error < best
        best = error if best is None else np.where(better, error, best)
        factor = np.where(better, f, factor)
    return QParams(spec, (widest.scale * factor).astype(np.float32), widest.zero_point)


SCALES = Table("weight scale", {"max": _by_max, "mse": _by_mse, "output": _by_mse})
