"""What a profile holds."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.validation.profile.breaks import Break
from tfq_ext.validation.profile.partition import Partition

XNNPACK, BUILTIN, FUSED, FOLDED = "XNNPACK", "builtin", "fused", "folded"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class OpTime:
    """One op of the graph that ran.

    Args:
        index, subgraph, op, tensor: which; `tensor` is its first output's name.
        ms: of one run; 0 where it is fused or folded.
        share: of all ops' time.
        where: XNNPACK; "builtin" (LiteRT's own or a custom kernel); "fused" into a neighbour
            inside XNNPACK; "folded" away when the file was loaded; "unknown".
        kernel: XNNPACK's names of what ran for it, "" elsewhere.
    """

    index: int
    subgraph: int
    op: str
    tensor: str
    ms: float
    share: float
    where: str
    kernel: str = ""


@dataclass(frozen=True)
class Profile:
    """Times of the ops of one file.

    Args:
        available: whether there are times; without them `ops` still says what ran where.
        why_not: "per-op times not available: ..." or "".
        ops: in graph order, every op of the subgraph that ran.
        partitions: in the order in which they run.
        breaks: ops that split the graph for XNNPACK, then those at which the compiler of an
            Edge TPU or NPU would stop.
        total_ms: of one run, as the profiler saw it (its bookkeeping adds some).
        covered_share: of that, by the ops.
        unmapped_ms: time of XNNPACK operators that fit no op of the graph.
        threads, kernels: how it ran.
    """

    available: bool
    why_not: str
    ops: tuple[OpTime, ...]
    partitions: tuple[Partition, ...]
    breaks: tuple[Break, ...]
    total_ms: float
    covered_share: float
    unmapped_ms: float = 0.0
    threads: int = 1
    kernels: str = "xnnpack"

    @property
    def xnnpack_share(self) -> float:
        """Of the ops' time, spent in XNNPACK; 0 without times."""
        return sum(row.share for row in self.ops if row.where in (XNNPACK, FUSED))

    @property
    def slowest(self) -> tuple[OpTime, ...]:
        """By time."""
        return tuple(sorted(self.ops, key=lambda row: -row.ms))
