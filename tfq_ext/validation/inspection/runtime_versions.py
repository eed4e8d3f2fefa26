"""Which TFLite release first ran each version of each op, and what a whole file needs.

Releases are TensorFlow's numbers ("2.11.0"): TFLite took them over, and the field
`min_runtime_version` in a file's metadata uses them. LiteRT counts anew from 1.0 (after 2.17), so
its 1.x and 2.x wheels are not comparable with them.

Source: the table of `FindMinimumRuntimeVersionForOp` (tools/versioning/runtime_version.cc) of
TensorFlow up to 2.18 and of LiteRT for what came later; its test for the float8 versions (2.23).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfq_ext.errors import SpecError
from tfq_ext.tflite.read import Model

# op, then the release of its version 1, 2, 3, ...; "2.3" means 2.3.0, "-" is a version that no
# release has.
_TABLE = """
ABS 1.13 2.4 2.5 2.6 2.12
ADD 1.5 1.14 2.4 2.6 2.13 2.23
ADD_N 1.14
ARG_MAX 1.9 1.14 2.9
ARG_MIN 1.9 1.14 2.9
ASSIGN_VARIABLE 2.6
ATAN2 2.10
AVERAGE_POOL_2D 1.5 1.14 2.3
BATCH_MATMUL 2.3 2.3 2.4 2.5
BATCH_TO_SPACE_ND 1.6 1.14 2.3 2.12
BIDIRECTIONAL_SEQUENCE_LSTM 1.14 1.14 1.14
BIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
BITCAST 2.13
BITWISE_XOR 2.13
BROADCAST_ARGS 2.6
BROADCAST_TO - 2.5 2.5 2.23
BUCKETIZE 2.8
CALL_ONCE 2.5
CAST 1.5 2.7 2.8 2.9 2.12 2.15 2.17 2.21 2.23
CEIL 1.14
COMPLEX_ABS 2.5
CONCATENATION 1.5 1.14 2.3 2.14 2.21 2.23 2.23
CONV_2D 1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15
CONV_3D 2.5
CONV_3D_TRANSPOSE 2.6
COS 1.14 2.23
CUMSUM 2.4
DENSIFY 2.2
DEPTHWISE_CONV_2D 1.5 1.12 1.14 2.2 2.3 2.3 2.11
DEPTH_TO_SPACE 2.1 2.5
DEQUANTIZE 1.13.1 1.14 1.15 2.2 2.7 2.18 2.21 2.22 2.23
DILATE 2.15
DIV 1.6 2.3
DYNAMIC_UPDATE_SLICE 2.9 2.17 2.19 2.20 2.21 2.22
ELU 1.14
EMBEDDING_LOOKUP 1.13 1.14 1.14 2.18 2.21
EMBEDDING_LOOKUP_SPARSE 1.5
EQUAL 1.14 1.14 2.3 2.13 2.21
EXP 1.7 2.12
EXPAND_DIMS 1.10
FAKE_QUANT 1.5 1.10
FILL 1.13 2.3 2.5 2.12 2.23
FLOOR 1.9
FLOOR_DIV 1.14 1.14 2.13
FLOOR_MOD 1.13 2.13
FULLY_CONNECTED 1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18 2.21
GATHER 1.6 1.14 1.15 2.4 2.5 2.13 2.15 2.23
GATHER_ND 1.14 2.3 2.5 2.13 2.16 2.23
GELU 2.9 2.9
GREATER 1.14 1.14
GREATER_EQUAL 1.14 1.14 2.13
HARD_SWISH 1.15
HASHTABLE 2.5
HASHTABLE_FIND 2.5
HASHTABLE_IMPORT 2.5
HASHTABLE_LOOKUP 1.5
HASHTABLE_SIZE 2.5
IF 1.15
IMAG 2.5
L2_NORMALIZATION 1.5 1.14
L2_POOL_2D 1.5
LEAKY_RELU 1.13.1 2.3
LESS 1.14 1.14 2.13
LESS_EQUAL 1.14 1.14
LOCAL_RESPONSE_NORMALIZATION 1.5
LOG 1.14 2.15
LOGICAL_AND 1.11
LOGICAL_NOT 1.11
LOGICAL_OR 1.11
LOGISTIC 1.14 1.14 2.3
LOG_SOFTMAX 1.14 1.14
LSH_PROJECTION 1.5
LSTM 1.7 1.10 1.14 2.3
MATRIX_DIAG 1.14
MATRIX_SET_DIAG 1.14
MAXIMUM 1.14 1.14 2.3 2.3
MAX_POOL_2D 1.5 1.14 2.3
MEAN 1.6 1.14 2.4
MINIMUM 1.14 1.14 2.3 2.3
MIRROR_PAD 1.13.1 2.3 2.12
MUL 1.5 1.14 1.15 2.3 2.6 2.11 2.13 2.23
MULTINOMIAL 2.8
NEG 1.9
NON_MAX_SUPPRESSION_V4 2.1
NON_MAX_SUPPRESSION_V5 2.1
NOT_EQUAL 1.14 1.14 2.3 2.21
ONE_HOT 1.11
PACK 1.11 1.14 2.3 2.13 2.23
PAD 1.5 1.14 2.4 2.6 2.20 2.23
PADV2 1.9 1.14 2.4 2.6 2.20 2.23
POW 1.10
PRELU 1.8
QUANTIZE 1.14 1.15 2.7 2.21 2.21 2.21
RANDOM_STANDARD_NORMAL 2.8
RANDOM_UNIFORM 2.8
RANGE 1.13 2.14
RANK 1.14
READ_VARIABLE 2.6
REAL 2.5
REDUCE_ALL 2.6
REDUCE_ANY 1.11
REDUCE_MAX 1.11 1.14 2.5
REDUCE_MIN 1.11 1.14 2.5
REDUCE_PROD 1.11 2.6
REDUCE_WINDOW 2.15
RELU 1.5 2.1 2.5
RELU6 1.5 1.14 2.5
RELU_0_TO_1 2.10
RELU_N1_TO_1 1.5
RESHAPE 1.5
RESIZE_BILINEAR 1.7 1.14 2.2 2.5
RESIZE_NEAREST_NEIGHBOR 1.13.1 1.14 2.3 2.4
REVERSE_SEQUENCE 1.14
REVERSE_V2 1.14 2.2 2.5 2.23
RFFT2D 2.5
RIGHT_SHIFT 2.13
RNN 1.5 1.14 2.3
ROUND 1.14
RSQRT 1.10 2.5 2.15
SCATTER_ND 2.1
SEGMENT_SUM 2.2
SELECT 1.14 1.14 2.12 2.12
SELECT_V2 2.2 2.12
SHAPE 1.10
SIGN 2.11 2.12
SIN 1.9 2.23
SKIP_GRAM 1.5
SLICE 1.14 1.14 1.14 2.4 2.5 2.14 2.21 2.23
SOFTMAX 1.5 1.14 2.3 2.23
SPACE_TO_BATCH_ND 1.6 1.14 2.3 2.12
SPACE_TO_DEPTH 1.5 1.14
SPARSE_TO_DENSE 1.9 1.14 1.15
SPLIT 1.5 1.14 1.14 2.3 2.23
SPLIT_V 1.13.1 2.3 2.23
SQRT 1.10 2.21
SQUARE 1.12
SQUARED_DIFFERENCE 1.13.1 2.5
SQUEEZE 1.6 2.5
STABLEHLO_ADD 2.16
STABLEHLO_AND 2.17
STABLEHLO_CASE 2.17
STABLEHLO_CBRT 2.17
STABLEHLO_COMPOSITE 2.17
STABLEHLO_GATHER 2.16
STABLEHLO_MAXIMUM 2.16
STABLEHLO_MINIMUM 2.16
STABLEHLO_MULTIPLY 2.16
STABLEHLO_PAD 2.16
STABLEHLO_REDUCE_WINDOW 2.16
STABLEHLO_RNG_BIT_GENERATOR 2.15
STABLEHLO_SCATTER 2.15
STABLEHLO_SHIFT_LEFT 2.17
STRIDED_SLICE 1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14
SUB 1.6 1.14 2.3 2.4 2.4
SUM 1.10 1.15
SVDF 1.5 1.14 2.2 2.3
TANH 1.14 1.14 2.3
TILE 1.10.1 2.2 2.8
TOPK_V2 1.7 1.14 2.13
TRANSPOSE 1.6 1.14 1.15 2.3 2.4 2.12 2.14.4 2.22 2.23
TRANSPOSE_CONV 1.9 2.2 2.3 2.13 2.15
UNIDIRECTIONAL_SEQUENCE_LSTM 1.13.1 1.14 2.3 2.12
UNIDIRECTIONAL_SEQUENCE_RNN 1.14 1.14 2.3
UNIQUE 1.14
UNPACK 1.11 1.14 2.2 2.3 2.22 2.23
UNSORTED_SEGMENT_MAX 2.10
UNSORTED_SEGMENT_MIN 2.11
UNSORTED_SEGMENT_PROD 2.10
UNSORTED_SEGMENT_SUM 2.10
VAR_HANDLE 2.6
WHERE 1.14 2.8
WHILE 1.15
ZEROS_LIKE 1.12
"""


def _full(release: str) -> str:
    return release if release.count(".") == 2 else f"{release}.0"


def _rows() -> dict[tuple[str, int], str]:
    rows = {}
    for line in _TABLE.split("\n")[1:-1]:
        op, *releases = line.split(" ")
        rows.update({(op, k): _full(r) for k, r in enumerate(releases, 1) if r != "-"})
    return rows


# (op, op version) -> the first TFLite release that runs it, "2.3.0"
RUNTIME: dict[tuple[str, int], str] = _rows()

_RELEASE = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")


@dataclass(frozen=True)
class Runtime:
    """What a file asks of the program that runs it.

    Args:
        release: the oldest TFLite that knows every op version, "2.3.0"; "" where no op is listed.
        op, version: the first op that sets it.
        others: (op, version) of further ops that ask for the same release.
        unlisted: (op, version) that the table does not have: newer than it, or never released.
        custom: names of ops outside the builtins; no release alone runs those.
    """

    release: str
    op: str = ""
    version: int = 0
    others: tuple[tuple[str, int], ...] = ()
    unlisted: tuple[tuple[str, int], ...] = ()
    custom: tuple[str, ...] = ()


def release_key(release: str) -> tuple[int, ...]:
    """Numbers to compare releases by: "2.11.0" -> (2, 11, 0), "2.11" the same.

    Raises:
        SpecError: not of the form 2.11 or 2.11.0.
    """
    if not _RELEASE.fullmatch(release):
        raise SpecError(
            f"A TFLite release is written like 2.11.0 or 2.11, got {release!r}. It is the number "
            "of the TensorFlow release that the runtime was built from."
        )
    numbers = tuple(int(part) for part in release.split("."))
    return numbers + (0,) * (3 - len(numbers))


def precedes(a: str, b: str) -> bool:
    """Whether release `a` is older than `b`; "" (nothing needed) is older than any."""
    return bool(b) and (not a or release_key(a) < release_key(b))


def minimum_release(op: str, version: int) -> str:
    """The first TFLite release with this op version; "" where the table does not have it."""
    return RUNTIME.get((op, version), "")


def minimum_runtime(model: Model) -> Runtime:
    """The newest release over all ops that the file's subgraphs use."""
    needs: dict[tuple[str, int], str] = {}
    custom: dict[str, None] = {}
    for used in dict.fromkeys(op.opcodeIndex for _, _, op, _ in model.walk()):
        name = model.op_name(used)
        version = max(int(model.tree.operatorCodes[used].version), 1)
        if name.startswith(("CUSTOM:", "FLEX:")):
            custom[name] = None
        else:
            needs[name, version] = minimum_release(name, version)
    unlisted = tuple(key for key, release in needs.items() if not release)
    listed = [release for release in needs.values() if release]
    if not listed:
        return Runtime("", unlisted=unlisted, custom=tuple(custom))
    newest = max(listed, key=release_key)
    setters = [key for key, release in needs.items() if release == newest]
    return Runtime(newest, *setters[0], tuple(setters[1:]), unlisted, tuple(custom))
