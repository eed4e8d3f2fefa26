"""LiteRT's integer kernels against a reference in numpy, op by op and code by code.

    record (LiteRT, every tensor kept) -> table (the same op in integers) -> values (what differs)

`table.KERNELS` is the arithmetic; `trace` shows it for one value.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tfq_ext.validation.integer.rules import RULES
from tfq_ext.validation.integer.values import Accumulator, IntegerReport, Multipliers, OpCheck

if TYPE_CHECKING:
    from tfq_ext.validation.integer.check import check_integers
    from tfq_ext.validation.integer.table import KERNELS, Kernel
    from tfq_ext.validation.integer.tracing import Trace, trace

# On first use: LiteRT takes 0.3 s to import, and a list of rules needs none of it.
_LATER = {
    "check_integers": "check",
    "KERNELS": "table",
    "Kernel": "table",
    "Trace": "tracing",
    "trace": "tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)


__all__ = [
    "KERNELS",
    "RULES",
    "Accumulator",
    "IntegerReport",
    "Kernel",
    "Multipliers",
    "OpCheck",
    "Trace",
    "check_integers",
    "trace",
]
