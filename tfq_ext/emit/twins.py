"""Which tensor of a finished file stands for which of the pivot, although names change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfq_ext.tflite.read import Graph

INTEGERS = ("int8", "int16")


class Twins:
    """Finds the integer tensor of a finished graph that stands for a tensor of the pivot.

    Args:
        graph: of the finished file.
        pivot: the float graph; with it, tensors are found whose names the quantizer numbered anew
            ("conv" where "conv" was taken becomes "conv1").
    """

    def __init__(self, graph: Graph, pivot: Graph | None = None):
        self.graph = graph
        self._renamed = {} if pivot is None else _renamed(graph, pivot)

    def integer(self, name: str) -> int | None:
        """Index of the quantized tensor, looking through QUANTIZE and DEQUANTIZE."""
        g = self.graph
        tensor = g.by_name.get(name, self._renamed.get(name))
        if tensor is None or g.dtype(tensor) != "float32":
            return tensor
        producer = g.producer.get(tensor)
        if producer is not None and g.code(g.ops[producer]) == "DEQUANTIZE":
            return int(g.ops[producer].inputs[0])
        for k in g.consumers.get(tensor, ()):
            if g.code(g.ops[k]) == "QUANTIZE":
                return int(g.ops[k].outputs[0])
        return tensor

    def before_bridge(self, tensor: int, code: str) -> int | None:
        """The result of the integer kernel `code`, before QUANTIZE; None where that is float."""
        g = self.graph
        producer = g.producer.get(tensor)
        if producer is not None and g.code(g.ops[producer]) == "QUANTIZE":
            tensor = int(g.ops[producer].inputs[0])
            producer = g.producer.get(tensor)
        is_kernel = producer is not None and g.code(g.ops[producer]) == code
        return tensor if is_kernel and g.dtype(tensor) in INTEGERS else None

    def op(self, name: str, code: str) -> Any | None:
        """The op of kind `code` that makes tensor `name`."""
        tensor = self.integer(name)
        k = None if tensor is None else self.graph.producer.get(tensor)
        op = None if k is None else self.graph.ops[k]
        return op if op is not None and self.graph.code(op) == code else None


def _renamed(file: Graph, pivot: Graph) -> dict[str, int]:
    """Names of the pivot that the file lacks -> the file's tensor, by what is left of the name.

    "conv" may come back as "conv1", as "conv;pad" with the PAD inside, and the results of one
    SPLIT as "a;b", "a;b1", ...: the op of the same kind that carries part of the name is the one.
    """
    makers = {
        pivot.name(t): op
        for op in pivot.ops
        for t in map(int, op.outputs)
        if pivot.name(t) not in file.by_name
    }
    found: dict[str, int] = {}
    for op in file.ops:
        parts = [p for t in op.outputs for p in file.name(int(t)).split(";")]
        for base in filter(None, (_known(part, makers) for part in parts)):
            mine = makers[base]
            if pivot.code(mine) == file.code(op) and len(mine.outputs) == len(op.outputs):
                for ours, theirs in zip(mine.outputs, op.outputs, strict=True):
                    found.setdefault(pivot.name(int(ours)), int(theirs))
    return found


def _known(part: str, names: Mapping[str, Any]) -> str | None:
    """`part`, or what it is without the digits at its end, if that is a name."""
    while part not in names and part[-1:].isdigit():
        part = part[:-1]
    return part if part in names else None
