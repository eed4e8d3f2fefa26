"""A file, loaded with given kernels and inputs, ready to run: what is timed and profiled."""

from __future__ import annotations

from tfq_ext.validation.seat.disk import Source, on_disk
from tfq_ext.validation.seat.kernels import KERNELS, KernelSet
from tfq_ext.validation.seat.noise import noise

__all__ = ["KERNELS", "KernelSet", "Source", "noise", "on_disk"]
