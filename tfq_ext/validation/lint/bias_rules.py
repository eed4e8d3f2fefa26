"""Biases of integer ops: type, scale, zero point, saturation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import Op, Subject
from tfq_ext.validation.lint.weight_rules import SPEC, TRIED, bias_of, integer_activation

TOLERANCE = 1e-3  # relative; scales are float32, so an honest file is within 2e-7
EDGE = 2**31 - 1

BIAS_SCALE = Rule(
    "bias-scale",
    "error",
    "A bias has a scale other than input scale times weight scale.",
    "Kernels add the bias to the accumulator without looking at its scale, so the constant that "
    "the op adds is off by that factor.",
    "Quantize the bias again with scale s_x * s_w of each channel.",
    f"{SPEC}; {TRIED}",
)
BIAS_TYPE = Rule(
    "bias-type",
    "error",
    "The bias of an integer op is of the wrong type, or has a zero point.",
    "Kernels take int32 with int8 or uint8 activations, int32 or int64 with int16 ones, zero point "
    "0; others are refused or misread.",
    "Store the bias as int32 (int64 with 16-bit activations) with zero point 0.",
    f"{SPEC}; {TRIED}",
)
BIAS_SATURATED = Rule(
    "bias-saturated",
    "error",
    "A bias stands at the end of int32.",
    "The true bias did not fit: the channel's constant is wrong, and one more product can "
    "overflow the accumulator.",
    "Give the near-dead channel a larger weight scale: at least 2(|b| + s_x s_w) / (s_x 2^30).",
    "own measurement: 87 channels of EfficientNet-Lite0 by TFLiteConverter",
)
_TYPES = {
    "int8": frozenset({"int32"}),
    "uint8": frozenset({"int32"}),
    "int16": frozenset({"int64", "int32"}),
}


def _biased(s: Subject) -> Iterator[tuple[Op, int]]:
    """Integer ops with a bias tensor."""
    for op in s.ops:
        bias = bias_of(s, op)
        if bias >= 0 and integer_activation(op):
            yield op, bias


def bias_scale(s: Subject) -> Iterator[Finding]:
    """Worst first; the message says by how much, and what that is in codes of the output."""
    rows = []
    for op, bias in _biased(s):
        fact = WEIGHTS[op.code]
        stated, x = s.grid(op.graph, bias), s.activation_grid(op.graph, op.inputs[fact.data])
        w = s.grid(op.graph, op.inputs[fact.weight])
        codes = s.constant(op.graph, bias)
        if stated is None or x is None or w is None or codes is None:
            continue
        used = np.float64(x.scale) * w.scales
        if not np.all(np.isfinite(used) & (used > 0)):
            continue
        if len(stated.scales) not in (1, codes.size) or len(used) not in (1, codes.size):
            text = f"{len(stated.scales)} scales for {codes.size} biases"
            rows.append((np.inf, op, bias, text))
            continue
        off = stated.scales / used
        live = np.broadcast_to(codes.reshape(-1) != 0, codes.size)
        wrong = np.abs(off - 1) if len(off) != codes.size else np.where(live, np.abs(off - 1), 0)
        worst = int(np.argmax(np.nan_to_num(wrong, nan=np.inf)))
        if not wrong[worst] <= TOLERANCE and live.any():
            effect = _effect(s, op, codes, stated.scales, used)
            text = f"The stated scale is {off[worst]:.4g} times s_x * s_w{effect}"
            rows.append((float(wrong[worst]), op, bias, text))
    for _, op, bias, text in sorted(rows, key=lambda row: -row[0]):
        yield BIAS_SCALE.at(f"{text}.", **{**op.where, "tensor": op.graph.name(bias)})


def _effect(s: Subject, op: Op, codes: np.ndarray, stated: np.ndarray, used: np.ndarray) -> str:
    """ "; the bias is off by up to 12 codes of the output", where the output's grid is known."""
    y = s.activation_grid(op.graph, op.outputs[0]) if op.outputs else None
    if y is None:
        return ""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(codes.reshape(-1) * (stated - used))
    if not np.isfinite(error).all():
        return ""
    return f"; the bias is off by up to {error.max() / y.scale:.3g} codes of the output"


def bias_type(s: Subject) -> Iterator[Finding]:
    """Types and zero points."""
    for op, bias in _biased(s):
        x = op.graph.dtype(op.inputs[WEIGHTS[op.code].data])
        dtype, grid = op.graph.dtype(bias), s.grid(op.graph, bias)
        zeros = np.zeros(0, np.int64) if grid is None else grid.zeros[grid.zeros != 0]
        if dtype not in _TYPES.get(x, frozenset({dtype})):
            text = f"The bias is {dtype} beside {x} activations."
        elif len(zeros):
            text = f"The bias has the zero point {zeros[0]}."
        else:
            continue
        yield BIAS_TYPE.at(text, **{**op.where, "tensor": op.graph.name(bias)})


def bias_saturated(s: Subject) -> Iterator[Finding]:
    """int32 biases at +-(2^31 - 1) or -2^31, the most channels first."""
    rows = []
    for op, bias in _biased(s):
        codes = s.constant(op.graph, bias)
        if codes is not None and codes.dtype == np.int32:
            ends = np.abs(codes.astype(np.int64)).reshape(-1) >= EDGE
            rows += [(int(ends.sum()), op, bias, ends)] if ends.any() else []
    for n, op, bias, ends in sorted(rows, key=lambda row: -row[0]):
        text = f"{n} of {ends.size} biases at the end of int32 (2^31 - 1){_cap(s, op, bias, ends)}."
        yield BIAS_SATURATED.at(text, **{**op.where, "tensor": op.graph.name(bias)})


def _cap(s: Subject, op: Op, bias: int, ends: np.ndarray) -> str:
    """ ", so capped at 0.1 codes of the output", where the grids are known."""
    y = s.activation_grid(op.graph, op.outputs[0]) if op.outputs else None
    grid = s.grid(op.graph, bias)
    if grid is None or y is None or len(grid.scales) not in (1, ends.size):
        return ""
    caps = EDGE * np.broadcast_to(grid.scales, ends.size)[ends]
    return f", so capped at {caps.min() / y.scale:.3g} codes of the output"


TABLE = (
    LintRule(BIAS_SCALE, bias_scale),
    LintRule(BIAS_TYPE, bias_type),
    LintRule(BIAS_SATURATED, bias_saturated),
)
