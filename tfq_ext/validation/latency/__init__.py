"""How long models take, measured side by side: interleaved runs, medians, paired ratios.

`measure_latency` times files that we made, in this process; `bench` times any file, each in a
child process of its own, and says where the time goes and why.
"""

from __future__ import annotations

from tfq_ext.validation.latency.bench import bench
from tfq_ext.validation.latency.explain import REASONS
from tfq_ext.validation.latency.machine import Machine
from tfq_ext.validation.latency.reasons import RULES
from tfq_ext.validation.latency.rows import BenchReport, BenchRow
from tfq_ext.validation.latency.timing import (
    Latency,
    measure_latency,
    noise,
    summarize,
    time_rounds,
)
from tfq_ext.validation.seat.kernels import KERNELS

__all__ = [
    "KERNELS",
    "REASONS",
    "RULES",
    "BenchReport",
    "BenchRow",
    "Latency",
    "Machine",
    "bench",
    "measure_latency",
    "noise",
    "summarize",
    "time_rounds",
]
