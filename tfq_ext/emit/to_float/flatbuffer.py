"""A float .tflite of any origin -> the pivot's form: plain float32 constants, unique names."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np

from tfq_ext.emit.to_float.densify import dense
from tfq_ext.emit.to_float.moved import complete_pairs, move_floats
from tfq_ext.emit.to_float.quantized import carries_fake_quant
from tfq_ext.emit.to_float.request import Converted, Request
from tfq_ext.errors import ModelError
from tfq_ext.tflite import bits
from tfq_ext.tflite.facts import NO_BUFFER, TYPE_CODES
from tfq_ext.tflite.patch import add_buffer
from tfq_ext.tflite.read import Graph, Model, digest, read_bytes, text

HALF = "float16"
STORED = (HALF, "int8", "uint8", "int16", "int4", "int2")  # DEQUANTIZE makes float32 of these


def convert_tflite(source: str | os.PathLike[str] | bytes, request: Request) -> Converted:
    """Read the bytes; the checks are those of every pivot, done later."""
    data = read_bytes(source)
    if request.batch is not None:
        raise ModelError(
            "batch= applies to models that are still to be converted; a .tflite has its shapes. "
            "Convert the original model with batch=."
        )
    return Converted(data, (), digest(data))


def choose_signatures(model: Model, request: Request, source: str) -> None:
    """Keep only the signatures asked for; the subgraphs stay.

    Raises:
        ModelError: a signature that the file does not have.
    """
    keys = request.choose(list(model.signatures), source)
    if request.signatures:
        defs = model.tree.signatureDefs
        model.tree.signatureDefs = [s for s in defs if text(s.signatureKey) in keys]


def fold_constants(model: Model) -> list[str]:
    """DENSIFY and DEQUANTIZE of constants become float32 constants; exact. Returns notes.

    Constants behind DEQUANTIZE stay in a model that carries fake quantization: they are its grids.
    """
    keep_codes = carries_fake_quant(model)
    done: Counter[str] = Counter()
    for graph in model.graphs:
        done["sparse"] += _unsparse(graph)
        if keep_codes:
            move_floats(graph)
            complete_pairs(graph)
        done += _fold_graph(graph, keep_codes)
        drop_unread(graph)
    empty_unused_buffers(model)
    notes = {
        "sparse": "sparse constants made dense",
        HALF: "float16 constants made float32",
        "codes": "integer weights behind DEQUANTIZE made float32 (their grids are chosen anew)",
    }
    return [f"{done[key]} {note}." for key, note in notes.items() if done[key]]


def _unsparse(graph: Graph) -> int:
    """Store sparse constants densely; returns how many there were."""
    found = 0
    for index, tensor in enumerate(graph.tensors):
        if tensor.sparsity is None:
            continue
        if not graph.is_constant(index) or graph.dtype(index) not in ("float32", *STORED[:2]):
            raise ModelError(
                f"Tensor {graph.name(index)!r} is sparse and of type {graph.dtype(index)}, which "
                "cannot be made dense. Give the model from before it was sparsified."
            )
        raw = np.asarray(graph.model.tree.buffers[tensor.buffer].data, np.uint8)
        dtype = graph.dtype(index)
        values = bits.unpack(raw, dtype, (len(raw) // np.dtype(dtype).itemsize,))
        full = dense(values, tuple(tensor.shape), tensor.sparsity)
        tensor.buffer = add_buffer(graph.model, bits.pack(full, dtype))
        tensor.sparsity = None
        found += 1
    return found


def _fold_graph(graph: Graph, keep_codes: bool) -> Counter[str]:
    done: Counter[str] = Counter()
    shared: dict[tuple[int, bytes], int] = {}  # tied weights stay tied
    kept = []
    for op in graph.ops:
        code, source = graph.code(op), int(op.inputs[0]) if len(op.inputs) else -1
        dtype = graph.dtype(source) if graph.is_constant(source) else ""
        kind = HALF if dtype == HALF else "codes"
        foldable = code == "DENSIFY" or (
            code == "DEQUANTIZE" and dtype in STORED and not (kind == "codes" and keep_codes)
        )
        if not (dtype and foldable):
            kept.append(op)
            continue
        target = graph.tensors[op.outputs[0]]
        if code == "DENSIFY":
            target.buffer = graph.tensors[source].buffer
        else:
            target.buffer = _float_buffer(graph, source, shared)
            target.type = TYPE_CODES["float32"]
            done[kind] += 1
    graph.tree.operators = kept
    graph.changed()
    return done


def _float_buffer(graph: Graph, source: int, shared: dict[tuple[int, bytes], int]) -> int:
    """Buffer with float32 values of a float16 or integer constant."""
    tensor = graph.tensors[source]
    q = tensor.quantization
    scale = np.asarray([] if q is None or q.scale is None else q.scale, np.float32)
    key = (tensor.buffer, scale.tobytes())
    if key not in shared:
        values = graph.constant(source)
        assert values is not None
        real = (
            values.astype(np.float32)
            if graph.dtype(source) == HALF
            else _decode(values, scale, q, graph.name(source))
        )
        shared[key] = add_buffer(graph.model, bits.pack(real, "float32"))
    return shared[key]


def _decode(codes: np.ndarray, scale: np.ndarray, q: Any, name: str) -> np.ndarray:
    """scale * (code - zero point), as the DEQUANTIZE kernel computes it: float32[codes' shape]."""
    axis = 0 if q is None else int(q.quantizedDimension or 0)
    fits = len(scale) == 1 or (codes.ndim > axis and len(scale) == codes.shape[axis])
    if not len(scale) or not fits or getattr(q, "details", None) is not None:
        raise ModelError(
            f"Constant {name!r} has {len(scale)} scales (or scales in blocks) for codes of shape "
            f"{codes.shape}, which tfq_ext cannot turn into floats. Give the float model."
        )
    zero = np.asarray(q.zeroPoint if q.zeroPoint is not None else 0, np.int32).reshape(-1)
    shape = [1] * codes.ndim
    if len(scale) > 1:
        shape[axis] = -1
    zero = np.broadcast_to(zero if len(zero) else 0, scale.shape)
    shifted = codes.astype(np.int32) - zero.reshape(shape if codes.ndim else ())
    return np.asarray(scale.reshape(shape if codes.ndim else ()) * shifted.astype(np.float32))


def drop_unread(graph: Graph) -> None:
    """Remove the tensors that no op, input, output or signature names any more."""
    fields = [(op, n) for op in graph.ops for n in ("inputs", "outputs", "intermediates")]
    fields += [(graph.tree, "inputs"), (graph.tree, "outputs")]
    holders = [(o, n) for o, n in fields if getattr(o, n) is not None]
    maps = [
        entry
        for s in graph.model.tree.signatureDefs or ()
        if s.subgraphIndex == graph.index
        for entry in (*(s.inputs or ()), *(s.outputs or ()))
    ]
    used = {int(i) for o, n in holders for i in getattr(o, n)} | {m.tensorIndex for m in maps}
    order = [i for i in range(len(graph.tensors)) if i in used]
    if len(order) == len(graph.tensors):
        return
    new = {-1: -1, **{old: k for k, old in enumerate(order)}}
    for holder, name in holders:
        setattr(holder, name, [new[int(i)] for i in getattr(holder, name)])
    for entry in maps:
        entry.tensorIndex = new[entry.tensorIndex]
    graph.tree.tensors = [graph.tensors[i] for i in order]
    graph.changed()


def empty_unused_buffers(model: Model) -> None:
    """Forget the bytes that no tensor and no metadata names any more."""
    used = {t.buffer for g in model.graphs for t in g.tensors}
    used |= {m.buffer for m in model.tree.metadata or ()} | {NO_BUFFER}
    used |= set(model.tree.metadataBuffer if model.tree.metadataBuffer is not None else ())
    for index, buffer in enumerate(model.tree.buffers):
        if index not in used:
            buffer.data = None


def unique_names(model: Model) -> list[str]:
    """Give every tensor of the file a name of its own; inputs and outputs choose first.

    Returns:
        Notes: how many were renamed. A name that is taken gets "_1", "_2", ... behind it.
    """
    taken: set[str] = set()
    renamed = 0
    every = [(g, i) for g in model.graphs for i in range(len(g.tensors))]
    edges = [(g, i) for g in model.graphs for i in dict.fromkeys((*g.inputs, *g.outputs))]
    for graph, index in dict.fromkeys((*edges, *every)):
        old = graph.name(index)
        name = base = old or f"tensor_{index}"
        k = 0
        while name in taken:
            k += 1
            name = f"{base}_{k}"
        taken.add(name)
        if name != old:
            graph.tensors[index].name = name.encode()
            renamed += 1
    for graph in model.graphs:
        graph.changed()
    return [f"{renamed} tensors renamed: their names were empty or taken."] if renamed else []
