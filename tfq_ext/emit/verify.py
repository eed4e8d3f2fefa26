"""Read the finished file back: every integer, scale and zero point must be the chosen one."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.emit.patched.kernels import fixed_grid
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.twins import Twins
from tfq_ext.errors import EmissionError
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, round_half_away
from tfq_ext.tflite.facts import FIXED_OUTPUT, WEIGHTS
from tfq_ext.tflite.read import Graph, Model

_SHOWN = 5
_SPECS = {"int8": INT8_ACTIVATION, "int16": INT16_ACTIVATION}
_BIAS_MAX = {"int32": 2.0**31 - 1, "int64": 2.0**62}


@dataclass
class ReadBack:
    """How much was compared; `absent` names what the file no longer has (folded away)."""

    weights: int = 0
    ranges: int = 0
    biases: int = 0
    absent: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {
            "weight tensors": self.weights,
            "activation grids": self.ranges,
            "biases": self.biases,
        }
        parts = [f"{n} {what}" for what, n in counts.items() if n]
        if not parts:
            return "No integers to read back"
        listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
        folded = f"; {len(self.absent)} tensors are part of others there" if self.absent else ""
        return f"{listed} read back equal{folded}"


def verify(content: bytes, pivot: Model, plan: Plan) -> ReadBack:
    """Compare a finished int8 file with its plan.

    Returns:
        ReadBack with the counts.

    Raises:
        EmissionError: some integer, scale or zero point differs; the first few are named.
    """
    file = Model.parse(content, source="the emitted file")
    result = ReadBack()
    for graph in pivot.graphs:
        if graph.index < len(file.graphs):
            _compare(graph, file.graphs[graph.index], plan, result)
    _raise_if_different(result)
    return result


def _raise_if_different(result: ReadBack) -> None:
    if result.different:
        shown = "; ".join(result.different[:_SHOWN])
        raise EmissionError(
            f"{len(result.different)} values in the emitted file are not those chosen: {shown}. "
            "The file was not written. Please report this with the model."
        )


def _compare(graph: Graph, file: Graph, plan: Plan, result: ReadBack) -> None:
    twins = Twins(file, graph)
    fixed = {int(o): graph.code(op) for op in graph.ops for o in op.outputs}
    for name, r in plan.ranges.items():
        tensor = graph.by_name.get(name)
        if tensor is None:
            continue
        code = fixed.get(tensor, "")
        twin = twins.integer(name)
        if twin is not None and code in FIXED_OUTPUT:
            twin = twins.before_bridge(twin, code)
        spec = _SPECS.get(file.dtype(twin)) if twin is not None else None
        if twin is None or spec is None:
            result.absent.append(name)
            continue
        wanted = fixed_grid(code, file.dtype(twin))
        wanted = wanted or QParams.from_range(spec, r)
        _check_params(name, file, twin, wanted, result)
        result.ranges += 1
    for op in graph.ops:
        if graph.code(op) in WEIGHTS and graph.name(op.outputs[0]) not in plan.keep_float:
            _check_layer(graph, op, file, twins, plan, result)


def _check_layer(
    graph: Graph, op: Any, file: Graph, twins: Twins, plan: Plan, result: ReadBack
) -> None:
    code, name = graph.code(op), graph.name(op.outputs[0])
    fact = WEIGHTS[code]
    codes = plan.weights.get(graph.name(op.inputs[fact.weight]))
    if codes is None:
        return
    twin = twins.op(name, code)
    if twin is None:
        result.absent.append(f"{code} {name}")
        return
    stored = int(twin.inputs[fact.weight])
    label = f"weight of {code} {name}"
    if file.dtype(stored) == "float32":
        result.absent.append(label)
        return
    found = file.constant(stored)
    if found is None or not np.array_equal(found, codes.codes):
        result.different.append(f"{label}: other integers")
    _check_params(label, file, stored, codes.params, result)
    result.weights += 1
    _check_bias(graph, op, file, twin, codes, result)


def _check_bias(
    graph: Graph, op: Any, file: Graph, twin: Any, codes: WeightCodes, result: ReadBack
) -> None:
    fact = WEIGHTS[graph.code(op)]
    if fact.bias is None or len(op.inputs) <= fact.bias or op.inputs[fact.bias] < 0:
        return
    bias = graph.constant(op.inputs[fact.bias])
    stored = int(twin.inputs[fact.bias]) if len(twin.inputs) > fact.bias else -1
    if bias is None or stored < 0 or file.dtype(stored) not in _BIAS_MAX:
        return
    s_x = float(file.tensors[twin.inputs[fact.data]].quantization.scale[0])
    s_w = np.atleast_1d(codes.params.scale).astype(np.float64)
    end = _BIAS_MAX[file.dtype(stored)]
    wanted = np.clip(round_half_away(bias.astype(np.float64) / (s_x * s_w)), -end, end)
    found = file.constant(stored)
    if found is None or np.any(np.abs(found.reshape(-1) - wanted) > _bias_slack(wanted)):
        result.different.append(f"bias of {graph.name(op.outputs[0])}: other integers")
    result.biases += 1


def _bias_slack(wanted: np.ndarray) -> np.ndarray:
    """The converter works in float32: product of scales, its reciprocal and the quotient round by
    2^-24 each (72 codes of 5.4e8 were seen), and a tie."""
    return 1.0 + np.abs(wanted) * 2.0**-22


def _check_params(label: str, file: Graph, tensor: int, wanted: QParams, result: ReadBack) -> None:
    q = file.tensors[tensor].quantization
    scale = np.asarray(q.scale if q is not None and q.scale is not None else [], np.float32)
    zero = np.asarray(q.zeroPoint if q is not None and q.zeroPoint is not None else [], np.int64)
    for what, found, chosen in (
        ("scale", scale, np.atleast_1d(wanted.scale)),
        ("zero point", zero, np.atleast_1d(wanted.zero_point)),
    ):
        if not np.array_equal(found, chosen):
            result.different.append(f"{label}: {what} {_head(found)}, chosen {_head(chosen)}")


def _head(values: np.ndarray) -> str:
    return ", ".join(f"{v:.9g}" for v in values[:3]) + (", ..." if len(values) > 3 else "")


def verify_constants(content: bytes, plan: Plan, unused: Container[str] = ()) -> ReadBack:
    """The same for files whose activations stay float: every chosen weight must be in the file.

    Args:
        content: the file.
        plan: what was chosen.
        unused: constants that the emitter says no op reads in integers.

    Raises:
        EmissionError: a weight whose integers or scales are nowhere in the file.
    """
    file = Model.parse(content, source="the emitted file")
    stored: dict[bytes, list[np.ndarray]] = {}
    for graph in file.graphs:
        for t in range(len(graph.tensors)):
            if graph.dtype(t) in ("int8", "int4") and graph.is_constant(t):
                stored.setdefault(_bytes(graph.constant(t)), []).append(_scales(graph, t))
    result = ReadBack()
    for name, chosen in plan.weights.items():
        twins = stored.get(_bytes(chosen.codes))
        if twins is None:
            missing = result.absent if name in unused else result.different
            missing.append(f"{name}: its integers are not there")
        elif any(_same_scales(scales, chosen.params.scale) for scales in twins):
            result.weights += 1
        else:
            result.different.append(f"{name}: other scales")
    _raise_if_different(result)
    return result


def _scales(graph: Graph, tensor: int) -> np.ndarray:
    q = graph.tensors[tensor].quantization
    return np.asarray(q.scale if q is not None and q.scale is not None else [], np.float32)


def _same_scales(found: np.ndarray, chosen: np.ndarray) -> bool:
    """Equal, or one scale repeated per channel for a kernel that reads no other form."""
    return bool(
        found.size
        and (
            np.array_equal(found, np.atleast_1d(chosen))
            or (chosen.ndim == 0 and np.all(found == chosen))
        )
    )


def _bytes(values: np.ndarray | None) -> bytes:
    return b"" if values is None else np.ascontiguousarray(values).tobytes()
