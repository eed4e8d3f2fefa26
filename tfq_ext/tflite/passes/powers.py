"""Powers and sums without an int8 kernel, in ops that have one."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.tflite import patch
from tfq_ext.tflite.passes.islands import become_mul
from tfq_ext.tflite.read import Graph, Model

_ROOTS = {0.5: "SQRT", -0.5: "RSQRT"}


def pow_to_mul(model: Model) -> list[str]:
    """x**3 -> (x * x) * x, x**0.5 -> SQRT, x**-0.5 -> RSQRT, for constant exponents.

    The cube comes from GELU by tanh as JAX and PyTorch write it, the roots from normalisations.
    """
    touched = []
    for graph, _, op, code in list(model.walk()):
        if code != "POW" or graph.dtype(op.outputs[0]) != "float32":
            continue
        exponent = _exponent(graph, op)
        if exponent == 3.0:
            _cube(graph, op)
        elif exponent in _ROOTS:
            rename(graph, op, _ROOTS[exponent], [int(op.inputs[0])])
        else:
            continue
        touched.append(graph.name(op.outputs[0]))
    return touched


def add_n_to_add(model: Model) -> list[str]:
    """ADD_N(a, b, c) -> (a + b) + c. From tf.add_n and from Keras' Add of several tensors."""
    touched = []
    for graph, _, op, code in list(model.walk()):
        if code == "ADD_N" and graph.dtype(op.outputs[0]) == "float32" and len(op.inputs) > 1:
            terms = [int(t) for t in op.inputs]
            total = terms[0]
            for term in terms[1:-1]:
                new = patch.like(graph, int(op.outputs[0]), "/partial")
                patch.insert_op(
                    graph, graph.ops.index(op), "ADD", [total, term], [new], options=_add()
                )
                total = new
            rename(graph, op, "ADD", [total, terms[-1]], _add())
            touched.append(graph.name(op.outputs[0]))
    return touched


def rename(
    graph: Graph, op: Any, code: str, inputs: list[int], options: tuple[str, Any] | None = None
) -> None:
    """Make `op` another builtin op that reads `inputs`; its output stays."""
    op.opcodeIndex = patch.add_op_code(graph.model, code)
    op.inputs = inputs
    op.builtinOptionsType = getattr(schema.BuiltinOptions, options[0] if options else "NONE")
    op.builtinOptions = options[1] if options else None
    op.builtinOptions2Type, op.builtinOptions2 = 0, None
    graph.changed()


def _add() -> tuple[str, Any]:
    return "AddOptions", schema.AddOptionsT()


def _exponent(graph: Graph, op: Any) -> float | None:
    values = graph.constant(int(op.inputs[1]))
    return None if values is None or values.size != 1 else float(np.reshape(values, -1)[0])


def _cube(graph: Graph, op: Any) -> None:
    x = int(op.inputs[0])
    square = patch.like(graph, int(op.outputs[0]), "/square")
    options = ("MulOptions", schema.MulOptionsT())
    patch.insert_op(graph, graph.ops.index(op), "MUL", [x, x], [square], options=options)
    become_mul(graph, op, square, x)
