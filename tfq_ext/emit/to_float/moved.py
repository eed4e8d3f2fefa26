"""Fake quantization that TensorFlow's converter moved about, put back into pairs.

It turns QUANTIZE, DEQUANTIZE, RESHAPE into QUANTIZE, RESHAPE, DEQUANTIZE, and before a
FULLY_CONNECTED of three dimensions it drops the DEQUANTIZE altogether (TF 2.21), which no kernel
would run.
"""

from __future__ import annotations

from typing import Any

from tfq_ext.tflite.facts import DERIVED
from tfq_ext.tflite.patch import add_tensor, insert_op, replace_input
from tfq_ext.tflite.read import Graph

INTEGERS = ("int8", "uint8", "int16")


def move_floats(graph: Graph) -> int:
    """Let every DEQUANTIZE come before the ops that only move values; returns how many did."""
    done = 0
    for op in list(reversed(graph.ops)):
        if graph.code(op) in DERIVED and _is_between(graph, op):
            _swap(graph, op)
            done += 1
    return done


def complete_pairs(graph: Graph) -> int:
    """Give float ops that read a QUANTIZE's integers the DEQUANTIZE that is missing."""
    done = 0
    for op in list(graph.ops):
        if graph.code(op) != "QUANTIZE" or graph.dtype(int(op.inputs[0])) != "float32":
            continue
        stored = int(op.outputs[0])
        readers = [graph.ops[k] for k in graph.consumers.get(stored, ())]
        starved = [r for r in readers if _computes_in_float(graph, r)]
        if starved:
            _dequantize(graph, stored, starved)
            done += 1
    return done


def _computes_in_float(graph: Graph, op: Any) -> bool:
    return graph.code(op) != "DEQUANTIZE" and graph.dtype(int(op.outputs[0])) == "float32"


def _dequantize(graph: Graph, stored: int, readers: list[Any]) -> None:
    real = _real(graph, stored)
    first = next(k for k, o in enumerate(graph.ops) if any(o is r for r in readers))
    for reader in readers:
        replace_input(reader, stored, real)
    insert_op(graph, first, "DEQUANTIZE", [stored], [real])


def _real(graph: Graph, stored: int) -> int:
    """A float tensor for the values of an integer one."""
    tensor = graph.tensors[stored]
    name, shape = f"{graph.name(stored)}/real", tensor.shape
    wide = tensor.shapeSignature
    return add_tensor(graph, name, "float32", () if shape is None else shape, signature=wide)


def _is_between(graph: Graph, op: Any) -> bool:
    """Whether it moves activations in integers that nobody reads but DEQUANTIZE."""
    source, result = int(op.inputs[0]), int(op.outputs[0])
    if graph.dtype(source) not in INTEGERS or graph.is_constant(source) or len(op.outputs) != 1:
        return False
    scaled = graph.tensors[source].quantization
    readers = [graph.ops[k] for k in graph.consumers.get(result, ())]
    return (
        scaled is not None
        and scaled.scale is not None
        and len(scaled.scale) > 0
        and result not in graph.outputs
        and bool(readers)
        and all(graph.code(r) == "DEQUANTIZE" for r in readers)
    )


def _swap(graph: Graph, op: Any) -> None:
    source, result = int(op.inputs[0]), int(op.outputs[0])
    first, *rest = [graph.ops[k] for k in graph.consumers[result]]
    target = int(first.outputs[0])
    real = _real(graph, source)
    gone = {id(first), *(id(r) for r in rest)}
    for other in rest:
        for reader in graph.ops:
            replace_input(reader, int(other.outputs[0]), target)
    op.inputs = [real, *list(op.inputs)[1:]]
    op.outputs = [target]
    graph.tree.operators = [o for o in graph.ops if id(o) not in gone]
    position = next(k for k, o in enumerate(graph.ops) if o is op)
    insert_op(graph, position, "DEQUANTIZE", [source], [real])
