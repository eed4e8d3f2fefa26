"""Quantization-aware training for Keras 3: train on the integers, export exactly those."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfq_ext.qat.build import quantize_aware as quantize_aware
    from tfq_ext.qat.to_file import export as export

_WHERE = {
    "export": "to_file",
    "quantize_aware": "build",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tfq_ext.qat' has no attribute {name!r}")
    return getattr(import_module(f"tfq_ext.qat.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
