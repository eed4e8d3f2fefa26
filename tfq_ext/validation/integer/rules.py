"""What can be wrong between a file and integer arithmetic."""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.validation.finding import Rule

DISAGREES = Rule(
    "kernel-disagrees",
    "error",
    "A LiteRT kernel gives other codes than the integer arithmetic that the file prescribes.",
    "Every figure measured here would then differ from that of another runtime or chip.",
    "Look at the op with tfq_ext.validation.integer.trace; report it to LiteRT with the one-op "
    "model, and measure with another kernel set until it is understood.",
    "own numpy reference, equal bit by bit to LiteRT 2.3's kernels on random one-op models",
)
OVERFLOW = Rule(
    "accumulator-overflow",
    "error",
    "A sum of products leaves 32 bits on these samples.",
    "It wraps around, and the output is noise.",
    "Give the layer a larger weight or input scale, or quantize it anew: codes and bias are out "
    "of proportion.",
    "TFLite kernels: int32 accumulators",
)
NEAR = Rule(
    "accumulator-may-overflow",
    "warning",
    "The weights and the bias of a layer allow a sum that 32 bits do not hold.",
    "Some input makes it wrap around, although none of these samples did.",
    "Look at the bias: a channel with tiny weights has a tiny scale and so a huge bias code. Floor "
    "that channel's weight scale.",
    "A2Q (arXiv 2308.13504): |acc| <= sum|w| max|x - z| + |b|",
)
RULES: Table[Rule] = Table("rule", {r.id: r for r in (DISAGREES, OVERFLOW, NEAR)})
