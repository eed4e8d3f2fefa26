"""Why a quantized file is slow: the question that everybody asks, as a table of rules.

Sources: per-op times of MobileNetV2 and of the zoo under LiteRT 2.3 (tests/validation), and
XNNPACK's list of quantized operators (tflite/delegates/xnnpack/README.md).
"""

from __future__ import annotations

from tfq_ext._table import Table
from tfq_ext.validation.finding import Rule

_MEASURED = "own measurement: LiteRT 2.3, XNNPACK, x86"
_XNNPACK = "tflite/delegates/xnnpack/README.md, quantized operators"


def _rule(id: str, severity: str, what: str, why: str, remedy: str, source: str) -> Rule:
    return Rule(id, severity, what, why, remedy, source)


RULES: Table[Rule] = Table(
    "reason for slowness",
    {
        rule.id: rule
        for rule in (
            _rule(
                "slow-float-islands",
                "warning",
                "Float ops inside an integer file take time.",
                "They run at float speed, and each island needs a DEQUANTIZE and a QUANTIZE.",
                "Quantize them too, or replace them by ops with an integer kernel; "
                "`tfq inspect` says why each stayed float.",
                _MEASURED,
            ),
            _rule(
                "slow-bridges",
                "warning",
                "QUANTIZE and DEQUANTIZE take time.",
                "Each reads and writes a whole tensor and computes nothing.",
                "Remove the float ops between them, give neighbours one scale, or make the "
                "file's own inputs and outputs integer.",
                _MEASURED,
            ),
            _rule(
                "slow-hybrid",
                "warning",
                "Ops with float activations and integer weights run outside XNNPACK.",
                "XNNPACK has hybrid dense layers and convolutions, but no hybrid depthwise "
                "convolution; LiteRT's own kernel is several times slower.",
                "Use a static recipe (int8 with samples), or leave these ops float.",
                f"{_XNNPACK}; MobileNetV2 dynamic range 10.5 ms against 4.0 ms float",
            ),
            _rule(
                "slow-int4",
                "warning",
                "Ops with 4-bit weights run outside XNNPACK.",
                "XNNPACK's convolutions take 8-bit weights; LiteRT's own kernels unpack 4-bit "
                "ones. 4 bits save bytes, not time, on a CPU.",
                "Use 8-bit weights where speed counts: a rule for the ops with the largest share.",
                f"{_XNNPACK}; MobileNetV2 int4 11 ms against 1.9 ms int8",
            ),
            _rule(
                "slow-int16",
                "warning",
                "16-bit activations have no fast kernels.",
                "XNNPACK does not take them and LiteRT's own 16x8 convolutions are plain loops.",
                "Use int8; keep 16 bits for accelerators made for them, or for the few ops that "
                "need the accuracy.",
                f"{_MEASURED}; MobileNetV2 int16x8 174 ms against 4.0 ms float",
            ),
            _rule(
                "slow-dynamic-range",
                "info",
                "Activations are quantized anew at every run.",
                "Dynamic-range ops look for each row's range and round it before they multiply, "
                "and hand float on.",
                "Use a static recipe (int8 with samples): ranges are then known beforehand.",
                _MEASURED,
            ),
            _rule(
                "slow-float-arithmetic",
                "info",
                "Small weights are unpacked to float when the file is loaded.",
                "Float16 and weight-only files are smaller, not faster: every op computes in "
                "float32, as in the float file.",
                "Use int8 for speed on a CPU; float16 pays on a GPU.",
                _MEASURED,
            ),
            _rule(
                "slow-outside-xnnpack",
                "warning",
                "Ops that XNNPACK does not take take a large share of the time.",
                "LiteRT's own kernels are slower, and most use one thread.",
                "Replace them by ops that XNNPACK takes, or move them out of the model.",
                _XNNPACK,
            ),
            _rule(
                "slow-split-graph",
                "info",
                "The graph is split into many runs of ops.",
                "At each border tensors are copied and layouts are fixed, and accelerators take "
                "one run only.",
                "Remove or replace the ops that split it.",
                _MEASURED,
            ),
            _rule(
                "slow-ops",
                "warning",
                "Some ops are slower than in the baseline.",
                "They eat what the others gained.",
                "Leave these ops as they are in the baseline (a rule with keep_float), or find out "
                "why they fell off the fast path.",
                "per-op times of both files",
            ),
            _rule(
                "slow-tiny-ops",
                "info",
                "The ops are so short that starting them costs as much as their work.",
                "Each op costs about a microsecond before it computes anything, at any precision.",
                "Measure on the target; fuse ops or run larger batches. Quantize such a model for "
                "its size.",
                _MEASURED,
            ),
            _rule(
                "slow-memory-bound",
                "info",
                "Most of the time goes into ops that read each weight once.",
                "They wait for memory, not for arithmetic: time goes with the bytes of weights.",
                "Fewer bytes of weights help (int8: a quarter), faster arithmetic does not.",
                "Williams, Waterman and Patterson 2009 (roofline)",
            ),
            _rule(
                "slow-no-dot-product",
                "info",
                "This CPU has no 8-bit dot products.",
                "int8 kernels then widen to 16 bits first and gain little over float; phones "
                "since 2018 (ARMv8.2 dot product) have them.",
                "Measure on the target before you judge.",
                "XNNPACK's kernels by instruction set",
            ),
            _rule(
                "slow-threads",
                "info",
                "More threads do not help.",
                "Small ops, ops that use one thread, or too few cores.",
                "Run it with one thread and leave the cores to others.",
                "paired times",
            ),
            _rule(
                "slow-unexplained",
                "info",
                "The file is not faster and no single cause stands out.",
                "None of the usual reasons takes a large share.",
                "Look at the per-op table of both files.",
                "per-op times of both files",
            ),
            _rule(
                "time-now",
                "info",
                "Where the time goes.",
                "What to look at to make it faster still.",
                "Shrink these ops: fewer channels, smaller inputs, cheaper ops.",
                "per-op times",
            ),
        )
    },
)
