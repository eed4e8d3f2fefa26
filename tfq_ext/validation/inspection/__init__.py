"""What is in a .tflite, without running it."""

from tfq_ext.validation.inspection.look import inspect
from tfq_ext.validation.inspection.model import Inspection
from tfq_ext.validation.inspection.rows import OpRow, TensorRow, WeightRow

__all__ = ["Inspection", "OpRow", "TensorRow", "WeightRow", "inspect"]
