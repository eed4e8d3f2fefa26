"""Grids that no kernel has, in float: FAKE_QUANT ops and fake-quantized weights in the pivot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.emit.patched import edit
from tfq_ext.emit.patched.assign import assign
from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.emit.patched.treat import Treatment, note, op_name, operands, results
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Emitted, Note
from tfq_ext.errors import SpecError
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model

_DTYPE = "int8"  # the column of the kernel table: simulation asks only which ops quantize at all


def emit(pivot: Model, plan: Plan, activation: QSpec = INT8_ACTIVATION) -> Emitted:
    r"""The pivot computing on the reals that survive quantization.

    .. math:: \\hat x = s (\\mathrm{clip}(\\lfloor x / s \\rceil + z) - z)

    Weights are replaced by their decoded codes; activations with a range pass a FAKE_QUANT op.
    Accumulators and biases stay float, so a layer differs from an integer kernel by its output
    rounding only.

    Args:
        pivot: float model, not changed.
        plan: `ranges`, `weights` (also asymmetric, per tensor or channel) and `keep_float`.
        activation: grid of the activations, 2 to 16 bits, one scale per tensor.

    Raises:
        SpecError: `activation` has an axis, or is narrow.

    Source: Krishnamoorthi 1806.08342, section 2.4 (simulated quantization).
    """
    if activation.axis is not None or activation.narrow:
        raise SpecError(
            "Activations are simulated with one scale per tensor and all codes (LiteRT refuses "
            f"a narrow FAKE_QUANT): axis must be None and narrow False, got {activation}."
        )
    model = pivot.copy()
    notes: list[Note] = []
    for graph in model.graphs:
        _fake_weights(graph, plan)
        notes += _fake_activations(graph, plan, activation)
    edit.sweep(model)
    return Emitted(model.to_bytes(), tuple(notes))


def _fake_weights(graph: Graph, plan: Plan) -> None:
    """Decoded codes in place of each constant; readers that stay float keep the original."""
    for tensor, users in edit.constant_users(graph).items():
        chosen = plan.weights.get(graph.name(tensor))
        if chosen is None:
            continue
        values = chosen.params.decode(chosen.codes)
        new = edit.store_codes(graph, tensor, "/fake_quant", "float32", values, None)
        for k in users:
            if op_name(graph, graph.ops[k]) not in plan.keep_float:
                patch.replace_input(graph.ops[k], tensor, new)
        graph.changed()


def _fake_activations(graph: Graph, plan: Plan, activation: QSpec) -> list[Note]:
    treatment = _treat(graph, plan)
    grids, treatment = assign(graph, treatment, plan, {_DTYPE: activation}, prescribed=False)
    fed = _inputs_read(graph, treatment)
    made = _results_made(graph, treatment)
    for tensor in [*made, *fed]:
        grid = grids.get((tensor, _DTYPE))
        if grid is not None:
            insert(graph, tensor, grid)
    return list(treatment.notes)


def _treat(graph: Graph, plan: Plan) -> Treatment:
    """Every op that some integer kernel exists for, whatever its weights look like."""
    dtypes, notes = {}, []
    for k, op in enumerate(graph.ops):
        if not operands(graph, op):
            continue
        code = graph.code(op)
        reason = plan.keep_float.get(op_name(graph, op))
        if reason is None and code not in KERNELS:
            reason = f"LiteRT has no integer kernel for {code}"
        if reason is None:
            dtypes[k] = _DTYPE
        else:
            notes.append(note(graph, op, reason))
    return Treatment(dtypes, tuple(notes))


def _results_made(graph: Graph, treatment: Treatment) -> Iterable[int]:
    """Activations that a quantized op writes, last first so that op indices stay valid."""
    return [t for k in sorted(treatment.dtype, reverse=True) for t in results(graph, graph.ops[k])]


def _inputs_read(graph: Graph, treatment: Treatment) -> list[int]:
    """Activations that a quantized op reads and none writes: inputs, results of float ops."""
    made = set(_results_made(graph, treatment))
    read = {t for k in treatment.dtype for t in operands(graph, graph.ops[k])}
    return sorted(t for t in read - made if not graph.is_constant(t))


def insert(graph: Graph, tensor: int, grid: QParams) -> None:
    """Route every reader of `tensor` (and the subgraph's output) through FAKE_QUANT.

    Where an op writes the tensor, the op writes a new one and FAKE_QUANT takes its place, so
    that names outside stay; an input keeps its place and its readers move.
    """
    producer = graph.producer.get(tensor)
    if producer is None:
        new = patch.like(graph, tensor, "/fake_quant")
        for k in graph.consumers.get(tensor, ()):
            patch.replace_input(graph.ops[k], tensor, new)
        source, target, position = tensor, new, 0
    else:
        raw = patch.like(graph, tensor, "/real")
        op = graph.ops[producer]
        op.outputs = [raw if int(t) == tensor else int(t) for t in op.outputs]
        source, target, position = raw, tensor, producer + 1
    patch.insert_op(graph, position, "FAKE_QUANT", [source], [target], options=_options(grid))


def _options(grid: QParams) -> tuple[str, Any]:
    """FAKE_QUANT's ends are those of the grid, so that its own nudging moves nothing."""
    options = schema.FakeQuantOptionsT()
    ends = grid.range
    options.min, options.max = float(np.float32(ends.min)), float(np.float32(ends.max))
    options.numBits = grid.spec.bits
    return "FakeQuantOptions", options
