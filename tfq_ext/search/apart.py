"""A finished file taken apart: integers of weights, and biases, by the names of the pivot."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.emit.twins import Twins
from tfq_ext.spec import QParams, QSpec
from tfq_ext.tflite.facts import WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model

FAR = 0.5  # |decoded - weight|^2 over |weight|^2: such codes belong to another weight
BIASES = ("int32", "int64")


@dataclass
class Apart:
    """What a file holds.

    Args:
        codes: weight constant -> integers.
        biases: bias constant -> the reals that its integers stand for, float32[C].
    """

    codes: dict[str, WeightCodes] = field(default_factory=dict)
    biases: dict[str, np.ndarray] = field(default_factory=dict)


def taken_apart(content: bytes, pivot: Model) -> Apart:
    """Every weight and bias that the file has in integers."""
    file, found = Model.parse(content, source="the emitted file"), Apart()
    for graph in (g for g in pivot.graphs if g.index < len(file.graphs)):
        twins = Twins(file.graphs[graph.index], graph)
        for op in graph.ops:
            fact = WEIGHTS.get(graph.code(op))
            if fact is None or len(op.inputs) <= fact.weight:
                continue
            twin = twins.op(graph.name(op.outputs[0]), graph.code(op))
            if twin is not None:
                _take(graph, op, file.graphs[graph.index], twin, fact, found)
    return found


def _take(graph: Graph, op: Any, file: Graph, twin: Any, fact: WeightFact, found: Apart) -> None:
    tensor = int(op.inputs[fact.weight])
    real, codes = graph.constant(tensor), _codes(file, int(twin.inputs[fact.weight]), fact.axis)
    if real is None or codes is None or codes.codes.shape != real.shape or not _near(codes, real):
        return
    found.codes[graph.name(tensor)] = codes
    k = fact.bias
    if k is None or len(op.inputs) <= k or len(twin.inputs) <= k or op.inputs[k] < 0:
        return
    stored = int(twin.inputs[k])
    values = file.constant(stored) if stored >= 0 and file.dtype(stored) in BIASES else None
    if values is not None:
        s_x = np.float64(file.tensors[twin.inputs[fact.data]].quantization.scale[0])
        reals = values.reshape(-1) * (s_x * np.float64(codes.params.scale))
        found.biases[graph.name(int(op.inputs[k]))] = reals.astype(np.float32)


def _codes(file: Graph, tensor: int, axis: int) -> WeightCodes | None:
    kind, q = file.dtype(tensor), file.tensors[tensor].quantization
    values = file.constant(tensor)
    if kind not in ("int8", "int4") or values is None or q is None or q.scale is None:
        return None
    scale = np.asarray(q.scale, np.float32)
    per_channel = len(scale) > 1
    spec = QSpec(int(kind[3:]), axis=axis if per_channel else None)
    params = QParams(spec, scale if per_channel else scale[0])
    return WeightCodes(values.astype(np.int8), params, kind)


def _near(codes: WeightCodes, real: np.ndarray) -> bool:
    """Whether these are this weight's codes, and not those of a channel-scaled one."""
    power = float(np.square(real, dtype=np.float64).sum())
    error = codes.params.decode(codes.codes).astype(np.float64) - real
    return float(np.square(error).sum()) <= FAR * power
