"""Which ops of a finished file are not integer, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.tflite.facts import CONTROL
from tfq_ext.tflite.read import Graph, Model

INSIDE = "inside a loop or branch body, which stays float"
_BRIDGES = frozenset({"QUANTIZE", "DEQUANTIZE"})


@dataclass(frozen=True)
class FloatOp:
    """An op whose result is float.

    Args:
        op: op code, "SIN".
        tensor: its first output.
        reason: one clause for people.
        subgraph: index.
    """

    op: str
    tensor: str
    reason: str
    subgraph: int = 0


def float_ops(
    model: Model, keep_float: Mapping[str, str] | None = None, ranged: object = None
) -> list[FloatOp]:
    """Every op with a float output, bridges aside, with its reason.

    Args:
        model: the finished file.
        keep_float: op output name -> reason that the plan gave.
        ranged: container of tensor names that had a range; None when not known.
    """
    rows = []
    for graph, _, op, code in model.walk():
        floats = [int(o) for o in op.outputs if o >= 0 and graph.dtype(o) == "float32"]
        if not floats or code in _BRIDGES:
            continue
        name = graph.name(floats[0])
        reason = (keep_float or {}).get(name) or _reason(graph, code, name, ranged)
        rows.append(FloatOp(code, name, reason, graph.index))
    return rows


def _reason(graph: Graph, code: str, name: str, ranged: object) -> str:
    if code.startswith(("CUSTOM:", "FLEX:")):
        return "a custom op has no integer kernel in TFLite"
    if code in CONTROL:
        return "control flow and state are float at their borders in TFLite"
    if not graph.is_entry:
        return INSIDE
    if code not in KERNELS or KERNELS[code].int8 is None:
        return f"TFLite has no int8 kernel for {code}"
    if isinstance(ranged, Mapping) and name not in ranged:
        return "no range was observed for its output"
    return "TensorFlow's quantizer left it float (an operand has no integer form)"
