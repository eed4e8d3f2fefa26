"""What a rounder is given, and what one that learns tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfq_ext.rounding.layer_data import LayerData
from tfq_ext.spec import QParams


@dataclass(frozen=True)
class Learning:
    """How learned codes came about.

    Args:
        steps: of the optimisation.
        unsettled: share of the weights that were neither down nor up when it ended, to 1e-3; each
            then went to the nearer side.
        before, after: mean square error of the layer's output, its activation included, over the
            patches and channels, in squared units of the output: nearest rounding's, the codes'.
    """

    steps: int
    unsettled: float
    before: float
    after: float


@dataclass(frozen=True, eq=False)
class Job:
    """One weight to round.

    Args:
        weight: float32[C, n], a row an output channel (`to_rows`).
        params: the grid, its axis 0 or None.
        data: of the layer's inputs; None where there are none.
        seed: of rounders that draw.
        argument: the number behind the rounder's name in a recipe ("gpfq_soft:0.1").
        taps: kernel positions: a row is taps x input channels, a tap's channels side by side.
        tell: called by rounders that learn, once; decides nothing.
    """

    weight: np.ndarray
    params: QParams
    data: LayerData | None = None
    seed: int = 0
    argument: float | None = None
    taps: int = 1
    tell: Callable[[Learning], None] | None = None

    @property
    def steps(self) -> np.ndarray:
        """The weight in steps of the grid, float64[C, n]."""
        return self.weight.astype(np.float64) / self.scale

    @property
    def scale(self) -> np.ndarray:
        """float64[C or 1, 1]"""
        return np.asarray(self.params.scale, np.float64).reshape(-1, 1)

    @property
    def zero(self) -> np.ndarray:
        """int64[C or 1, 1]"""
        return np.asarray(self.params.zero_point, np.int64).reshape(-1, 1)

    @property
    def power(self) -> np.ndarray:
        """Mean square of what each weight meets, float64[C, n]; ones without data."""
        if self.data is None:
            return np.ones(self.weight.shape)
        power = np.einsum("gnn->gn", self.data.gram)
        return np.repeat(power, len(self.weight) // len(power), axis=0)

    def codes(self, steps: np.ndarray) -> np.ndarray:
        """int8[C, n] of whole steps from 0, which is where the zero point is."""
        spec = self.params.spec
        return np.clip(steps + self.zero, spec.qmin, spec.qmax).astype(np.int8)

    def whole(self, codes: np.ndarray) -> np.ndarray:
        """The inverse of `codes`; int64[C, n]."""
        return codes.astype(np.int64) - self.zero
