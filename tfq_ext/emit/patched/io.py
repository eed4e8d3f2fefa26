"""Inputs and outputs of a finished integer file: float32, int8, uint8 or int16 at the border."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfq_ext.emit.patched import edit
from tfq_ext.emit.result import Note
from tfq_ext.errors import SpecError
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model

TYPES = ("float32", "int8", "uint8", "int16")
_SHIFT = 128  # uint8 code = int8 code + 128, same scale


def retype(content: bytes, input_type: str, output_type: str) -> bytes:
    """Give a finished file other input and output types, in every signature.

    Args:
        content: a .tflite whose borders are float (QUANTIZE and DEQUANTIZE inside) or integer.
        input_type, output_type: "float32", "int8", "uint8" or "int16".

    Returns:
        The new file; the same bytes where nothing changes. `retype_model` also says what could
        not be changed.

    Raises:
        SpecError: a type that is not in the list.
    """
    model = Model.parse(content, source="the emitted file")
    before = model.to_bytes()
    retype_model(model, input_type, output_type)
    edit.sweep(model)
    after = model.to_bytes()
    return content if after == before else after


def retype_model(model: Model, input_type: str, output_type: str) -> list[Note]:
    """Edit in place; returns the inputs and outputs that keep another type, with reasons."""
    for kind in (input_type, output_type):
        if kind not in TYPES:
            raise SpecError(f"No input or output type {kind!r}. Allowed: {', '.join(TYPES)}.")
    notes: list[Note] = []
    for graph in _outer(model):
        for k, tensor in enumerate(graph.inputs):
            notes += _border(graph, "input", k, tensor, input_type)
        for k, tensor in enumerate(graph.outputs):
            notes += _border(graph, "output", k, tensor, output_type)
    return notes


def _outer(model: Model) -> list[Graph]:
    """Subgraphs that callers see: those of the signatures, and the first."""
    indices = {0} | {s.subgraphIndex for s in model.tree.signatureDefs or ()}
    return [model.graphs[k] for k in sorted(indices)]


def _border(graph: Graph, side: str, k: int, tensor: int, wanted: str) -> list[Note]:
    """Change input or output number `k` if it is a real-valued tensor of another type."""
    have, name = graph.dtype(tensor), graph.name(tensor)
    if have == wanted or not (have == "float32" or (have in TYPES and _has_grid(graph, tensor))):
        return []
    strip, place = _SIDES[side]
    inner = strip(graph, tensor) if have == "float32" else tensor
    if inner is None:
        return [Note(side, name, "the op beside it is float: it stays float32")]
    notes = []
    have = graph.dtype(inner)
    if wanted != have and "int16" in (wanted, have) and wanted != "float32":
        notes = [Note(side, name, f"the op beside it works in {have}, {wanted} has no grid")]
        wanted = have
    new = inner if wanted == have else _outside(graph, inner, wanted)
    if new != inner:
        place(graph, inner, new)
    _rename(graph, tensor, f"{name}/{graph.dtype(tensor)}")
    _rename(graph, new, name)
    _exchange(graph, side, k, tensor, new)
    return notes


def _has_grid(graph: Graph, tensor: int) -> bool:
    q = graph.tensors[tensor].quantization
    return q is not None and q.scale is not None and len(q.scale) == 1


def _outside(graph: Graph, inner: int, wanted: str) -> int:
    """A border tensor of the wanted type for the integer tensor `inner`."""
    new = patch.like(graph, inner, f"/{wanted}", dtype=wanted)
    if wanted != "float32":
        q = graph.tensors[inner].quantization
        shift = _SHIFT if wanted == "uint8" else -_SHIFT
        graph.tensors[new].quantization = _shifted(q, shift)
    return new


def _shifted(q: Any, shift: int) -> Any:
    moved = type(q)()
    moved.scale, moved.zeroPoint = list(q.scale), [int(z) + shift for z in q.zeroPoint]
    return moved


def _strip_input(graph: Graph, tensor: int) -> int | None:
    """Take the QUANTIZE behind a float input away; its result becomes the input.

    8 bits win where several follow; other readers are fed from the integer tensor.
    """
    readers = [graph.ops[k] for k in graph.consumers.get(tensor, ())]
    found = [op for op in readers if graph.code(op) == "QUANTIZE"]
    if not found:
        return None
    first = min(found, key=lambda op: graph.dtype(op.outputs[0]) != "int8")
    inner = int(first.outputs[0])
    _remove(graph, first)
    others = [op for op in readers if op is not first]
    for op in others:
        if graph.code(op) == "QUANTIZE":
            patch.replace_input(op, tensor, inner)
    if any(graph.code(op) != "QUANTIZE" for op in others) or tensor in graph.outputs:
        copy = patch.like(graph, tensor, "/real")
        edit.dequantize(graph, 0, inner, copy)
        for op in others:
            patch.replace_input(op, tensor, copy)
        graph.tree.outputs = [copy if t == tensor else t for t in graph.outputs]
    graph.changed()
    return inner


def _strip_output(graph: Graph, tensor: int) -> int | None:
    """Take the DEQUANTIZE before a float output away, unless somebody else reads it."""
    k = graph.producer.get(tensor)
    if k is None or graph.code(graph.ops[k]) != "DEQUANTIZE":
        return None
    inner = int(graph.ops[k].inputs[0])
    if graph.is_constant(inner) or graph.dtype(inner) not in ("int8", "int16", "uint8"):
        return None
    if not graph.consumers.get(tensor):
        _remove(graph, graph.ops[k])
    return inner


def _remove(graph: Graph, op: Any) -> None:
    graph.tree.operators = [o for o in graph.ops if o is not op]
    graph.changed()


def _place_input(graph: Graph, inner: int, new: int) -> None:
    edit.quantize(graph, 0, new, inner)


def _place_output(graph: Graph, inner: int, new: int) -> None:
    convert = edit.dequantize if graph.dtype(new) == "float32" else edit.quantize
    convert(graph, len(graph.ops), inner, new)


_Strip = Callable[[Graph, int], int | None]
_Place = Callable[[Graph, int, int], None]
_SIDES: dict[str, tuple[_Strip, _Place]] = {
    "input": (_strip_input, _place_input),
    "output": (_strip_output, _place_output),
}


def _rename(graph: Graph, tensor: int, name: str) -> None:
    if graph.name(tensor) != name:
        graph.tensors[tensor].name = patch.unique_name(graph, name).encode()
        graph.changed()


def _exchange(graph: Graph, side: str, k: int, old: int, new: int) -> None:
    """Let the subgraph and its signatures name `new` where they named `old`."""
    tensors = graph.inputs if side == "input" else graph.outputs
    tensors[k] = new
    setattr(graph.tree, f"{side}s", tensors)
    for signature in graph.model.tree.signatureDefs or ():
        if signature.subgraphIndex == graph.index:
            for entry in getattr(signature, f"{side}s") or ():
                if entry.tensorIndex == old:
                    entry.tensorIndex = new
