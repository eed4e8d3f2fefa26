"""What fp16 would do to the numbers of a file, from the CPU: no GPU is needed."""

from tfq_ext.validation.delegates.fp16.risk import assess
from tfq_ext.validation.delegates.fp16.values import Fp16Risk, TensorRisk

__all__ = ["Fp16Risk", "TensorRisk", "assess"]
