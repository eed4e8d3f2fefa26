"""XNNPACK's operator names against TFLite's ops."""

from __future__ import annotations

# Beginning of XNNPACK's name, lower case -> ops that it can stand for. As seen on the zoo of
# tests/e2e with LiteRT 2.3, and from xnn_operator_type (XNNPACK, src/xnnpack/operator-type-defs.h).
FITS: dict[str, str] = {
    "abs": "ABS",
    "add": "ADD ADD_N BIAS_ADD",
    "approxgelu": "GELU",
    "approximate gelu": "GELU",
    "argmax pooling": "ARG_MAX",
    "average pooling": "AVERAGE_POOL_2D MEAN",
    "bankers": "ROUND",
    "batch matrix multiply": "BATCH_MATMUL FULLY_CONNECTED",
    "broadcast": "BROADCAST_TO",
    "ceiling": "CEIL",
    "clamp": "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 MINIMUM MAXIMUM",
    "concatenate": "CONCATENATION PACK",
    "constant pad": "PAD PADV2",
    "convert": "QUANTIZE DEQUANTIZE CAST",
    "convolution": "CONV_2D DEPTHWISE_CONV_2D",
    "copy": "RESHAPE SQUEEZE EXPAND_DIMS STRIDED_SLICE SLICE SPLIT",
    "cosine": "COS",
    "cube root": "POW",
    "deconvolution": "TRANSPOSE_CONV CUSTOM:Convolution2DTransposeBias",
    "depth to space": "DEPTH_TO_SPACE",
    "divide": "DIV",
    "dynamic fully connected": "FULLY_CONNECTED BATCH_MATMUL",
    "elu": "ELU",
    "even split": "SPLIT",
    "exp": "EXP",
    "floor": "FLOOR",
    "fully connected": "FULLY_CONNECTED CONV_2D BATCH_MATMUL",
    "gelu": "GELU",
    "global average pooling": "MEAN AVERAGE_POOL_2D",
    "hardswish": "HARD_SWISH",
    "leaky relu": "LEAKY_RELU",
    "log": "LOG",
    "max pooling": "MAX_POOL_2D",
    "maximum": "MAXIMUM RELU",
    "mean": "MEAN AVERAGE_POOL_2D",
    "minimum": "MINIMUM",
    "multiply": "MUL",
    "negate": "NEG",
    "prelu": "PRELU",
    "reciprocal square root": "RSQRT",
    "reduce max": "REDUCE_MAX",
    "reduce min": "REDUCE_MIN",
    "resize bilinear": "RESIZE_BILINEAR",
    "reshape": "RESHAPE SQUEEZE EXPAND_DIMS",
    "sigmoid": "LOGISTIC",
    "sine": "SIN",
    "slice": "SLICE STRIDED_SLICE SPLIT",
    "softmax": "SOFTMAX",
    "space to depth": "SPACE_TO_DEPTH",
    "square root": "SQRT",
    "square": "SQUARE",
    "squared difference": "SQUARED_DIFFERENCE",
    "static reshape": "RESHAPE SQUEEZE EXPAND_DIMS",
    "static slice": "SLICE STRIDED_SLICE",
    "subtract": "SUB",
    "sum": "SUM",
    "tanh": "TANH",
    "transpose": "TRANSPOSE",
    "unpooling": "CUSTOM:MaxUnpooling2D",
}
# Operators that XNNPACK puts in for an op beside the one that does its work.
HELPERS = ("convert", "copy", "clamp", "transpose", "static reshape", "reshape", "constant pad")
# Ops that XNNPACK may do inside a neighbour, or without doing anything.
VANISHES = frozenset(
    [
        *("PAD", "PADV2", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CONCATENATION", "TRANSPOSE"),
        *("DEQUANTIZE", "QUANTIZE", "CAST", "RELU", "RELU6", "RELU_N1_TO_1"),
        *("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"),
    ]
)
_ORDER = sorted(FITS, key=len, reverse=True)  # "squared difference" before "square"
_CODES = {name: frozenset(codes.split()) for name, codes in FITS.items()}


def base(tag: str) -> str:
    """The beginning of a tag that FITS knows, "" if none."""
    low = tag.lower()
    return next((name for name in _ORDER if low.startswith(name)), "")


def fits(tag: str, code: str) -> bool:
    """Whether XNNPACK's operator `tag` can be the work of op `code`."""
    name = base(tag)
    if not name:  # not in the table: compare the words
        words = tag.partition("(")[0].strip().upper().replace(" ", "_")
        return words == code
    return code in _CODES[name]


def helps(tag: str) -> bool:
    """Whether it can be a helper of another op."""
    return tag.lower().startswith(HELPERS)
