"""Does the driver compute in fp16 at all? Asked of a net of one op, where a file cannot tell.

Codes and whole numbers are often the same in both precisions: then the file's own results prove
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.tflite.patch import add_tensor, insert_op
from tfq_ext.tflite.read import Model
from tfq_ext.validation.delegates.gap import same_numbers
from tfq_ext.validation.delegates.sides import COMPILED, for_gpu, run_side
from tfq_ext.validation.sandbox import Limits

_SHAPE = (1, 8)


def computes_fp16(limits: Limits, env: Mapping[str, str]) -> bool | None:
    """Whether tanh of eight numbers differs between both precisions; None if it did not run."""
    content = _net()
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(_SHAPE) * np.float32(0.7)
    runs = [
        run_side(
            COMPILED,
            content,
            [{"x": x}],
            limits=for_gpu(limits),
            env=env,
            repeat=False,
            accelerator="gpu",
            fp32=fp32,
        )
        for fp32 in (True, False)
    ]
    if not all(run.complete for run in runs):
        return None
    return not same_numbers(runs[0].outputs, runs[1].outputs)


def _net() -> bytes:
    tree = schema.ModelT()
    tree.version, tree.operatorCodes, tree.buffers = 3, [], [schema.BufferT()]
    sub = schema.SubGraphT()
    sub.tensors, sub.operators, sub.inputs, sub.outputs = [], [], [], []
    tree.subgraphs = [sub]
    graph = Model(tree).graphs[0]
    x, y = (add_tensor(graph, name, "float32", _SHAPE) for name in ("x", "y"))
    insert_op(graph, 0, "TANH", [x], [y])
    sub.inputs, sub.outputs = [x], [y]
    return graph.model.to_bytes()
