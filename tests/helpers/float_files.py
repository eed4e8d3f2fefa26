"""Small flatbuffers built by hand, without TensorFlow, and a runner for them."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfq_ext.spec import QParams
from tfq_ext.tflite.patch import add_tensor, insert_op
from tfq_ext.tflite.read import Graph, Model

SHAPE = (2, 3)  # of every tensor here


def blank() -> Graph:
    """A model with one empty subgraph."""
    tree = schema.ModelT()
    tree.version = 3
    tree.buffers = [schema.BufferT()]
    tree.operatorCodes = []
    tree.metadata = []
    tree.signatureDefs = []
    sub = schema.SubGraphT()
    sub.tensors, sub.operators, sub.inputs, sub.outputs = [], [], [], []
    tree.subgraphs = [sub]
    return Model(tree).graphs[0]


def add_op(graph: Graph, name: str, inputs: list[int], outputs: list[int], version: int = 1):
    options = ("AddOptions", schema.AddOptionsT()) if name == "ADD" else None
    return insert_op(graph, len(graph.ops), name, inputs, outputs, version=version, options=options)


def adds_constant(
    values: np.ndarray, dtype: str, *, params: QParams | None = None, version: int = 3
) -> Graph:
    """y = x + DEQUANTIZE(constant), or y = x + constant for float32."""
    graph = blank()
    x = add_tensor(graph, "x", "float32", SHAPE)
    c = add_tensor(graph, "c", dtype, values.shape, values=values, params=params)
    y = add_tensor(graph, "y", "float32", SHAPE)
    if dtype != "float32":
        real = add_tensor(graph, "real", "float32", values.shape)
        add_op(graph, "DEQUANTIZE", [c], [real], version)
        c = real
    add_op(graph, "ADD", [x, c], [y])
    graph.tree.inputs, graph.tree.outputs = [x], [y]
    return graph


def run(data: bytes, *inputs: np.ndarray) -> list[np.ndarray]:
    """Outputs of a flatbuffer by LiteRT's plain kernels."""
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail, value in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], value)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
