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
    """Where an op keeps its weight and along which axis it may have one scale per channel.

    `channels` is the weight's axis of input channels, None where an output has one of its own
    (depthwise).
    """

    weight: int  # input position
    axis: int  # of the weight: output channels
    bias: int | None  # input position
    data: int = 0  # input position of the activation
    int4: bool = True  # LiteRT's kernel takes INT4 weights
    channels: int | None = 1


WEIGHTS: Table[WeightFact] = Table(
    "op with weights",
    {
        "CONV_2D": WeightFact(1, 0, 2, channels=3),
        "DEPTHWISE_CONV_2D": WeightFact(1, 3, 2, channels=None),
        "FULLY_CONNECTED": WeightFact(1, 0, 2),
        "TRANSPOSE_CONV": WeightFact(1, 0, 3, data=2, int4=False, channels=3),
        "CONV_3D": WeightFact(1, 4, 2, int4=False, channels=3),
    },
)

# Further constants worth 8 bits where activations stay float (weight-only, dynamic range).
LOOKUPS: dict[str, WeightFact] = {
    "GATHER": WeightFact(0, 0, None, data=1),
    "EMBEDDING_LOOKUP": WeightFact(1, 0, None),
}

# Ops whose output holds (a subset of) the values of its data inputs, so that the 8-bit
# specification gives inputs and output one grid. Value: the positions of the data inputs.
ALL = (-1,)
SAME_GRID: dict[str, tuple[int, ...]] = {
    "AVERAGE_POOL_2D": (0,),
    "BATCH_TO_SPACE_ND": (0,),
    "BROADCAST_TO": (0,),
    "CONCATENATION": ALL,
    "DEPTH_TO_SPACE": (0,),
    "DYNAMIC_UPDATE_SLICE": (0, 1),
    "EXPAND_DIMS": (0,),
    "FILL": (1,),
    "GATHER": (0,),
    "GATHER_ND": (0,),
    "MAXIMUM": (0, 1),
    "MAX_POOL_2D": (0,),
    "MINIMUM": (0, 1),
    "MIRROR_PAD": (0,),
    "PACK": ALL,
    "PAD": (0,),
    "PADV2": (0, 2),
    "REDUCE_MAX": (0,),
    "REDUCE_MIN": (0,),
    "RESHAPE": (0,),
    "RESIZE_BILINEAR": (0,),
    "RESIZE_NEAREST_NEIGHBOR": (0,),
    "REVERSE_V2": (0,),
    "SELECT": (1, 2),
    "SELECT_V2": (1, 2),
    "SLICE": (0,),
    "SPACE_TO_BATCH_ND": (0,),
    "SPACE_TO_DEPTH": (0,),
    "SPLIT": (1,),
    "SPLIT_V": (0,),
    "SQUEEZE": (0,),
    "STRIDED_SLICE": (0,),
    "TILE": (0,),
    "TOPK_V2": (0,),
    "TRANSPOSE": (0,),
    "UNPACK": (0,),
}

# Of those, the ops whose output needs no statistics of its own: the input's say it all.
DERIVED = frozenset(
    code
    for code, positions in SAME_GRID.items()
    if len(positions) == 1 and positions != ALL and not code.startswith(("AVERAGE", "RESIZE"))
)


@dataclass(frozen=True)
class FixedGrid:
    """An output grid that the specification prescribes, whatever the data."""

    scale8: float
    zero8: int
    scale16: float


FIXED_OUTPUT: dict[str, FixedGrid] = {
    "LOGISTIC": FixedGrid(1 / 256, -128, 1 / 32768),
    "SOFTMAX": FixedGrid(1 / 256, -128, 1 / 32768),
    "TANH": FixedGrid(1 / 128, 0, 1 / 32768),
    "L2_NORMALIZATION": FixedGrid(1 / 128, 0, 1 / 32768),
    "LOG_SOFTMAX": FixedGrid(16 / 256, 127, 16 / 65536),
}


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Ops that run other subgraphs or hold state: float at their borders, always.
CONTROL = _codes(
    "IF WHILE CALL CALL_ONCE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE "
    "STABLEHLO_COMPOSITE STABLEHLO_WHILE STABLEHLO_CASE"
)
# Ops with an integer kernel that this package cannot feed -> why: integer files of them that
# TensorFlow's quantizer makes without ranges of the intermediates do not load.
FLOAT_ONLY = dict.fromkeys(
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"),
    "its integer kernel needs ranges of five results inside it, which are not observed; "
    "unroll=True in the layer gives ops that quantize",
)
# Ops whose result depends on earlier calls or on chance.
STATEFUL = _codes(
    "VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE CALL_ONCE LSTM RNN SVDF "
    "UNIDIRECTIONAL_SEQUENCE_LSTM UNIDIRECTIONAL_SEQUENCE_RNN "
    "BIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_RNN "
    "RANDOM_UNIFORM RANDOM_STANDARD_NORMAL MULTINOMIAL"
)
