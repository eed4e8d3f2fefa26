"""Where a .tflite loses: every tensor against the float model that it was made from.

reference --+                        +-- sums: SQNR, LSB, clipping, shift --- rows --+
            +-- scene: what is what -+                                               +-- causes
candidate --+                        +-- own: each op on exact inputs ------ parts --+
"""

from tfq_ext.validation.comparison.causes import CAUSES
from tfq_ext.validation.comparison.rules import RULES
from tfq_ext.validation.comparison.story import compare
from tfq_ext.validation.comparison.values import Comparison, LayerRow, Part, Shift, Unmatched

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
