"""Small constants, float arithmetic: fp16, weight-only, and dynamic range (hybrid kernels)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfq_ext._table import Table
from tfq_ext.emit.patched import edit
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.result import Emitted, Note
from tfq_ext.spec import QParams
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model

FP16_ELEMENTS = 16  # below that a DEQUANTIZE op costs more bytes than it saves
FP16_MAX = 65504.0
FP16_TINY = 2.0**-14  # smallest normal; GPUs may flush what is smaller


def emit_fp16(pivot: Model, plan: Plan) -> Emitted:
    """Store float32 constants as float16 followed by DEQUANTIZE; arithmetic stays float32.

    The GPU delegate and XNNPACK recognise the pattern. A constant stays float32 when the plan
    keeps all its readers float, or when a value lies beyond 65504.
    """
    model = pivot.copy()
    notes: list[Note] = []
    for graph in model.graphs:
        for tensor, users in edit.constant_users(graph).items():
            values = np.asarray(graph.constant(tensor))
            if values.size < FP16_ELEMENTS or _kept(graph, users, plan):
                continue
            reason = _fp16_refusal(values)
            if reason is not None:
                notes.append(Note("constant", graph.name(tensor), reason))
                continue
            notes += _flushed(graph, tensor, values)
            new = edit.store_codes(
                graph, tensor, "/float16", "float16", values.astype(np.float16), None
            )
            edit.feed(graph, tensor, new)
    edit.sweep(model)
    return Emitted(model.to_bytes(), tuple(notes))


def _fp16_refusal(values: np.ndarray) -> str | None:
    largest = float(np.max(np.abs(values)))
    if largest <= FP16_MAX:
        return None
    return f"its largest value {largest:.6g} is not a float16 (at most {FP16_MAX:.0f})"


def _flushed(graph: Graph, tensor: int, values: np.ndarray) -> list[Note]:
    """A row when values become subnormal: exact to 2^-25 on a CPU, 0 where GPUs flush."""
    small = np.abs(values[values != 0])
    count = int(np.sum(small.astype(np.float16) < FP16_TINY))
    if not count:
        return []
    why = f"{count} of {values.size} values are subnormal in float16 and may be flushed to 0"
    return [Note("constant", graph.name(tensor), why)]


def emit_weight_only(pivot: Model, plan: Plan) -> Emitted:
    """Store each constant of `plan.weights` as its codes followed by DEQUANTIZE."""
    model = pivot.copy()
    found: set[str] = set()
    for graph in model.graphs:
        for tensor, users in edit.constant_users(graph).items():
            codes = plan.weights.get(graph.name(tensor))
            if codes is not None and not _kept(graph, users, plan):
                edit.feed(graph, tensor, _store(graph, tensor, codes, codes.stored))
                found.add(graph.name(tensor))
    edit.sweep(model)
    return Emitted(model.to_bytes(), tuple(_unused(plan, found)))


def _store(graph: Graph, tensor: int, codes: WeightCodes, dtype: str) -> int:
    return edit.store_codes(graph, tensor, f"/{dtype}", dtype, codes.codes, codes.params)


def _kept(graph: Graph, users: list[int], plan: Plan) -> bool:
    """True when a rule keeps every reader of a constant float."""
    ops = [graph.ops[k] for k in users]
    return all(graph.name(op.outputs[0]) in plan.keep_float for op in ops if len(op.outputs))


def _unused(plan: Plan, found: set[str]) -> list[Note]:
    return [
        Note("constant", name, "no op that may be quantized reads it")
        for name in plan.weights
        if name not in found
    ]


@dataclass(frozen=True)
class Hybrid:
    """A kernel that takes float activations, quantizes them itself, and integer weights.

    Args:
        weight: input position.
        axis: along which it takes one scale per channel; None: one scale only.
        per_tensor, per_channel: op version for int8 codes; None: refused.
        int4: op version for int4 codes; None: refused.
    """

    weight: int
    axis: int | None
    per_tensor: int | None
    per_channel: int | None
    int4: int | None = None


# op_version.cc, checked op by op in tests/emit. Depthwise reads one scale per channel whatever
# the file says (a single scale gives wrong numbers without an error), so it is repeated there.
# BATCH_MATMUL with one scale per channel is new in LiteRT 2 and wrong in older runtimes.
HYBRID: Table[Hybrid] = Table(
    "hybrid kernel",
    {
        "CONV_2D": Hybrid(1, 0, 5, 5, 7),
        "DEPTHWISE_CONV_2D": Hybrid(1, 3, None, 6),
        "FULLY_CONNECTED": Hybrid(1, 0, 9, 12, 12),
        "BATCH_MATMUL": Hybrid(1, None, 4, None),
        "EMBEDDING_LOOKUP": Hybrid(1, 0, 1, 4, 4),
    },
)


def emit_dynamic(pivot: Model, plan: Plan) -> Emitted:
    """Feed codes straight into hybrid kernels; where there is none, through DEQUANTIZE.

    Hybrid kernels quantize their input to 8 bits at run time, with a zero point
    (`asymmetric_quantize_inputs`) as TFLiteConverter asks for.
    """
    model = pivot.copy()
    notes: list[Note] = []
    found: set[str] = set()
    for graph in model.graphs:
        for tensor, users in edit.constant_users(graph).items():
            codes = plan.weights.get(graph.name(tensor))
            if codes is None or _kept(graph, users, plan):
                continue
            found.add(graph.name(tensor))
            notes += _dynamic_constant(graph, tensor, [graph.ops[k] for k in users], codes, plan)
    edit.sweep(model)
    return Emitted(model.to_bytes(), (*notes, *_unused(plan, found)))


def _dynamic_constant(
    graph: Graph, tensor: int, users: list[Any], codes: WeightCodes, plan: Plan
) -> list[Note]:
    """Store one constant and connect each reader by the hybrid or the DEQUANTIZE route."""
    codes = _spread(codes, {graph.code(op) for op in users})
    stored = _store(graph, tensor, codes, codes.stored)
    notes, slow = [], False
    for op in users:
        name = graph.name(op.outputs[0])
        reason = plan.keep_float.get(name) or _hybrid_refusal(graph, op, tensor, codes)
        if reason is None:
            _make_hybrid(graph, op, tensor, stored, codes)
        else:
            slow = True
            notes.append(Note(graph.code(op), name, f"{reason}: float arithmetic"))
    graph.changed()
    if slow:
        edit.feed(graph, tensor, stored)
    return notes


def _spread(codes: WeightCodes, readers: set[str]) -> WeightCodes:
    """Repeat a single scale per channel for kernels that know no other form."""
    axes = {HYBRID[r].axis for r in readers if r in HYBRID and HYBRID[r].per_tensor is None}
    spec = codes.params.spec
    if spec.axis is not None or len(axes) != 1 or codes.params.zero_point.any():
        return codes
    axis = next(iter(axes))
    assert axis is not None
    scale = np.full(codes.codes.shape[axis], codes.params.scale, np.float32)
    return replace(codes, params=QParams(spec.on(axis), scale))


def _hybrid_version(kernel: Hybrid, codes: WeightCodes) -> int | None:
    if codes.stored == "int4":
        return kernel.int4
    return kernel.per_tensor if codes.params.spec.axis is None else kernel.per_channel


def _hybrid_refusal(graph: Graph, op: Any, tensor: int, codes: WeightCodes) -> str | None:
    code, axis = graph.code(op), codes.params.spec.axis
    if code not in HYBRID or int(op.inputs[HYBRID[code].weight]) != tensor:
        return f"LiteRT has no hybrid kernel for this operand of {code}"
    if codes.params.zero_point.any():
        return "hybrid kernels take no zero point in weights"
    if axis is not None and axis != HYBRID[code].axis:
        return f"the hybrid kernel wants scales along axis {HYBRID[code].axis}, not {axis}"
    if _hybrid_version(HYBRID[code], codes) is None:
        return f"the hybrid kernel of {code} does not take {codes.stored} codes with axis {axis}"
    return None


def _make_hybrid(graph: Graph, op: Any, tensor: int, stored: int, codes: WeightCodes) -> None:
    code = graph.code(op)
    patch.replace_input(op, tensor, stored)
    edit.set_version(graph.model, op, code, _hybrid_version(HYBRID[code], codes) or 1)
    if hasattr(op.builtinOptions, "asymmetricQuantizeInputs"):
        op.builtinOptions.asymmetricQuantizeInputs = True
