"""Which tensor of a finished file stands for which of the pivot, although names change."""

from __future__ import annotations

from typing import Any

from tfq_ext.emit.names import unnumbered
from tfq_ext.tflite.read import Graph

INTEGERS = ("int8", "int16")


class Twins:
    """Finds the integer tensor of a finished graph that stands for a tensor of the pivot.

    Args:
        graph: of the finished file.
        pivot: the float graph; with it, tensors are found whose names the quantizer numbered anew
            ("conv" where "conv" was taken becomes "conv#1").
    """

    def __init__(self, graph: Graph, pivot: Graph | None = None):
        self.graph = graph
        self._renamed: dict[str, int] = {}
        self._inside: dict[str, Any] = {}
        if pivot is not None:
            self._rename(pivot)

    def _rename(self, pivot: Graph) -> None:
        """Pair what the file lacks of the pivot's names by what is left of them.

        "conv" may come back as "conv#1", as "conv;pad" with the PAD inside or "conv;relu" with the
        RELU inside, and the results of one SPLIT as "a;b", "a;b#1", ...: of the pivot's ops that
        are part of one op, the last wrote what that one writes.
        """
        known = self.graph.by_name
        makers = {pivot.name(int(t)): k for k, op in enumerate(pivot.ops) for t in op.outputs}
        for op in self.graph.ops:
            parts = [p for t in op.outputs for p in self.graph.name(int(t)).split(";")]
            found = {makers[base] for base in map(unnumbered, parts) if base in makers}
            alike = [k for k in found if pivot.code(pivot.ops[k]) == self.graph.code(op)]
            for name in (pivot.name(int(pivot.ops[k].outputs[0])) for k in alike):
                if name not in known:
                    self._inside[name] = op
            if alike and len(pivot.ops[max(found)].outputs) == len(op.outputs):
                for ours, theirs in zip(pivot.ops[max(found)].outputs, op.outputs, strict=True):
                    if pivot.name(int(ours)) not in known:
                        self._renamed.setdefault(pivot.name(int(ours)), int(theirs))

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
        if name in self._inside:
            return self._inside[name] if self.graph.code(self._inside[name]) == code else None
        tensor = self.integer(name)
        k = None if tensor is None else self.graph.producer.get(tensor)
        op = None if k is None else self.graph.ops[k]
        return op if op is not None and self.graph.code(op) == code else None
