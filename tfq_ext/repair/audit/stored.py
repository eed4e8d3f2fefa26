"""A finished integer file, read back as ranges and integers of the float model's tensors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfq_ext.emit.islands import float_ops
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.to_float.quantized import refuse_quantized
from tfq_ext.emit.twins import Twins
from tfq_ext.errors import ModelError
from tfq_ext.repair.audit.values import FileFacts
from tfq_ext.spec import QParams, QSpec, Range
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph, Model

_BRIDGES = ("QUANTIZE", "DEQUANTIZE")
_ACTIVATIONS = ("int8", "uint8", "int16")
_WEIGHT_BITS = {"int8": 8, "int4": 4, "int2": 2}


def integer_file(source: object) -> Model | None:
    """The parsed file if `source` is a .tflite (path or bytes) that computes with integers."""
    if isinstance(source, str | os.PathLike):
        if not str(source).endswith(".tflite"):
            return None
    elif not isinstance(source, bytes | bytearray):
        return None
    model = Model.load(source)
    try:
        refuse_quantized(model, "")
    except ModelError:
        return model
    return None


class Pairs:
    """Which tensors and ops of an integer file stand for which of the float model.

    By name where names survived; where the two graphs have the same ops in the same order,
    bridges aside, by position (two conversions of one Keras model number their names anew).
    """

    def __init__(self, graph: Graph, file: Graph):
        self.graph, self.file = graph, file
        self.ops = self._by_order() or self._by_name()
        self.tensors = dict(self._tensors())

    def _by_order(self) -> dict[int, int]:
        mine = [k for k, op in enumerate(self.graph.ops) if self.graph.code(op) not in _BRIDGES]
        other = [k for k, op in enumerate(self.file.ops) if self.file.code(op) not in _BRIDGES]
        codes = [self.graph.code(self.graph.ops[k]) for k in mine]
        if codes != [self.file.code(self.file.ops[k]) for k in other]:
            return {}
        return dict(zip(mine, other, strict=True))

    def _by_name(self) -> dict[int, int]:
        twins, found = Twins(self.file, self.graph), {}
        for k, op in enumerate(self.graph.ops):
            twin = twins.integer(self.graph.name(int(op.outputs[0])))
            other = None if twin is None else self.file.producer.get(twin)
            if other is not None and self.file.code(self.file.ops[other]) == self.graph.code(op):
                found[k] = other
        return found

    def _tensors(self) -> Iterator[tuple[int, int]]:
        for mine, other in zip(self.graph.inputs, self.file.inputs, strict=False):
            yield mine, self._quantized(other)
        for mine, other in self.ops.items():
            pairs = zip(self.graph.ops[mine].outputs, self.file.ops[other].outputs, strict=False)
            yield from ((int(a), int(b)) for a, b in pairs)

    def _quantized(self, tensor: int) -> int:
        """What a float input becomes; the input itself when it is an integer already."""
        for k in self.file.consumers.get(tensor, ()):
            op = self.file.ops[k]
            if self.file.code(op) == "QUANTIZE" and self.file.dtype(tensor) == "float32":
                return int(op.outputs[0])
        return tensor


def plan_of(pivot: Model, file: Model) -> Plan:
    """Ranges and weight integers of the file under the float model's names."""
    ranges: dict[str, Range] = {}
    weights: dict[str, WeightCodes] = {}
    for graph, pairs in _paired(pivot, file):
        for tensor, other in pairs.tensors.items():
            found = grid_range(pairs.file, other)
            if found is not None:
                ranges[graph.name(tensor)] = found
        for k, other in pairs.ops.items():
            weights |= _codes(graph, graph.ops[k], pairs.file, pairs.file.ops[other])
    return Plan(ranges=ranges, weights=weights)


def _paired(pivot: Model, file: Model) -> Iterator[tuple[Graph, Pairs]]:
    for graph, other in zip(pivot.graphs, file.graphs, strict=False):
        yield graph, Pairs(graph, other)


def grid_range(graph: Graph, tensor: int) -> Range | None:
    """The reals between the outermost codes of an integer activation, or None."""
    q, dtype = graph.tensors[tensor].quantization, graph.dtype(tensor)
    if dtype not in _ACTIVATIONS or q is None or q.scale is None or len(q.scale) != 1:
        return None
    codes, s, z = np.iinfo(dtype), float(q.scale[0]), int(q.zeroPoint[0])
    return Range.of((codes.min - z) * s, (codes.max - z) * s)


def _codes(graph: Graph, op: Any, file: Graph, twin: Any) -> dict[str, WeightCodes]:
    code = graph.code(op)
    if code not in WEIGHTS:
        return {}
    position = WEIGHTS[code].weight
    mine, other = int(op.inputs[position]), int(twin.inputs[position])
    weight, codes = graph.constant(mine), file.constant(other)
    dtype, q = file.dtype(other), file.tensors[other].quantization
    if weight is None or codes is None or dtype not in _WEIGHT_BITS or codes.shape != weight.shape:
        return {}
    per_channel = len(q.scale) > 1
    axis = int(q.quantizedDimension) if per_channel else None
    spec = QSpec(_WEIGHT_BITS[dtype], symmetric=True, axis=axis)
    scale = np.asarray(q.scale, np.float32) if per_channel else float(q.scale[0])
    stored = "int8" if spec.bits == 8 else "int4"
    return {graph.name(mine): WeightCodes(codes, QParams(spec, scale), stored)}


def facts(pivot: Model, file: Model, plan: Plan, labels: dict[str, str]) -> FileFacts:
    """Weights by kind of scale, ops left float, tensors that were not found."""
    single, channels = [], 0
    for graph, _, op, code in pivot.walk():
        name = graph.name(op.inputs[WEIGHTS[code].weight]) if code in WEIGHTS else ""
        if name in plan.weights:
            alone = plan.weights[name].params.spec.axis is None and _channels(graph, op) > 1
            single += [labels.get(n := graph.name(op.outputs[0]), n)] if alone else []
            channels += not alone
    absent = [
        graph.name(t)
        for graph, pairs in _paired(pivot, file)
        for op in graph.ops
        for t in op.outputs
        if int(t) not in pairs.tensors
    ]
    return FileFacts(channels, tuple(single), tuple(float_ops(file)), tuple(absent))


def _channels(graph: Graph, op: Any) -> int:
    fact = WEIGHTS[graph.code(op)]
    return int(graph.shape(int(op.inputs[fact.weight]))[fact.axis])
