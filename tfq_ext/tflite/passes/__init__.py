"""Graph passes on the float pivot: a table, applied in order, each saying what it did."""

from tfq_ext.tflite.passes.islands import div_to_mul, neg_to_mul, square_to_mul
from tfq_ext.tflite.passes.relu6 import relu6_to_relu
from tfq_ext.tflite.passes.table import PASSES, Pass, apply, exact
from tfq_ext.tflite.passes.unread import drop_unread
from tfq_ext.tflite.passes.untie import untie

__all__ = [
    "PASSES",
    "Pass",
    "apply",
    "div_to_mul",
    "drop_unread",
    "exact",
    "neg_to_mul",
    "relu6_to_relu",
    "square_to_mul",
    "untie",
]
