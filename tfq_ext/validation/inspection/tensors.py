"""Rows of tensors, sparse constants, subgraphs and signatures."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph, Model, text
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene, indices
from tfq_ext.validation.inspection.rows import GraphRow, Signature, SparseRow, TensorRow

_CODES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}
_CODES |= {"int4": (-8, 7), "int2": (-2, 1)}
# Ops whose output is never a scalar.
SHAPED = frozenset({*WEIGHTS, "BATCH_MATMUL", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR"})
_BYTES = {"int64": 8, "uint64": 8, "float64": 8, "complex64": 8, "complex128": 16, "bool": 1}
_BYTES |= {"float32": 4, "int32": 4, "uint32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
_BYTES |= {"uint16": 2, "int8": 1, "uint8": 1, "int4": 1, "int2": 1}


def tensor_rows(graph: Graph) -> list[TensorRow]:
    """Every tensor of one subgraph."""
    rows = []
    for k, tensor in enumerate(graph.tensors):
        stored = len(graph.model.tree.buffers[tensor.buffer].data) if graph.is_constant(k) else 0
        scale, zero, scales, axis = _grid(graph, k)
        rows.append(
            TensorRow(
                k,
                graph.index,
                graph.name(k),
                graph.dtype(k),
                graph.shape(k),
                _kind(graph, k),
                stored,
                int(tensor.buffer) if stored else 0,
                scale,
                zero,
                scales,
                axis,
                _range(graph.dtype(k), scale, zero),
                graph.producer.get(k),
                len(graph.consumers.get(k, ())),
            )
        )
    return rows


def _kind(graph: Graph, tensor: int) -> str:
    kinds = {
        "input": tensor in graph.inputs,
        "output": tensor in graph.outputs,
        "constant": graph.is_constant(tensor),
        "variable": bool(graph.tensors[tensor].isVariable),
    }
    return next((name for name, fits in kinds.items() if fits), "activation")


def _grid(graph: Graph, tensor: int) -> tuple[float | None, int | None, int, int | None]:
    q = graph.tensors[tensor].quantization
    if q is None or q.scale is None or not len(q.scale):
        return None, None, 0, None
    zero = int(q.zeroPoint[0]) if q.zeroPoint is not None and len(q.zeroPoint) else 0
    count = len(q.scale)
    return float(q.scale[0]), zero, count, int(q.quantizedDimension) if count > 1 else None


def _range(dtype: str, scale: float | None, zero: int | None) -> tuple[float, float] | None:
    if scale is None or zero is None or dtype not in _CODES:
        return None
    low, high = _CODES[dtype]
    return (low - zero) * scale, (high - zero) * scale


def sparse_rows(scene: Scene) -> tuple[SparseRow, ...]:
    """Constants with sparsity parameters."""
    rows = []
    for graph in scene.model.graphs:
        for k, tensor in enumerate(graph.tensors):
            if tensor.sparsity is None or not graph.is_constant(k):
                continue
            raw = len(scene.model.tree.buffers[tensor.buffer].data)
            bits = macs.BITS.get(graph.dtype(k), 32)
            order, block = indices(tensor.sparsity.traversalOrder), tensor.sparsity.blockMap
            sizes = [
                int(d.denseSize)
                for d in (tensor.sparsity.dimMetadata or ())[len(macs.sizes(graph, k)) :]
            ]
            rows.append(
                SparseRow(
                    graph.index,
                    graph.name(k),
                    graph.dtype(k),
                    graph.shape(k),
                    raw * 8 // bits,
                    prod(macs.sizes(graph, k)),
                    tuple(sizes) if order and block is not None else (),
                )
            )
    return tuple(rows)


def graph_row(graph: Graph, places: list[Place], work: Mapping[Place, int | None]) -> GraphRow:
    """One subgraph's figures."""
    peak, at = _peak(graph)
    return GraphRow(
        graph.index,
        text(graph.tree.name),
        "entry" if graph.is_entry else "body",
        len(graph.ops),
        len(graph.tensors),
        tuple(indices(graph.tree.inputs)),
        tuple(indices(graph.tree.outputs)),
        sum(work[p] or 0 for p in places if p.graph is graph),
        sum(-1 in graph.shape(k) for k in range(len(graph.tensors))),
        peak,
        at,
    )


def _bytes(graph: Graph, tensor: int) -> int:
    return prod(macs.sizes(graph, tensor)) * _BYTES.get(graph.dtype(tensor), 0)


def _peak(graph: Graph) -> tuple[int | None, int | None]:
    """Bytes of the activations alive at the fullest op, and that op.

    Alive: from the op that makes it (the start, for inputs) to its last reader (the end, for
    outputs); what one op reads and writes lives at once. State lives always. Open dimensions
    count as 1.
    """
    last = len(graph.ops) - 1
    states = {k for k, t in enumerate(graph.tensors) if t.isVariable}
    alive = [t for t in {*graph.inputs, *graph.producer, *states} if not graph.is_constant(t)]
    if last < 0 or any(not _recorded(graph, t) for t in alive):
        return None, None
    change = np.zeros(last + 2, np.int64)
    for t in alive:
        lasting = t in states or t in graph.outputs
        begin = 0 if t in states or t in graph.inputs else graph.producer[t]
        end = last if lasting else graph.consumers.get(t, [begin])[-1]
        change[begin] += _bytes(graph, t)
        change[max(end, begin) + 1] -= _bytes(graph, t)
    totals = np.cumsum(change[:-1])
    at = int(totals.argmax())
    return int(totals[at]), at


def _recorded(graph: Graph, tensor: int) -> bool:
    """Whether the file has the shape: converters leave () where an op's output is not inferred.

    A true scalar takes next to nothing, so only what a weighted or windowed op makes is doubted.
    """
    shape = graph.tensors[tensor].shape
    maker = graph.producer.get(tensor)
    plain = maker is None or graph.code(graph.ops[maker]) not in SHAPED
    return plain or (shape is not None and len(shape) > 0)


def signatures(model: Model) -> tuple[Signature, ...]:
    """Every signature of the file."""
    return tuple(
        Signature(
            key,
            int(s.subgraphIndex),
            tuple((text(e.name), int(e.tensorIndex)) for e in s.inputs or ()),
            tuple((text(e.name), int(e.tensorIndex)) for e in s.outputs or ()),
        )
        for key, s in model.signatures.items()
    )
