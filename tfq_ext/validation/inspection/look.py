"""inspect(): a file or its bytes into an Inspection."""

from __future__ import annotations

import os
from math import prod

from tfq_ext.tflite.read import Model, describe, read_bytes, text
from tfq_ext.validation.inspection import macs
from tfq_ext.validation.inspection.context import Place, Scene, indices
from tfq_ext.validation.inspection.coverage import Reason, coverage, reason
from tfq_ext.validation.inspection.islands import bridges, islands
from tfq_ext.validation.inspection.metadata import associated_files, entries, stated_runtime
from tfq_ext.validation.inspection.model import Inspection
from tfq_ext.validation.inspection.rows import OpRow
from tfq_ext.validation.inspection.runtime_versions import minimum_runtime
from tfq_ext.validation.inspection.sizes import parts, shared_buffers
from tfq_ext.validation.inspection.tensors import graph_row, signatures, sparse_rows, tensor_rows
from tfq_ext.validation.inspection.weights import weight_rows


def inspect(
    model: str | os.PathLike[str] | bytes | bytearray, *, weights: bool = True
) -> Inspection:
    """What is in a .tflite, without running it.

    Args:
        model: path of any .tflite, or its bytes.
        weights: read the weights' values for ranges, dead channels and zeros: about 5 ms a
            million of them.

    Raises:
        ModelError: not a .tflite, or damaged.
    """
    data = read_bytes(model)
    source = describe(model)
    parsed = Model.parse(data, source=source)
    return _inspection(parsed, data, source, weights)


def _inspection(model: Model, data: bytes, source: str, weights: bool) -> Inspection:
    scene = Scene(model)
    reasons = {p: why for p in scene.places if (why := reason(scene, p)) is not None}
    work = {p: macs.macs(p) for p in scene.places}
    ops = tuple(_op_row(scene, p, reasons.get(p), work[p]) for p in scene.places)
    files, behind = associated_files(data)
    named = entries(model)
    return Inspection(
        source=source,
        size_bytes=len(data),
        schema_version=int(model.tree.version),
        description=text(model.tree.description),
        parts=parts(scene, len(data), behind),
        shared=shared_buffers(model),
        subgraphs=tuple(graph_row(graph, scene.places, work) for graph in model.graphs),
        signatures=signatures(model),
        ops=ops,
        tensors=tuple(row for graph in model.graphs for row in tensor_rows(graph)),
        parameters=_parameters(scene),
        islands=islands(scene, reasons),
        bridges=bridges(scene),
        coverage=coverage(ops),
        runtime=minimum_runtime(model),
        stated_runtime=stated_runtime(named),
        weights=weight_rows(scene) if weights else (),
        sparse=sparse_rows(scene),
        metadata=named,
        associated_files=files,
    )


def _op_row(scene: Scene, place: Place, why: Reason | None, work: int | None) -> OpRow:
    graph = place.graph
    entry = scene.model.tree.operatorCodes[place.op.opcodeIndex]
    stored = dict.fromkeys(macs.constants(scene, place).values())
    reads, makes = indices(place.op.inputs), indices(place.op.outputs)
    return OpRow(
        place.index,
        graph.index,
        place.code,
        max(int(entry.version), 1),
        place.tensor,
        place.kind,
        why.text if why else "",
        tuple(graph.dtype(t) if t >= 0 else "" for t in reads),
        tuple(graph.dtype(t) if t >= 0 else "" for t in makes),
        macs.weight_bits(scene, place),
        work,
        sum(prod(macs.sizes(graph, t)) for t in stored),
        graph.shape(place.made[0]) if place.made else (),
        tuple(reads),
        tuple(makes),
    )


def _parameters(scene: Scene) -> int:
    """Elements of constants that ops compute with; a buffer that several use counts once."""
    found: dict[int, int] = {}
    for place in scene.places:
        for tensor in macs.constants(scene, place).values():
            buffer = int(place.graph.tensors[tensor].buffer)
            found[buffer] = prod(macs.sizes(place.graph, tensor))
    return sum(found.values())
