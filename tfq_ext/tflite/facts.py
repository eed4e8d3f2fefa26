"""What TFLite is: types, op names, and how each op treats weights, scales and integers.

Sources: the TFLite 8-bit quantization specification (op by op), the kernels of LiteRT 2.3
(int16 column), and trials with TF 2.21's quantizer (column `island`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from tfq_ext._table import Table

NO_BUFFER = 0  # buffer 0 is the empty one by convention

DTYPES: dict[int, str] = {
    value: name.lower()
    for name, value in vars(schema.TensorType).items()
    if not name.startswith("_")
}
TYPE_CODES: dict[str, int] = {name: code for code, name in DTYPES.items()}
OP_NAMES: dict[int, str] = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
OP_CODES: dict[str, int] = {name: code for code, name in OP_NAMES.items()}
ACTIVATIONS: dict[int, str] = {
    value: name
    for name, value in vars(schema.ActivationFunctionType).items()
    if not name.startswith("_")
}


@dataclass(frozen=True)
class WeightFact:
    """Where an op keeps its weight and along which axis it may have one scale per channel."""

    weight: int  # input position
    axis: int  # of the weight: output channels
    bias: int | None  # input position
    data: int = 0  # input position of the activation
    int4: bool = True  # LiteRT's kernel takes INT4 weights


WEIGHTS: Table[WeightFact] = Table(
    "op with weights",
    {
        "CONV_2D": WeightFact(1, 0, 2),
        "DEPTHWISE_CONV_2D": WeightFact(1, 3, 2),
        "FULLY_CONNECTED": WeightFact(1, 0, 2),
        "TRANSPOSE_CONV": WeightFact(1, 0, 3, data=2, int4=False),
        "CONV_3D": WeightFact(1, 4, 2, int4=False),
    },
)
