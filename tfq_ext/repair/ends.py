"""Which ops are the first and the last with weights."""

from __future__ import annotations

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Model


def ends(pivot: Model) -> dict[str, frozenset[str]]:
    """Output name -> {"first"}, {"last"} or both, in every subgraph that callers start.

    The bodies of loops and branches are not counted: what they do last the model does not.
    """
    found: dict[str, frozenset[str]] = {}
    for graph in pivot.graphs:
        if not graph.is_entry:
            continue
        names = [
            graph.name(op.outputs[0])
            for op in graph.ops
            if graph.code(op) in WEIGHTS and len(op.outputs)
        ]
        if names:
            found[names[0]] = found.get(names[0], frozenset()) | {"first"}
            found[names[-1]] = found.get(names[-1], frozenset()) | {"last"}
    return found
