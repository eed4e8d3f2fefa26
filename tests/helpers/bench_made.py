"""Bench reports and profiles on made-up times."""

from __future__ import annotations

from tfq_ext.tflite.read import Model
from tfq_ext.validation.latency.machine import Machine
from tfq_ext.validation.latency.rows import BenchReport, BenchRow
from tfq_ext.validation.profile.measure import build
from tfq_ext.validation.profile.session import DELEGATE_OP, OPERATOR, WHOLE, Event

PLAIN = {"QUANTIZE": "Convert (NC)", "DEQUANTIZE": "Convert (NC)"}
TAGS = {
    "CONV_2D": "Convolution (NHWC) IGEMM",
    "DEPTHWISE_CONV_2D": "Convolution (NHWC) DWConv",
    "FULLY_CONNECTED": "Fully Connected (NC) GEMM",
    "MEAN": "Mean (ND)",
    "ADD": "Add (ND)",
    "ABS": "Abs (NC)",
    **PLAIN,
}


def row(name="q", median=1.0, ratio=1.2, **more):
    values = {
        "name": name,
        "kernels": "xnnpack",
        "threads": 1,
        "median_ms": median,
        "p90_ms": median,
        "interval_ms": (median, median),
        "ratio": ratio,
        "ratio_interval": (ratio, ratio),
        "thread_ratio": 1.0,
        "load_ms": 1.0,
        "first_ms": 1.0,
        "peak_bytes": 1,
        "model_bytes": 1,
        "runs": 5,
        "variation": 0.01,
        "size_bytes": 1000,
    }
    return BenchRow(**{**values, **more})


def profiled(content, outside=(), ms=1.0, slow=None):
    """A profile: every op takes `ms`, but those in `slow`; `outside` are builtin op codes."""
    graph = Model.parse(content).graphs[0]
    events = [Event("Invoke", WHOLE, 1e9, 0, 0)]
    for k, op in enumerate(graph.ops):
        code = graph.code(op)
        if code == "DEQUANTIZE" and graph.is_constant(int(op.inputs[0])):
            continue
        us = 1e3 * (slow or {}).get(code, ms)
        if code in outside:
            events.append(Event(code, OPERATOR, us, k, 0))
        else:
            events.append(Event(TAGS[code], DELEGATE_OP, us, k, 0))
    way = {"kernels": "xnnpack", "threads": 1}
    return graph, build(graph, events, None, way)


def report(content, profile, base=None, rows=None, machine=None, mine=None):
    base_content, base_profile = base or (None, None)
    first = [row("float", ratio=1.0)] if base else []
    models = {"float": Model.parse(base_content)} if base else {}
    models["q"] = Model.parse(content)
    profiles = {"q": profile} | ({"float": base_profile} if base else {})
    here = machine or Machine("CPU", 2, 0.1, dot_product=True)
    rows = (*first, *(rows or [mine or row()]))
    return BenchReport(rows, "float" if base else "q", here, profiles), models
