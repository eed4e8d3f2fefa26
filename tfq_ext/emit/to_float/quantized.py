"""Is this model float? Counts integer tensors with scales and says what they are."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Graph, Model

INTEGERS = ("int8", "uint8", "int16", "int4", "int2")
INPUT = "the caller"  # who "writes" a model's input
BOUNDARY = (INPUT, "QUANTIZE", "RESHAPE", "READ_VARIABLE", "ASSIGN_VARIABLE")


@dataclass(frozen=True)
class _Found:
    """An integer tensor that a float model would not have."""

    graph: Graph
    tensor: int
    op: str  # who makes it (an activation) or reads it (a weight)
    constant: bool


def carries_fake_quant(model: Model) -> bool:
    """True when some float goes through QUANTIZE and DEQUANTIZE: a QAT model's grids."""
    return any(
        _is_pair(graph, int(op.outputs[0]))
        for graph, _, op, name in model.walk()
        if name == "QUANTIZE"
    )


def refuse_quantized(model: Model, source: str) -> None:
    """Raise if the model computes with integers already.

    Left alone are plain integer tensors (no scale: images, indices) and fake quantization
    (float -> QUANTIZE -> DEQUANTIZE, integer constant -> DEQUANTIZE).

    Raises:
        ModelError: what was found, with op and tensor name, and what to give instead.
    """
    found = [f for graph in model.graphs for f in _integers(graph)]
    if not found:
        return
    activations = [f for f in found if not f.constant]
    kind, verb = ("", "writes") if activations else (" (weights only: dynamic range)", "reads")
    same = activations or found
    first = min(same, key=lambda f: f.op in BOUNDARY)  # an op that computes, if there is one
    dtype = first.graph.dtype(first.tensor)
    raise ModelError(
        f"{source} is already quantized{kind}: it has {len(same)} integer tensors, for example "
        f"{first.op} {verb} {_short(first.graph.name(first.tensor))!r} ({dtype}). "
        "Give the float model that it was made from; tfq_ext chooses the integers itself."
    )


def _short(name: str) -> str:
    """Names of fused ops list all that was fused ("a;b;c"): the first says enough here."""
    first, more, _ = name.partition(";")
    return first + (";..." if more else "")


def _integers(graph: Graph) -> list[_Found]:
    found = []
    for index in range(len(graph.tensors)):
        if graph.dtype(index) not in INTEGERS or not _has_scale(graph, index):
            continue
        readers = [graph.code(graph.ops[k]) for k in graph.consumers.get(index, ())]
        if graph.is_constant(index):
            others = [name for name in readers if name != "DEQUANTIZE"]
            if others:
                found.append(_Found(graph, index, others[0], True))
        elif not _is_pair(graph, index):
            maker = graph.producer.get(index)
            name = INPUT if maker is None else graph.code(graph.ops[maker])
            found.append(_Found(graph, index, name, False))
    return found


def _has_scale(graph: Graph, index: int) -> bool:
    q = graph.tensors[index].quantization
    return q is not None and q.scale is not None and len(q.scale) > 0


def _is_pair(graph: Graph, index: int) -> bool:
    """True for a tensor between QUANTIZE of a float and nothing but DEQUANTIZE."""
    maker = graph.producer.get(index)
    if maker is None or index in graph.outputs:
        return False
    op = graph.ops[maker]
    readers = [graph.code(graph.ops[k]) for k in graph.consumers.get(index, ())]
    from_float = graph.code(op) == "QUANTIZE" and graph.dtype(int(op.inputs[0])) == "float32"
    return from_float and bool(readers) and set(readers) == {"DEQUANTIZE"}
