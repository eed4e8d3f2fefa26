"""Where a file's bytes are. Bytes that several things point at are counted once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfq_ext.tflite.arithmetic import FLOATS, has_grid
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Model
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene
from tfq_ext.validation.inspection.rows import SharedBuffer

SCALES = "scales and zero points"
SPARSITY = "places of sparse values"
METADATA = "metadata"
OPTIONS = "options of custom ops"
UNUSED = "buffers that nothing uses"
FILES = "associated files"
OUTSIDE = "data behind the model"
REST = "graph, names, padding"

Claim = tuple[int, int, str]  # first address, address behind the last, part


def parts(scene: Scene, size: int, associated: int) -> dict[str, int]:
    """Bytes by part, largest first; they sum to `size`.

    Args:
        size: of the file, bytes.
        associated: bytes behind the model that a zip archive takes.
    """
    claims = [*_constants(scene), *_metadata(scene.model), *_scales(scene), *_options(scene)]
    claims += [*_sparsity(scene.model), *_unused(scene.model)]
    table = _counted(claims)
    if associated:
        table[FILES] = associated
    outside = _outside(scene.model, size - associated - sum(table.values()))
    if outside:
        table[OUTSIDE] = outside
    table = dict(sorted(table.items(), key=lambda row: -row[1]))
    table[REST] = size - sum(table.values())
    return table


def shared_buffers(model: Model) -> tuple[SharedBuffer, ...]:
    """Buffers that more than one tensor uses, largest first."""
    users: dict[int, list[str]] = {}
    for graph in model.graphs:
        for k, tensor in enumerate(graph.tensors):
            if graph.is_constant(k):
                users.setdefault(int(tensor.buffer), []).append(graph.name(k))
    rows = [
        SharedBuffer(buffer, len(model.tree.buffers[buffer].data), tuple(names))
        for buffer, names in users.items()
        if len(names) > 1
    ]
    return tuple(sorted(rows, key=lambda row: -row.size))


def _claim(values: Any, part: str) -> Iterator[Claim]:
    """The bytes that an array views; lists (of trees that were not read from a file) have none."""
    if isinstance(values, np.ndarray) and values.size:
        start = int(values.__array_interface__["data"][0])
        yield start, start + values.nbytes, part


def _counted(claims: list[Claim]) -> dict[str, int]:
    """Bytes by part; of bytes that are claimed twice the earlier claim has them."""
    table: dict[str, int] = {}
    reached = -1
    for start, end, part in sorted(claims, key=lambda row: row[0]):
        fresh = end - max(start, reached)
        if fresh > 0:
            table[part] = table.get(part, 0) + fresh
            reached = end
    return table


def _constants(scene: Scene) -> Iterator[Claim]:
    roles = _roles(scene)
    for graph in scene.model.graphs:
        for k, tensor in enumerate(graph.tensors):
            if graph.is_constant(k):
                role = roles.get((graph.index, k)) or (
                    "constants" if graph.dtype(k) in FLOATS or has_grid(graph, k) else "indices"
                )
                part = f"{graph.dtype(k)} {role}"
                yield from _claim(scene.model.tree.buffers[tensor.buffer].data, part)


def _roles(scene: Scene) -> dict[tuple[int, int], str]:
    """(subgraph, tensor) -> "weights" or "biases", by the ops that read it."""
    roles: dict[tuple[int, int], str] = {}
    for place in scene.places:
        for tensor, role in _operands(scene, place):
            roles.setdefault((place.graph.index, tensor), role)
    return roles


def _operands(scene: Scene, place: Place) -> Iterator[tuple[int, str]]:
    fact = WEIGHTS.get(place.code)
    for tensor in macs.weights(scene, place):
        yield tensor, "weights"
    if fact is not None and fact.bias is not None:
        yield scene.stored(place.graph, place.operand(fact.bias)), "biases"


def _metadata(model: Model) -> Iterator[Claim]:
    for entry in model.tree.metadata or ():
        if 0 <= entry.buffer < len(model.tree.buffers):
            yield from _claim(model.tree.buffers[entry.buffer].data, METADATA)


def _scales(scene: Scene) -> Iterator[Claim]:
    for graph in scene.model.graphs:
        for tensor in graph.tensors:
            q = tensor.quantization
            if q is not None:
                for values in (q.scale, q.zeroPoint, q.min, q.max):
                    yield from _claim(values, SCALES)


def _sparsity(model: Model) -> Iterator[Claim]:
    tensors = (t for graph in model.graphs for t in graph.tensors if t.sparsity is not None)
    for tensor in tensors:
        for level in tensor.sparsity.dimMetadata or ():
            for vector in (level.arraySegments, level.arrayIndices):
                yield from _claim(getattr(vector, "values", None), SPARSITY)


def _options(scene: Scene) -> Iterator[Claim]:
    for place in scene.places:
        yield from _claim(place.op.customOptions, OPTIONS)


def _unused(model: Model) -> Iterator[Claim]:
    used = {int(t.buffer) for graph in model.graphs for t in graph.tensors}
    used |= {int(entry.buffer) for entry in model.tree.metadata or ()}
    for k, buffer in enumerate(model.tree.buffers):
        if k not in used:
            yield from _claim(buffer.data, UNUSED)


def _outside(model: Model, room: int) -> int:
    """Constants that lie behind the flatbuffer (files near 2 GB): what the buffers say."""
    said = {(int(b.offset), int(b.size)) for b in model.tree.buffers if b.offset > 1}
    return min(sum(size for _, size in said), max(room, 0))
