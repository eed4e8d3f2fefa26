"""Edits that every patched emitter needs: conversions, stored codes, and sweeping up after."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfq_ext.spec import QParams
from tfq_ext.tflite import patch
from tfq_ext.tflite.facts import NO_BUFFER
from tfq_ext.tflite.read import Graph, Model

# Oldest op version per type of the integer side (op_version.cc); per-channel codes need more.
_DEQUANTIZE = {"uint8": 1, "int8": 2, "int16": 3, "float16": 3, "int4": 6}
_DEQUANTIZE_PER_CHANNEL = 5
_QUANTIZE = {"uint8": 1, "int8": 1, "int16": 2}


def quantize(graph: Graph, position: int, source: int, target: int) -> Any:
    """Insert QUANTIZE before op `position`; also converts between integer grids."""
    version = max(_QUANTIZE[graph.dtype(target)], _QUANTIZE.get(graph.dtype(source), 1))
    return patch.insert_op(graph, position, "QUANTIZE", [source], [target], version=version)


def dequantize(graph: Graph, position: int, source: int, target: int) -> Any:
    """Insert DEQUANTIZE before op `position`, with the version that the codes' type needs."""
    version = _DEQUANTIZE[graph.dtype(source)]
    q = graph.tensors[source].quantization
    if q is not None and q.scale is not None and len(q.scale) > 1:
        version = max(version, _DEQUANTIZE_PER_CHANNEL)
    return patch.insert_op(graph, position, "DEQUANTIZE", [source], [target], version=version)


def store_codes(
    graph: Graph, tensor: int, suffix: str, dtype: str, codes: np.ndarray, params: QParams | None
) -> int:
    """A new constant of the shape of `tensor`; `sweep` gives it the name if that falls free."""
    shape = graph.tensors[tensor].shape or ()
    return patch.add_tensor(
        graph, graph.name(tensor) + suffix, dtype, shape, values=codes, params=params
    )


def feed(graph: Graph, tensor: int, source: int) -> None:
    """Let a float constant be computed by DEQUANTIZE from `source`, before all who read it."""
    graph.tensors[tensor].buffer = patch.add_buffer(graph.model, None)
    dequantize(graph, min(graph.consumers.get(tensor, [0])), source, tensor)


def set_version(model: Model, op: Any, name: str, version: int) -> None:
    """Require at least `version` of the op's kernel."""
    op.opcodeIndex = patch.add_op_code(model, name, version)


def sweep(model: Model, names: Iterable[tuple[Graph, int, str]] = ()) -> None:
    """Drop tensors and buffers that nothing reads, and store equal constants once.

    Args:
        model: edited in place; tensor indices change.
        names: (graph, tensor, name) that a tensor takes if no other has it by then.
    """
    wanted = [(graph, graph.tensors[tensor], name) for graph, tensor, name in names]
    for graph in model.graphs:
        _drop_tensors(graph)
    for graph, tensor, name in wanted:
        if name not in graph.by_name:
            tensor.name = name.encode()
            graph.changed()
    _drop_buffers(model)


def _index_fields(graph: Graph) -> Iterator[tuple[Any, str]]:
    """Every (object, field) of a subgraph that holds a list of tensor indices."""
    yield graph.tree, "inputs"
    yield graph.tree, "outputs"
    for op in graph.ops:
        yield from ((op, field) for field in ("inputs", "outputs", "intermediates"))


def _drop_tensors(graph: Graph) -> None:
    fields = [(o, f, getattr(o, f)) for o, f in _index_fields(graph) if getattr(o, f) is not None]
    used = {int(i) for _, _, indices in fields for i in indices if i >= 0}
    kept = [i for i in range(len(graph.tensors)) if i in used]
    new = {-1: -1} | {old: k for k, old in enumerate(kept)}
    for holder, field, indices in fields:
        setattr(holder, field, [new[int(i)] for i in indices])
    for signature in graph.model.tree.signatureDefs or ():
        if signature.subgraphIndex == graph.index:
            for entry in [*(signature.inputs or ()), *(signature.outputs or ())]:
                entry.tensorIndex = new[int(entry.tensorIndex)]
    graph.tree.tensors = [graph.tensors[i] for i in kept]
    graph.changed()


def _drop_buffers(model: Model) -> None:
    buffers = model.tree.buffers
    first: dict[object, int] = {}
    kept: list[Any] = []

    def place(old: int) -> int:
        key = _content_key(buffers[old].data, old)
        if key not in first:
            first[key] = len(kept)
            kept.append(buffers[old])
        return first[key]

    place(NO_BUFFER)
    for graph in model.graphs:
        for tensor in graph.tensors:
            tensor.buffer = place(tensor.buffer)
    for entry in model.tree.metadata or ():
        entry.buffer = place(entry.buffer)
    if model.tree.metadataBuffer is not None:  # deprecated field, out of range in some old files
        indices = [int(i) for i in model.tree.metadataBuffer if i < len(buffers)]
        model.tree.metadataBuffer = [place(i) for i in indices]
    model.tree.buffers = kept


def _content_key(data: Any, index: int) -> object:
    """Equal for equal constants; an empty buffer is like no other but itself."""
    if data is None or len(data) == 0:
        return index
    raw = np.ascontiguousarray(data, np.uint8)
    return len(raw), hashlib.blake2b(raw.data, digest_size=16).digest()


def constant_users(graph: Graph) -> dict[int, list[int]]:
    """Float32 constants -> indices of the ops that read them, in tensor order."""
    return {
        t: users
        for t, users in sorted(graph.consumers.items())
        if graph.dtype(t) == "float32" and graph.is_constant(t)
    }
