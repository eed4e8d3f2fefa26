"""Cross-layer equalization of a float flatbuffer: find, balance, scale."""

from tfq_ext.repair.equalize.chains import TREATMENTS
from tfq_ext.repair.equalize.equalization import Equalized, Link, equalize
from tfq_ext.repair.equalize.maxima import channel_extremes, channel_maxima

__all__ = [
    "TREATMENTS",
    "Equalized",
    "Link",
    "channel_extremes",
    "channel_maxima",
    "equalize",
]
