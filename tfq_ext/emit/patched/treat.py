"""Decide for every op: 8 bits, 16 bits, or float and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfq_ext.emit.islands import INSIDE
from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Note
from tfq_ext.tflite.facts import ACTIVATIONS, CONTROL, SAME_GRID, WEIGHTS
from tfq_ext.tflite.read import Graph

_FUSED = frozenset({"NONE", "RELU", "RELU6", "RELU_N1_TO_1"})  # what integer kernels clamp to


@dataclass(frozen=True)
class Treatment:
    """The types of one subgraph's ops.

    Args:
        dtype: op index -> "int8" or "int16"; an op that is absent stays as it is.
        notes: one row per op that has float operands and stays float.
    """

    dtype: Mapping[int, str]
    notes: tuple[Note, ...]

    def without(self, graph: Graph, reasons: Mapping[int, str]) -> Treatment:
        """The same with some more ops left float."""
        rows = tuple(note(graph, graph.ops[k], why) for k, why in reasons.items())
        return Treatment(
            {k: d for k, d in self.dtype.items() if k not in reasons}, (*self.notes, *rows)
        )


def note(graph: Graph, op: Any, reason: str) -> Note:
    """A row for an op that stays float."""
    return Note(graph.code(op), op_name(graph, op), reason)


def op_name(graph: Graph, op: Any) -> str:
    """How plans name the op: its first output tensor."""
    return graph.name(op.outputs[0]) if len(op.outputs) else ""


def operands(graph: Graph, op: Any) -> list[int]:
    """The float32 activations and elementwise constants of an op, weights and bias aside."""
    fact = WEIGHTS.get(graph.code(op))
    skipped = set() if fact is None else {fact.weight, fact.bias}
    inputs = [int(t) for k, t in enumerate(op.inputs) if k not in skipped]
    return [t for t in inputs if t >= 0 and graph.dtype(t) == "float32"] + results(graph, op)


def results(graph: Graph, op: Any) -> list[int]:
    """The float32 outputs of an op."""
    return [int(t) for t in op.outputs if t >= 0 and graph.dtype(t) == "float32"]


def treat(graph: Graph, plan: Plan) -> Treatment:
    """Ask every check in turn; the first reason wins. Ranges are looked at later, by group."""
    dtypes: dict[int, str] = {}
    notes: list[Note] = []
    for k, op in enumerate(graph.ops):
        if not operands(graph, op):
            continue
        dtype = "int16" if op_name(graph, op) in plan.int16 else "int8"
        reason = next(filter(None, (check(graph, op, plan, dtype) for check in _CHECKS)), None)
        if reason is None:
            dtypes[k] = dtype
        else:
            notes.append(note(graph, op, reason))
    return Treatment(dtypes, tuple(notes))


def _rule(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    return plan.keep_float.get(op_name(graph, op))


def _kernel(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    code = graph.code(op)
    if code.startswith(("CUSTOM:", "FLEX:")):
        return "a custom op has no integer kernel"
    if code in CONTROL:
        return "control flow and state are float at their borders"
    if not graph.is_entry:
        return INSIDE
    if code not in KERNELS or KERNELS[code].version(dtype) is None:
        return f"LiteRT has no {dtype} kernel for {code}"
    return None


def _fused(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    fused = ACTIVATIONS.get(getattr(op.builtinOptions, "fusedActivationFunction", 0), "?")
    return None if fused in _FUSED else f"the {dtype} kernel cannot fuse {fused}"


def _weight(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    fact = WEIGHTS.get(graph.code(op))
    if fact is None:
        return None
    weight = int(op.inputs[fact.weight])
    if not graph.is_constant(weight):
        return f"its weight {graph.name(weight)} is computed, not constant"
    codes = plan.weights.get(graph.name(weight))
    if codes is None:
        return f"no codes for its weight {graph.name(weight)}"
    spec = codes.params.spec
    if spec.axis not in (None, fact.axis):
        return f"the kernel wants scales along axis {fact.axis}, the codes have axis {spec.axis}"
    if codes.params.zero_point.any():
        return "no kernel takes weights with a zero point"
    return None


def _bias(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    fact = WEIGHTS.get(graph.code(op))
    if fact is None or fact.bias is None or len(op.inputs) <= fact.bias:
        return None
    bias = int(op.inputs[fact.bias])
    if bias < 0 or graph.is_constant(bias):
        return None
    return f"its bias {graph.name(bias)} is computed, not constant"


def _operand_codes(graph: Graph, op: Any, plan: Plan, dtype: str) -> str | None:
    for tensor in operands(graph, op):
        codes = plan.weights.get(graph.name(tensor)) if graph.is_constant(tensor) else None
        if codes is None or (graph.code(op) in SAME_GRID and graph.code(op) != "GATHER"):
            continue
        if codes.params.spec.axis is not None:
            return f"its constant {graph.name(tensor)} has one scale per channel, not one in all"
        if dtype == "int16" and graph.code(op) != "GATHER" and codes.params.zero_point.any():
            return f"its constant {graph.name(tensor)} has a zero point, 16-bit kernels take none"
    return None


_Check = Callable[[Graph, Any, Plan, str], str | None]
_CHECKS: tuple[_Check, ...] = (_rule, _kernel, _fused, _weight, _bias, _operand_codes)
