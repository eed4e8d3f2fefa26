"""Keras model to Keras model: ReLU over ReLU6, BatchNorm folding, equalization.

Names load on first use: the module imports neither Keras nor TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfq_ext.rewrite.fold import fold_batch_norm as fold_batch_norm
    from tfq_ext.rewrite.uncap import relu6_to_relu as relu6_to_relu

_WHERE = {
    "fold_batch_norm": "fold",
    "relu6_to_relu": "uncap",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tfq_ext.rewrite' has no attribute {name!r}")
    return getattr(import_module(f"tfq_ext.rewrite.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
