"""A value on a second grid: x * 1, which every integer kernel set can do and no pass removes."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.spec import INT8_WEIGHT, QParams
from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph

ONE = WeightCodes(np.ones((1,), np.int8), QParams(INT8_WEIGHT, 1.0))


def requantize(graph: Graph, position: int, source: int, target: int) -> str:
    """Insert target = source * 1 before op number `position`; returns the constant's name.

    The multiplier is s_source / s_target in fixed point, as of QUANTIZE between integers; the
    constant 1 has code 1 on scale 1.
    """
    one = patch.add_tensor(
        graph,
        f"{graph.name(target)}/one",
        "float32",
        ONE.codes.shape,
        values=np.ones(ONE.codes.shape, np.float32),
    )
    options = schema.MulOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.NONE
    patch.insert_op(
        graph, position, "MUL", [source, one], [target], options=("MulOptions", options)
    )
    return graph.name(one)
