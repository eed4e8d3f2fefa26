"""Training a student on what a teacher says."""

from tfq_ext.qat.distill.distiller import Distiller
from tfq_ext.qat.distill.losses import SoftTargets

__all__ = ["Distiller", "SoftTargets"]
