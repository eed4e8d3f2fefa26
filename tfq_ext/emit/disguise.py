"""Ops that LiteRT computes in integers and TensorFlow's quantizer does not know.

Such an op goes through the quantizer as LEAKY_RELU, which like it maps each code to another by
itself and takes any output range; a slope that no network has marks it, and afterwards it gets
its own name back. Of the rows in the table of kernels only ELU needs this (tried with TF 2.21:
every other one-input row comes out integer).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model

# op -> the slope that marks it: exact in float32, and far from any that is trained
MARKS = {"ELU": -(2.0**20) - 1.0}
_MASK = "LEAKY_RELU"


def disguise(model: Model, keep_float: Collection[str] = ()) -> int:
    """Turn the ops of `MARKS` into marked LEAKY_RELUs, in place.

    Args:
        model: annotated pivot.
        keep_float: output names of the ops that stay as they are.

    Returns:
        How many ops were turned.
    """
    turned = 0
    for graph, _, op, code in list(model.walk()):
        if code in MARKS and _worth_it(graph, op, keep_float):
            options = schema.LeakyReluOptionsT()
            options.alpha = MARKS[code]
            _become(graph, op, _MASK, ("LeakyReluOptions", options))
            turned += 1
    return turned


def reveal(model: Model) -> None:
    """Give the marked ops of a finished file their own names back, in place."""
    names = {np.float32(mark): code for code, mark in MARKS.items()}
    for graph, _, op, code in list(model.walk()):
        mark = np.float32(op.builtinOptions.alpha) if code == _MASK else None
        if mark in names:
            _become(graph, op, names[mark], None)


def _worth_it(graph: Graph, op: Any, kept: Collection[str]) -> bool:
    """An op without ranges would come back float: it need not go."""
    return (
        graph.is_entry
        and graph.name(op.outputs[0]) not in kept
        and all(_ranged(graph, int(t)) for t in (op.inputs[0], op.outputs[0]))
    )


def _ranged(graph: Graph, tensor: int) -> bool:
    q = graph.tensors[tensor].quantization
    return q is not None and q.min is not None and len(q.min) > 0


def _become(graph: Graph, op: Any, code: str, options: tuple[str, Any] | None) -> None:
    version = KERNELS[code].int8
    op.opcodeIndex = patch.add_op_code(graph.model, code, version or 1)
    kind = "NONE" if options is None else options[0]
    op.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    op.builtinOptions = None if options is None else options[1]
    graph.changed()
