"""Two tables: what quantizes activations, what quantizes weights."""

from functools import partial
from typing import Any

from tfq_ext._table import Table
from tfq_ext.qat.quantizers.a2q import A2qScale
from tfq_ext.qat.quantizers.base import Quantizer
from tfq_ext.qat.quantizers.ema import EmaRange, FixedRange
from tfq_ext.qat.quantizers.lsq import LsqRange, LsqScale
from tfq_ext.qat.quantizers.lsq_plus import LsqPlusRange
from tfq_ext.qat.quantizers.max import MaxScale
from tfq_ext.qat.quantizers.pact import PactRange
from tfq_ext.qat.quantizers.stochastic import StochasticScale
from tfq_ext.qat.quantizers.ternary import TernaryScale
from tfq_ext.qat.quantizers.tqt import TqtRange, TqtScale

ACTIVATION_QUANTIZERS: Table[Any] = Table(
    "activation quantizer",
    {
        "ema": EmaRange,
        "lsq": LsqRange,
        "lsq+": LsqPlusRange,
        "tqt": TqtRange,
        "pact": PactRange,
        "fixed": FixedRange,
    },
)
WEIGHT_QUANTIZERS: Table[Any] = Table(
    "weight quantizer",
    {
        "max": MaxScale,
        "lsq": LsqScale,
        "tqt": TqtScale,
        "twn": TernaryScale,
        "fgq": partial(TernaryScale, group=4),
        "a2q": A2qScale,
        "stochastic": StochasticScale,
    },
)

__all__ = ["ACTIVATION_QUANTIZERS", "WEIGHT_QUANTIZERS", "Quantizer"]
