"""Ops whose results go nowhere: LiteRT gives those no memory, so there is nothing to observe."""

from __future__ import annotations

from typing import Any

from tfq_ext.tflite.facts import CONTROL, STATEFUL
from tfq_ext.tflite.read import Graph, Model


def drop_unread(model: Model) -> list[str]:
    """Take out every op whose results no op reads and that are no output, last ones first.

    Converters leave none; files that were cut or joined by hand have some. Ops that may do more
    than write their results stay: control flow, state, custom ops.
    """
    touched = []
    for graph in model.graphs:
        read = {int(t) for t in graph.outputs}
        kept = []
        for op in reversed(graph.ops):
            if _is_idle(graph, op, read):
                touched.append(graph.name(op.outputs[0]))
            else:
                read.update(int(t) for t in _ids(op.inputs))
                kept.append(op)
        if len(kept) < len(graph.ops):
            graph.tree.operators = kept[::-1]
            graph.changed()
    return touched


def _is_idle(graph: Graph, op: Any, read: set[int]) -> bool:
    code, made = graph.code(op), [int(t) for t in _ids(op.outputs)]
    acts = code in CONTROL | STATEFUL or code.startswith(("CUSTOM:", "FLEX:"))
    return bool(made) and not acts and read.isdisjoint(made)


def _ids(tensors: Any) -> Any:
    return () if tensors is None else tensors
