"""For every lint rule a file that it must complain about and a near-miss that it must not.

EXAMPLES: rule id -> (bad, clean), functions that make a Subject.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from lint_build import (
    CODES,
    SCALES,
    X_SCALE,
    activation_channels,
    annotated,
    argmax,
    behind,
    beside,
    chain,
    custom,
    dense,
    fed,
    floats,
    graphs,
    hybrid,
    join,
    loose,
    mixed,
    padded,
    picture,
    seen,
    shaped,
    softmaxes,
    targeted,
)

from tfq_ext.validation.lint.subject import Subject

Made = Callable[[], Subject]

ONES = np.ones(2048)
HALF = 65504.0  # the largest float16
TINY = 2.0**-14  # the smallest normal one
ALMOST = float(np.nextafter(np.float32(1.1754944e-38), np.float32(0)))
MAX32 = 2**31 - 1


def _codes(**at: int) -> np.ndarray:
    codes = CODES.copy()
    for place, value in at.items():
        codes[int(place[1]), int(place[2])] = value
    return codes


def _rows(*scales: float) -> dict[str, Any]:
    """Codes of 8 channels with these magnitudes, one scale."""
    codes = np.array([[m, -m, 1] for m in scales], np.int8)
    return {"codes": codes, "scales": [0.01]}


def _image_row(first: int) -> np.ndarray:
    """Depthwise codes whose smallest channel reaches `first`."""
    return np.array([[first, 0, 0], [127, 0, 0], [60, 0, 0], [90, 0, 0]], np.int8)


EXAMPLES: dict[str, tuple[Made, Made]] = {
    # scales and zero points
    "bad-scale": (lambda: dense(y=(ALMOST, 0)), lambda: dense(y=(1.2e-38, 0))),
    "zero-point-range": (lambda: dense(x=(0.05, 128)), lambda: dense(x=(0.05, 127))),
    "int16-zero-point": (
        lambda: dense(xtype="int16", x=(0.05, -1), bias_type="int64"),
        lambda: dense(xtype="int16", x=(0.05, 0), bias_type="int64"),
    ),
    "missing-grid": (lambda: dense(y=(None, 0)), dense),
    "per-channel-activation": (lambda: activation_channels(4), lambda: activation_channels(1)),
    "shared-grid": (
        lambda: chain(("RESHAPE", "int8", (0.1, 1))),
        lambda: chain(("RESHAPE", "int8", (0.1000001, 0))),
    ),
    "fixed-output-grid": (
        lambda: chain(("LOGISTIC", "int8", (1 / 256, -127))),
        lambda: chain(("LOGISTIC", "int8", (1 / 256, -128))),
    ),
    # weights
    "per-tensor-depthwise": (
        lambda: dense("DEPTHWISE_CONV_2D", codes=_image_row(2), scales=[0.01]),
        lambda: dense("DEPTHWISE_CONV_2D", codes=_image_row(127)),
    ),
    "hidden-channels": (lambda: dense(**_rows(4, 127)), lambda: dense(**_rows(5, 127))),
    "weight-zero-point": (lambda: dense(zeros=[0, 0, 1, 0]), lambda: dense(zeros=[0, 0, 0, 0])),
    "asymmetric-dense": (
        lambda: dense("FULLY_CONNECTED", scales=[0.01], zeros=3),
        lambda: dense("FULLY_CONNECTED", scales=[0.01], zeros=0),
    ),
    "weight-minus-128": (
        lambda: dense(codes=_codes(p00=-128)),
        lambda: dense(codes=_codes(p00=-127)),
    ),
    "per-axis-dimension": (lambda: dense(axis=3), lambda: dense(axis=0)),
    "channel-spread": (
        lambda: dense(scales=[1e-5, 0.0101, 0.01, 0.01]),
        lambda: dense(scales=[1e-5, 0.0099, 0.0099, 0.0099]),
    ),
    "dead-channels": (
        lambda: dense(codes=_codes(p00=0, p01=0, p02=0)),
        lambda: dense(codes=_codes(p00=0, p01=0, p02=1)),
    ),
    "zero-weights": (
        lambda: dense(codes=np.zeros((4, 3), np.int8)),
        lambda: dense(codes=np.eye(4, 3, dtype=np.int8)),
    ),
    "int4-conv": (
        lambda: dense(codes=CODES // 20, wtype="int4"),
        lambda: dense("FULLY_CONNECTED", codes=CODES // 20, wtype="int4"),
    ),
    "low-bit-refused": (
        lambda: dense(codes=np.sign(CODES), wtype="int2"),
        lambda: dense(codes=CODES // 20, wtype="int4"),
    ),
    # biases
    "bias-scale": (
        lambda: dense(bias_scale=X_SCALE * SCALES * [1, 1, 1, 1.002]),
        lambda: dense(bias_scale=X_SCALE * SCALES * [1, 1, 1, 1.0005]),
    ),
    "bias-type": (lambda: dense(bias_type="int64"), lambda: dense(bias_type="int32")),
    "bias-saturated": (
        lambda: dense(bias=[MAX32, 0, 0, 0]),
        lambda: dense(bias=[MAX32 - 1, 0, 0, 0]),
    ),
    # ranges from the file
    "concat-ranges": (
        lambda: join(first=(1.0, 0), second=(1.0, 0), out=(1.0, 0),
                     made_by=("LOGISTIC", (1 / 256, -128))),
        lambda: join(first=(0.03, 0), second=(0.03, 0), out=(0.03, 0),
                     made_by=("LOGISTIC", (1 / 256, -128))),
    ),
    "add-ranges": (
        lambda: join("ADD", first=(0.81, 0), second=(0.1, 0), out=(0.9, 0)),
        lambda: join("ADD", first=(0.79, 0), second=(0.1, 0), out=(0.9, 0)),
    ),
    "absurd-scale": (lambda: picture(193.0), lambda: picture(192.0)),
    "stuck-output": (lambda: dense(y=(60.0, 0)), lambda: dense(y=(20.0, 0))),
    "unreachable-range": (lambda: dense(y=(3.0, 0)), lambda: dense(y=(1.0, 0))),
    # ranges with data
    "saturating": (lambda: seen(-128, 127, 0.011), lambda: seen(-128, 127, 0.009)),
    "unused-range": (lambda: seen(0, 30), lambda: seen(0, 31)),
    "stuck-tensor": (lambda: seen(5, 5), lambda: seen(5, 6)),
    "input-clipped": (lambda: fed(0.011), lambda: fed(0.009)),
    "range-unlike-float": (lambda: beside(-3.0, 3.0), lambda: beside(-3.3, 3.3)),
    # arithmetic
    "float-op": (lambda: mixed("SIN"), lambda: mixed("RESHAPE")),
    "hybrid-op": (hybrid, dense),
    "hybrid-depthwise": (lambda: hybrid("DEPTHWISE_CONV_2D"), hybrid),
    "custom-op": (lambda: custom("Mine"), lambda: custom("TFLite_Detection_PostProcess")),
    "flex-op": (lambda: custom("FlexErf"), lambda: custom("NotFlexErf")),
    "io-types-differ": (
        lambda: chain(("RESHAPE", "int8", (0.1, 0)), ("DEQUANTIZE", "float32", None)),
        lambda: chain(("RESHAPE", "int8", (0.1, 0))),
    ),
    "quantize-pair": (
        lambda: chain(("DEQUANTIZE", "float32", None), ("QUANTIZE", "int8", (0.2, 0))),
        lambda: chain(("DEQUANTIZE", "float32", None), ("ABS", "float32", None),
                      ("QUANTIZE", "int8", (0.2, 0))),
    ),
    "requantize-before-concat": (lambda: join(requantized=(0.05, 3)), join),
    "softmax-twice": (lambda: softmaxes("SOFTMAX"), lambda: softmaxes("LOGISTIC")),
    "softmax-of-one": (lambda: softmaxes("LOGISTIC", 1), lambda: softmaxes("LOGISTIC", 2)),
    "argmax-of-softmax": (lambda: argmax(shared=False), lambda: argmax(shared=True)),
    # what should be folded
    "unfused-activation": (lambda: behind("RELU"), lambda: behind("RELU", shared=True)),
    "unfolded-scale": (
        lambda: behind("MUL", (1, 1, 1, 4)),
        lambda: behind("MUL", (1, 4, 4, 4)),
    ),
    # constants
    "nan-constant": (lambda: floats([*ONES[1:], np.nan]), lambda: floats(ONES)),
    "inf-constant": (lambda: floats([*ONES[1:], -np.inf]), lambda: floats([*ONES[1:], -3e38])),
    "fp16-overflow": (
        lambda: floats(np.float16([*ONES[1:], np.inf]), "float16"),
        lambda: floats(np.float16([*ONES[1:], HALF]), "float16"),
    ),
    "fp16-subnormal": (
        lambda: floats(np.float16([*ONES[:1800], *(ONES[:248] * TINY * 0.99)]), "float16"),
        lambda: floats(np.float16([*ONES[:1800], *(ONES[:248] * TINY)]), "float16"),
    ),
    "beyond-fp16": (lambda: floats(ONES * 65505), lambda: floats(ONES * HALF)),
    "duplicate-constants": (lambda: floats(ONES, twice=1), lambda: floats(ONES)),
    "oversized-constant": (lambda: padded(1), lambda: padded(0)),
    "unused-tensors": (lambda: loose(read=False), lambda: loose(read=True)),
    # the file
    "newer-than-target": (lambda: targeted((2, 3, 0)), lambda: targeted((2, 4, 0))),
    "dynamic-shape": (lambda: shaped(1, -1), lambda: shaped(-1, 8)),
    "dynamic-batch": (lambda: shaped(-1, 8), lambda: shaped(1, 8)),
    "several-subgraphs": (lambda: graphs(2), lambda: graphs(1)),
    "no-signature": (annotated, lambda: annotated(signature=True)),
    "no-metadata": (annotated, lambda: annotated(metadata=True)),
    "legacy-uint8": (
        lambda: dense(codes=np.abs(CODES), wtype="uint8", scales=[0.01], zeros=5),
        lambda: dense(scales=[0.01]),
    ),
    "mislabelled": (
        lambda: dense(subject={"name": "net_float32.tflite"}),
        lambda: dense(subject={"name": "net_int8.tflite"}),
    ),
}  # fmt: skip
