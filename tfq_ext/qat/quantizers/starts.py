"""Where learned weight scales start: a table of rules over rows of weights, in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tfq_ext._table import Table
from tfq_ext.rounding.grid import SCALES
from tfq_ext.spec import TINY, QParams, QSpec

Rule = Callable[[np.ndarray, QSpec], np.ndarray]


def largest(rows: np.ndarray, spec: QSpec) -> np.ndarray:
    """max|w| / q_max; float32[rows]."""
    return SCALES["max"](rows, spec.on(0)).scale


def least_error(rows: np.ndarray, spec: QSpec) -> np.ndarray:
    """Least squared error over shrink factors of the largest weight; float32[rows]."""
    return SCALES["mse"](rows, spec.on(0)).scale


def paper(rows: np.ndarray, spec: QSpec) -> np.ndarray:
    r"""LSQ's rule :math:`2\,\overline{|w|} / \sqrt{q_{max}}`; float32[rows].

    Source: Esser et al. 1902.08153, section 2.1.
    """
    mean = np.abs(rows).mean(axis=1, dtype=np.float64)
    return np.maximum(2 * mean / np.sqrt(spec.qmax), TINY).astype(np.float32)


def best(rows: np.ndarray, spec: QSpec) -> np.ndarray:
    """Row by row, whichever of the other rules leaves the least squared error; float32[rows]."""
    scales = np.stack([rule(rows, spec) for rule in (least_error, paper, largest)])
    errors = np.stack([squared_error(rows, scale, spec) for scale in scales])
    return scales[errors.argmin(axis=0), np.arange(len(rows))]


def power_of_two(rows: np.ndarray, spec: QSpec) -> np.ndarray:
    """The exponent ceil(log2 t) of least squared error among eight; int32[rows].

    From the one that covers the largest weight downwards.
    """
    top = np.ceil(np.log2(np.maximum(np.abs(rows).max(axis=1), TINY))).astype(np.int32)
    exponents = top - np.arange(8, dtype=np.int32)[:, None]
    steps = np.exp2(exponents - (spec.bits - 1)).astype(np.float32)
    errors = np.stack([squared_error(rows, scale, spec) for scale in steps])
    return exponents[errors.argmin(axis=0), np.arange(len(rows))]


def squared_error(rows: np.ndarray, scale: np.ndarray, spec: QSpec) -> np.ndarray:
    """Sum of (w - Q(w))^2 of each row under its scale; float64[rows]."""
    params = QParams(spec.on(0), np.maximum(scale, np.float32(TINY)))
    return np.square(params.fake_quant(rows) - rows).sum(axis=1, dtype=np.float64)


SCALE_STARTS: Table[Rule] = Table(
    "start of a learned scale",
    {"best": best, "mse": least_error, "lsq": paper, "max": largest},
)
