"""Two tables: what quantizes activations, what quantizes weights."""

from tfq_ext._table import Table
from tfq_ext.qat.quantizers.base import Quantizer
from tfq_ext.qat.quantizers.ema import EmaRange, FixedRange
from tfq_ext.qat.quantizers.lsq import LearnedScale
from tfq_ext.qat.quantizers.max import MaxScale

ACTIVATION_QUANTIZERS: Table[type[Quantizer]] = Table(
    "activation quantizer", {"ema": EmaRange, "fixed": FixedRange}
)
WEIGHT_QUANTIZERS: Table[type[Quantizer]] = Table(
    "weight quantizer", {"max": MaxScale, "lsq": LearnedScale}
)

__all__ = ["ACTIVATION_QUANTIZERS", "WEIGHT_QUANTIZERS", "Quantizer"]
