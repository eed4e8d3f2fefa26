"""Every rewriting of a Keras model, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tfq_ext._table import Table
from tfq_ext.rewrite.equalization import equalize
from tfq_ext.rewrite.fold import fold_batch_norm
from tfq_ext.rewrite.statistics import reestimate_batch_norm
from tfq_ext.rewrite.uncap import relu6_to_relu
from tfq_ext.rewrite.walk import Rewritten


@dataclass(frozen=True)
class Rewrite:
    """One entry of REWRITES.

    Args:
        function: (model[, data]) -> (model, report).
        exact: whether the float outputs stay, to 1e-5 of the greatest.
        needs_data: whether data must be given.
        doc: one line.
    """

    function: Callable[..., Rewritten]
    exact: bool
    needs_data: bool
    doc: str


REWRITES: Table[Rewrite] = Table(
    "rewriting",
    {
        "relu6_to_relu": Rewrite(
            relu6_to_relu, False, False, "ReLU in place of every ReLU6; says what that changes"
        ),
        "fold_batch_norm": Rewrite(
            fold_batch_norm, True, False, "BatchNormalization into the layer before it"
        ),
        "reestimate_batch_norm": Rewrite(
            reestimate_batch_norm, False, True, "BatchNormalization statistics of given data"
        ),
        "equalize": Rewrite(
            equalize, True, False, "the same weight range for a channel in writer and reader"
        ),
    },
)
