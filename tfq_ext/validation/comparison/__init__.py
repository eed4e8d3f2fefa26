"""Where a .tflite loses: every tensor against the float model that it was made from.

reference --+                        +-- sums: SQNR, LSB, clipping, shift --- rows --+
            +-- scene: what is what -+                                               +-- causes
candidate --+                        +-- own: each op on exact inputs ------ parts --+
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfq_ext.validation.comparison.causes import CAUSES
from tfq_ext.validation.comparison.rules import RULES
from tfq_ext.validation.comparison.values import Comparison, LayerRow, Part, Shift, Unmatched

if TYPE_CHECKING:
    from tfq_ext.validation.comparison.story import compare as compare

__all__ = [
    "CAUSES",
    "RULES",
    "Comparison",
    "LayerRow",
    "Part",
    "Shift",
    "Unmatched",
    "compare",
]


def __getattr__(name: str) -> Any:
    """`compare` on first use: rules and rows need neither LiteRT's interpreter nor numba."""
    if name != "compare":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tfq_ext.validation.comparison.story import compare

    return compare
