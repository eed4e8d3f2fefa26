"""Cross-layer equalization of a float flatbuffer: find, balance, scale; absorb high biases."""

from tfq_ext.repair.equalize.absorption import Absorbed, absorb
from tfq_ext.repair.equalize.chains import TREATMENTS
from tfq_ext.repair.equalize.equalization import Equalized, Link, equalize
from tfq_ext.repair.equalize.maxima import Peaks, channel_extremes, channel_maxima, channel_peaks

__all__ = [
    "TREATMENTS",
    "Absorbed",
    "Equalized",
    "Link",
    "Peaks",
    "absorb",
    "channel_extremes",
    "channel_maxima",
    "channel_peaks",
    "equalize",
]
