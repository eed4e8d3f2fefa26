"""Keras model to Keras model: ReLU over ReLU6, BatchNorm folding, equalization.

Names load on first use: the module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfq_ext.rewrite.equalization import equalize as equalize
    from tfq_ext.rewrite.fold import fold_batch_norm as fold_batch_norm
    from tfq_ext.rewrite.statistics import reestimate_batch_norm as reestimate_batch_norm
    from tfq_ext.rewrite.table import REWRITES as REWRITES
    from tfq_ext.rewrite.uncap import relu6_to_relu as relu6_to_relu

_WHERE = {
    "equalize": "equalization",
    "fold_batch_norm": "fold",
    "reestimate_batch_norm": "statistics",
    "relu6_to_relu": "uncap",
    "REWRITES": "table",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tfq_ext.rewrite' has no attribute {name!r}")
    return getattr(import_module(f"tfq_ext.rewrite.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
