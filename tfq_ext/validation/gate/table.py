"""GATES: what can be bounded, in which unit, and where the number comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfq_ext._table import Table
from tfq_ext.validation.gate import measures

if TYPE_CHECKING:
    from tfq_ext.validation.verdict import Validation

Measure = Callable[["Validation", Any], "measures.Measured | str"]
AT_MOST, AT_LEAST = "at most", "at least"
NUMBER, SEVERITY, FLAG, VERSION = BOUND_KINDS = ("number", "severity", "flag", "version")


@dataclass(frozen=True)
class Gate:
    """One thing that a file can be held to.

    Args:
        unit: of UNITS.
        side: AT_MOST or AT_LEAST.
        section: the part of a Validation that has the number.
        measure: (validation, parsed bound) -> Measured, or the reason why there is none.
        doc: one line.
        by_interval: the verdict needs the whole 95 % interval on one side of the bound.
        bound: of BOUND_KINDS; a FLAG gate is on or off, SEVERITY and VERSION are texts.
    """

    unit: str
    side: str
    section: str
    measure: Measure
    doc: str
    by_interval: bool = False
    bound: str = NUMBER


GATES: Table[Gate] = Table(
    "gate",
    {
        "runs": Gate(
            "count", AT_MOST, "run", measures.runs, "it loads, runs, and gives numbers", bound=FLAG
        ),
        "top1_drop": Gate(
            "points", AT_MOST, "accuracy", measures.drop("top1"),
            "top-1 accuracy lost against the reference", by_interval=True,
        ),
        "top1": Gate(
            "share", AT_LEAST, "accuracy", measures.metric("top1"), "top-1 accuracy"
        ),
        "agreement": Gate(
            "share", AT_LEAST, "accuracy", measures.agreement,
            "samples with the reference's top-1 class", by_interval=True,
        ),
        "sqnr_db": Gate(
            "db", AT_LEAST, "accuracy", measures.output_sqnr,
            "output's signal-to-quantization-noise ratio against the reference",
        ),
        "layer_sqnr_db": Gate(
            "db", AT_LEAST, "comparison", measures.layer_sqnr,
            "the worst layer's own SQNR, fed with the reference's values",
        ),
        "size": Gate("bytes", AT_MOST, "inspection", measures.size, "bytes of the file"),
        "size_ratio": Gate(
            "ratio", AT_MOST, "inspection", measures.size_ratio, "bytes by the reference's bytes"
        ),
        "latency": Gate(
            "ms", AT_MOST, "latency", measures.latency, "median time of one run on this machine"
        ),
        "latency_ratio": Gate(
            "ratio", AT_MOST, "latency", measures.latency_ratio,
            "time by the reference's, measured in turns", by_interval=True,
        ),
        "memory": Gate("bytes", AT_MOST, "latency", measures.memory, "peak memory of the run"),
        "model_memory": Gate(
            "bytes", AT_MOST, "latency", measures.model_memory,
            "memory that loading and running the model adds",
        ),
        "load_time": Gate("ms", AT_MOST, "latency", measures.load_time, "time to load the model"),
        "float_ops": Gate(
            "count", AT_MOST, "inspection", measures.float_ops, "ops that compute in floats"
        ),
        "integer_share": Gate(
            "share", AT_LEAST, "inspection", measures.integer_share,
            "multiply-accumulates done in integers",
        ),
        "lint": Gate(
            "count", AT_MOST, "lint", measures.lint,
            "the least severity that fails: info, warning or error", bound=SEVERITY,
        ),
        "bit_exact": Gate(
            "count", AT_MOST, "integers", measures.bit_exact,
            "codes in which LiteRT departs from the integer reference", bound=FLAG,
        ),
        "gpu": Gate(
            "count", AT_MOST, "delegates", measures.gpu,
            "the GPU delegate takes the model and is right in fp32 and fp16", bound=FLAG,
        ),
        "gpu_fp16_error": Gate(
            "share", AT_MOST, "delegates", measures.gpu_fp16_error,
            "relative error (L2) of the GPU delegate in fp16 against the CPU",
        ),
        "runtime": Gate(
            "count", AT_MOST, "inspection", measures.runtime,
            "the oldest TFLite that must still run the file", bound=VERSION,
        ),
    },
)  # fmt: skip

# Gates made of a metric's name: "metric:mae = 0.2", "drop:miou = 1%".
_FAMILIES: dict[str, Callable[[str], Gate]] = {
    "metric": lambda name: Gate(
        "number", "", "accuracy", measures.metric(name), f"{name} on these samples"
    ),
    "drop": lambda name: Gate(
        "number", AT_MOST, "accuracy", measures.drop(name),
        f"{name} lost against the reference", by_interval=True,
    ),
}  # fmt: skip


def find_gate(name: str) -> Gate:
    """The gate of that name; `metric:NAME` and `drop:NAME` exist for every metric.

    Raises:
        UnknownName: there is none; the message says which there are.
    """
    family, colon, metric = name.partition(":")
    if colon and family in _FAMILIES and metric:
        return _FAMILIES[family](metric)
    return GATES[name]
