"""ReLU6 -> ReLU in the flatbuffer: changes the float output where activations exceed 6."""

from __future__ import annotations

from ai_edge_litert.schema_py_generated import ActivationFunctionType as Activation

from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Model


def relu6_to_relu(model: Model) -> list[str]:
    """Drop the cap, fused or standing alone; returns the tensors that may now exceed 6.

    Not exact: the share of activations above 6 says how much it releases. Whether it helps is an
    open question (Krishnamoorthi section 3 prefers ReLU, Jacob table 4.3 ReLU6): measure.
    """
    touched = []
    for graph, _, op, code in list(model.walk()):
        options = op.builtinOptions
        if code == "RELU6":
            op.opcodeIndex = patch.add_op_code(model, "RELU")
        elif getattr(options, "fusedActivationFunction", None) == Activation.RELU6:
            options.fusedActivationFunction = Activation.RELU
        else:
            continue
        touched.append(graph.name(op.outputs[0]))
    return touched
