"""The table of rounders. AdaRound, GPTQ and GPFQ join it; the contract tests then cover them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tfq_ext._table import Table
from tfq_ext.rounding.nearest import nearest
from tfq_ext.spec import QParams


@dataclass(frozen=True)
class LayerData:
    """What a data-driven rounder is fed.

    Args:
        inputs: float32[N, ...] the layer's inputs in the quantized prefix.
        targets: float32[N, ...] the layer's float outputs.
    """

    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Rounder:
    """Chooses the codes of one weight.

    Args:
        round: (weight float32, params, data or None, seed) -> int8 codes in `params.spec`.
        needs_data: False if it can work from the weight alone.
        doc: one line for `tfq recipes`.

    Laws (tests/contracts): codes lie in the grid; a fixed seed gives fixed bytes; permuting the
    output channels permutes the codes.
    """

    round: Callable[[np.ndarray, QParams, LayerData | None, int], np.ndarray]
    needs_data: bool
    doc: str


ROUNDERS: Table[Rounder] = Table(
    "rounder",
    {
        "nearest": Rounder(
            lambda weight, params, data, seed: nearest(weight, params),
            needs_data=False,
            doc="each weight to its nearest code",
        ),
    },
)
