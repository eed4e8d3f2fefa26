r"""Rounding a layer as integer least squares, in units of each channel's step.

With codes q (zero point taken off), weights w in steps, H and K of `LayerData` and
\( \lambda = \) damp x mean diag H of the group:
\( \min_q \; q \tilde H q^T - 2 w \tilde K q^T, \quad \tilde H = H + \lambda I, \;
\tilde K = K + \lambda I \),
that is the error on the layer's output plus \( \lambda \|q - w\|^2 \). GPTQ, GPFQ and coordinate
descent are all one recurrence on it, `sweep`, with other coefficients.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.spec import QParams

BLOCK = 128  # inputs between two matrix products: GPTQ's, and the L2 cache's
_TIE = 1e-9  # in steps: sums in another order must not move a tie
Chooser = Callable[[int, np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Quadratic:
    """One layer's problem; inputs stand in the order in which they are rounded.

    Args:
        gram: float64[G, n, n], damped; inputs that are always 0 have diagonal 1.
        cross: float64[G, n, n], damped likewise.
        weight: float64[G, n, c], in steps: c channels a group.
        lo, hi: float64[G, c], the smallest and largest code, zero point taken off.
        order: int64[G, n], place in the row of the input rounded t-th.
    """

    gram: np.ndarray
    cross: np.ndarray
    weight: np.ndarray
    lo: np.ndarray
    hi: np.ndarray
    order: np.ndarray

    @classmethod
    def of(
        cls,
        weight: np.ndarray,
        params: QParams,
        data: LayerData,
        *,
        damp: float,
        by_power: bool = True,
    ) -> Quadratic:
        """From a job's parts.

        Args:
            weight: float32[C, n].
            params: the grid, its axis 0 or None.
            data: of the layer.
            damp: share of the mean diagonal of H that is added to it.
            by_power: round the inputs with the largest mean square first; else as they come.

        Raises:
            SpecError: NaN or inf among the moments.
        """
        _check(data)
        groups, n, _ = data.gram.shape
        scale = np.broadcast_to(np.asarray(params.scale, np.float32).reshape(-1, 1), weight.shape)
        steps = (np.asarray(weight, np.float32) / scale).astype(np.float64)
        power = np.einsum("gnn->gn", data.gram)
        order = np.tile(np.arange(n), (groups, 1))
        if by_power:
            order = np.argsort(-power, axis=1, kind="stable")
        added = damp * power.mean(axis=1, keepdims=True) + np.where(power > 0, 0.0, 1.0)
        zero = np.broadcast_to(np.asarray(params.zero_point, np.float64).reshape(-1), len(weight))
        return cls(
            gram=_arranged(data.gram, added, order),
            cross=_arranged(data.cross, added, order),
            weight=np.take_along_axis(
                steps.reshape(groups, -1, n).transpose(0, 2, 1), order[:, :, None], axis=1
            ),
            lo=(params.spec.qmin - zero).reshape(groups, -1),
            hi=(params.spec.qmax - zero).reshape(groups, -1),
            order=order,
        )

    def nearest(self, steps: np.ndarray) -> np.ndarray:
        """float64[G, c] to the nearest code, ties away from zero."""
        whole = np.copysign(np.floor(np.abs(steps) + (0.5 + _TIE)), steps)
        return np.clip(whole, self.lo, self.hi)

    def rows(self, codes: np.ndarray, params: QParams) -> np.ndarray:
        """int8[C, n] in the row's own order, of float64[G, n, c] without zero point."""
        unsorted = np.empty_like(codes)
        np.put_along_axis(unsorted, self.order[:, :, None], codes, axis=1)
        rows = unsorted.transpose(0, 2, 1).reshape(-1, codes.shape[1])
        return (rows + np.asarray(params.zero_point).reshape(-1, 1)).astype(np.int8)


def _check(data: LayerData) -> None:
    bad = sum(int(np.sum(~np.isfinite(moments))) for moments in (data.gram, data.cross))
    if bad:
        raise SpecError(
            f"The moments of the layer's inputs have {bad} NaN or inf values: some calibration "
            "sample is not finite, or overflows on its way to this layer."
        )


def _arranged(moments: np.ndarray, added: np.ndarray, order: np.ndarray) -> np.ndarray:
    """moments + diag(added), rows and columns of each group in `order`; a copy."""
    groups, n, _ = moments.shape
    moved = moments[np.arange(groups)[:, None, None], order[:, :, None], order[:, None, :]]
    inputs = np.arange(n)
    moved[:, inputs, inputs] += np.take_along_axis(added, order, axis=1)
    return moved


def sweep(base: np.ndarray, below: np.ndarray, choose: Chooser, block: int = BLOCK) -> np.ndarray:
    r"""Codes one input after the other, each fed with the errors of those before it.

    \( q_t = Q_t(b_t - \sum_{j<t} A_{tj} q_j) \), all channels of all groups at once. What a block
    of inputs does to those behind it is one matrix product; any block gives the same codes.

    Args:
        base: float64[G, n, c], b.
        below: float64[G, n, n], A; only what lies below its diagonal is read.
        choose: (t, float64[G, c]) -> the codes of input t, float64[G, c].
        block: inputs a block.

    Returns:
        float64[G, n, c] whole numbers.
    """
    base, codes = base.copy(), np.empty_like(base)
    n = base.shape[1]
    for start in range(0, n, block):
        stop = min(start + block, n)
        for t in range(start, stop):
            fed = below[:, t : t + 1, start:t] @ codes[:, start:t]
            codes[:, t] = choose(t, base[:, t] - fed[:, 0])
        base[:, stop:] -= below[:, stop:, start:stop] @ codes[:, start:stop]
    return codes
