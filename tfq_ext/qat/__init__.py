"""Quantization-aware training for Keras 3: train on the integers, export exactly those.

Names load on first use; the first of them imports Keras, whatever its backend.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfq_ext.qat.build import quantize_aware as quantize_aware
    from tfq_ext.qat.distill import Distiller as Distiller
    from tfq_ext.qat.journal import Journal as Journal
    from tfq_ext.qat.journal import read_journal as read_journal
    from tfq_ext.qat.look import overview as overview
    from tfq_ext.qat.quantizers import ACTIVATION_QUANTIZERS as ACTIVATION_QUANTIZERS
    from tfq_ext.qat.quantizers import WEIGHT_QUANTIZERS as WEIGHT_QUANTIZERS
    from tfq_ext.qat.saved import load_model as load_model
    from tfq_ext.qat.schedule import Dampen as Dampen
    from tfq_ext.qat.schedule import Freeze as Freeze
    from tfq_ext.qat.schedule import Schedule as Schedule
    from tfq_ext.qat.schedule import fine_tuning_rate as fine_tuning_rate
    from tfq_ext.qat.to_file import export as export

_WHERE = {
    "ACTIVATION_QUANTIZERS": "quantizers",
    "Dampen": "schedule",
    "Distiller": "distill",
    "Freeze": "schedule",
    "Journal": "journal",
    "Schedule": "schedule",
    "WEIGHT_QUANTIZERS": "quantizers",
    "export": "to_file",
    "fine_tuning_rate": "schedule",
    "load_model": "saved",
    "overview": "look",
    "quantize_aware": "build",
    "read_journal": "journal",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'tfq_ext.qat' has no attribute {name!r}")
    return getattr(import_module(f"tfq_ext.qat.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
