"""Quantized weights: their zero points, axes, scales, and channels that lose their bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import LIMITS, Op, Subject, Weight

SPEC = "TFLite 8-bit quantization specification"
HIDDEN_CODES = 4  # a channel that has no code beyond this has under 3 bits
SPREAD = 1000.0
TRIED = "LiteRT 2.3 kernels, own trial of builtin, reference and XNNPACK ones"

PER_TENSOR_DEPTHWISE = Rule(
    "per-tensor-depthwise",
    "warning",
    "A depthwise convolution has one weight scale for all channels.",
    "Channels of a depthwise filter differ by orders of magnitude; with one scale the small ones "
    "keep a few codes (MobileNetV1 falls from 70.9 % to 0.1 % top-1).",
    "Quantize the weights per channel (axis 3).",
    "Krishnamoorthi, arXiv 1806.08342, table 2",
)
HIDDEN_CHANNELS = Rule(
    "hidden-channels",
    "warning",
    "One weight scale for all channels leaves some channels only a few codes.",
    "What such a channel computes is mostly rounding error.",
    "Quantize the weights per channel, or equalize the channels before quantizing.",
    "Nagel et al., arXiv 1906.04721",
)
WEIGHT_ZERO_POINT = Rule(
    "weight-zero-point",
    "error",
    "An integer weight has a zero point other than 0.",
    "CONV_2D refuses to load; DEPTHWISE_CONV_2D computes as if it were 0, so its numbers are "
    "wrong without a word.",
    "Quantize the weights symmetrically.",
    f"{SPEC}; {TRIED}",
)
ASYMMETRIC_DENSE = Rule(
    "asymmetric-dense",
    "warning",
    "A FULLY_CONNECTED weight of int8 has a zero point other than 0.",
    "The specification demands 0; LiteRT's CPU kernels subtract it at a cost, others refuse it.",
    "Quantize the weights symmetrically.",
    f"{SPEC}; {TRIED}",
)
WEIGHT_MINUS_128 = Rule(
    "weight-minus-128",
    "warning",
    "An int8 weight holds the code -128.",
    "The specification restricts weights to [-127, 127]: kernels that add two products in 16 bits "
    "overflow on -128 times -128.",
    "Quantize with narrow range, or raise that code to -127.",
    f"{SPEC}; Krishnamoorthi, arXiv 1806.08342, eq. 10",
)
PER_AXIS_DIMENSION = Rule(
    "per-axis-dimension",
    "error",
    "The scales of a weight run along the wrong axis, or their number is not the channels'.",
    "LiteRT refuses to load such a file.",
    "Give one scale per output channel: axis 0, for DEPTHWISE_CONV_2D axis 3.",
    f"{SPEC}; {TRIED}",
)
CHANNEL_SPREAD = Rule(
    "channel-spread",
    "info",
    "The scales of a weight's channels differ by more than 1000 times.",
    "The smallest channels are next to dead; their bias needs so many codes that int32 may not "
    "hold it, and kernels shift by over 30 bits.",
    "Prune such channels, or give them the floor scale that their bias fits.",
    "own measurement on EfficientNet-Lite0",
)
DEAD_CHANNELS = Rule(
    "dead-channels",
    "info",
    "Output channels of a weight are all zero.",
    "They give a constant, and cost time and bytes.",
    "Prune these channels, or look for why the layer did not train.",
    "own check",
)
ZERO_WEIGHTS = Rule(
    "zero-weights",
    "error",
    "A whole weight is zero.",
    "The op gives its bias, whatever the input.",
    "Look at how the weight was quantized (a scale far too large rounds all of it to 0).",
    "own check",
)
INT4_CONV = Rule(
    "int4-conv",
    "warning",
    "A convolution has INT4 weights.",
    "XNNPACK does not take it: MobileNetV2-96 ran in 2.9 ms instead of 0.63 ms with int8 (one "
    "thread, x86). INT4 saves bytes, not time, on the CPU.",
    "Keep convolutions in int8 where speed matters more than size.",
    "own measurement with LiteRT 2.3",
)
LOW_BIT_REFUSED = Rule(
    "low-bit-refused",
    "error",
    "A weight has a type that the op's CPU kernel refuses.",
    "LiteRT does not load the file (INT2 anywhere, INT4 in TRANSPOSE_CONV and CONV_3D).",
    "Store these weights as INT8 or, where the kernel takes it, INT4.",
    TRIED,
)


def _where(w: Weight) -> dict[str, Any]:
    return {**w.op.where, "tensor": w.op.graph.name(w.tensor)}


def _peaks(w: Weight) -> np.ndarray:
    """Largest |code - zero point| of each channel; int64[C]."""
    rows = w.channels.astype(np.int64)
    zeros = w.grid.zeros if len(w.grid.zeros) in (1, len(rows)) else np.zeros(1, np.int64)
    return np.abs(rows - zeros[:, None]).max(axis=1)


def _one_scale(w: Weight) -> bool:
    return len(w.grid.scales) == 1 and w.codes.shape[w.fact.axis] > 1


def per_tensor_depthwise(s: Subject) -> Iterator[Finding]:
    """The channel with the fewest codes first."""
    rows = []
    for w in s.weights:
        if w.op.code == "DEPTHWISE_CONV_2D" and _one_scale(w):
            peaks = _peaks(w)
            rows.append((int(peaks[peaks > 0].min(initial=10**6)), w, peaks))
    for least, w, peaks in sorted(rows, key=lambda row: row[0]):
        text = (
            f"{len(peaks)} channels share one scale; the smallest live one has codes up to "
            f"{least} only, the largest up to {peaks.max()}."
        )
        yield PER_TENSOR_DEPTHWISE.at(text, **_where(w))


def hidden_channels(s: Subject) -> Iterator[Finding]:
    """Live channels with under three bits, other than depthwise ones (they have their own rule)."""
    rows = []
    for w in s.weights:
        if w.op.code == "DEPTHWISE_CONV_2D" or not _one_scale(w) or w.grid.dtype == "int4":
            continue
        peaks = _peaks(w)
        hidden = int(((peaks > 0) & (peaks <= HIDDEN_CODES)).sum())
        if hidden:
            rows.append((hidden, len(peaks), w))
    for hidden, of, w in sorted(rows, key=lambda row: -row[0] / row[1]):
        text = (
            f"{hidden} of {of} channels have no code beyond {HIDDEN_CODES}, for one scale serves "
            "all channels."
        )
        yield HIDDEN_CHANNELS.at(text, **_where(w))


def weight_zero_point(s: Subject) -> Iterator[Finding]:
    """Signed weights of the ops whose kernels refuse or ignore it."""
    yield from _zero_points(s, WEIGHT_ZERO_POINT, dense=False)


def asymmetric_dense(s: Subject) -> Iterator[Finding]:
    """Per-tensor int8 FULLY_CONNECTED."""
    yield from _zero_points(s, ASYMMETRIC_DENSE, dense=True)


def _zero_points(s: Subject, rule: Rule, *, dense: bool) -> Iterator[Finding]:
    for w in s.weights:
        honoured = w.op.code == "FULLY_CONNECTED" and len(w.grid.scales) == 1
        wrong = w.grid.zeros[w.grid.zeros != 0]
        if w.grid.dtype != "uint8" and len(wrong) and honoured == dense:
            text = f"{len(wrong)} of {len(w.grid.zeros)} zero points are not 0; one is {wrong[0]}."
            yield rule.at(text, **_where(w))


def weight_minus_128(s: Subject) -> Iterator[Finding]:
    """Counted per weight, the most first."""
    counts = [
        (int(np.count_nonzero(w.codes == -128)), w) for w in s.weights if w.grid.dtype == "int8"
    ]
    for n, w in sorted(counts, key=lambda row: -row[0]):
        if n:
            text = f"{n} of {w.codes.size} weights have the code -128."
            yield WEIGHT_MINUS_128.at(text, **_where(w))


def per_axis_dimension(s: Subject) -> Iterator[Finding]:
    """Axis and number of scales, held against the op's facts."""
    for w in s.weights:
        n, channels = len(w.grid.scales), w.codes.shape[w.fact.axis]
        if n == 1 or s.model.graphs[w.op.graph.index].tensors[w.tensor].quantization.details:
            continue
        if w.grid.axis != w.fact.axis:
            text = f"{n} scales along axis {w.grid.axis}; {w.op.code} takes axis {w.fact.axis}."
        elif n != channels:
            text = f"{n} scales for {channels} channels (axis {w.fact.axis})."
        else:
            continue
        yield PER_AXIS_DIMENSION.at(text, **_where(w))


def channel_spread(s: Subject) -> Iterator[Finding]:
    """Weights with channels of very different scale, the widest first."""
    rows = []
    for w in s.weights:
        live = w.grid.scales[np.isfinite(w.grid.scales) & (w.grid.scales > 0)]
        if len(live) > 1 and live.max() > SPREAD * live.min():
            rows.append((live.max() / live.min(), live, w))
    for ratio, live, w in sorted(rows, key=lambda row: -row[0]):
        text = f"Scales run from {live.min():.2g} to {live.max():.2g}, {ratio:.2g} times."
        yield CHANNEL_SPREAD.at(text, **_where(w))


def dead_channels(s: Subject) -> Iterator[Finding]:
    """Channels without a live code; a weight that is all zero has its own rule."""
    rows = []
    for w in s.weights:
        peaks = _peaks(w)
        dead = int((peaks == 0).sum())
        if 0 < dead < len(peaks):
            rows.append((dead, len(peaks), w))
    for dead, of, w in sorted(rows, key=lambda row: -row[0]):
        yield DEAD_CHANNELS.at(f"{dead} of {of} output channels are zero.", **_where(w))


def zero_weights(s: Subject) -> Iterator[Finding]:
    """Weights without a single live code."""
    for w in s.weights:
        if not _peaks(w).any():
            text = f"All {w.codes.size} weights are zero."
            yield ZERO_WEIGHTS.at(text, **_where(w))


def int4_conv(s: Subject) -> Iterator[Finding]:
    """INT4 in CONV_2D and DEPTHWISE_CONV_2D."""
    for w in s.weights:
        if w.grid.dtype == "int4" and w.op.code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            yield INT4_CONV.at(
                "INT4 weights; XNNPACK leaves the op to a slower kernel.", **_where(w)
            )


def low_bit_refused(s: Subject) -> Iterator[Finding]:
    """INT2, and INT4 where the kernel does not take it."""
    for w in s.weights:
        if w.grid.dtype == "int2" or (w.grid.dtype == "int4" and not w.fact.int4):
            text = f"{w.op.code} has {w.grid.dtype} weights; its CPU kernel refuses them."
            yield LOW_BIT_REFUSED.at(text, **_where(w))


def bias_of(s: Subject, op: Op) -> int:
    """Tensor index of an op's constant bias, -1 without one."""
    fact = WEIGHTS.get(op.code)
    if fact is None or fact.bias is None or fact.bias >= len(op.inputs):
        return -1
    return op.inputs[fact.bias]


def integer_activation(op: Op) -> bool:
    """Whether the op's data input is quantized (not a hybrid op)."""
    fact = WEIGHTS[op.code]
    inside = fact.data < len(op.inputs) and op.inputs[fact.data] >= 0
    return inside and op.graph.dtype(op.inputs[fact.data]) in LIMITS


TABLE = (
    LintRule(PER_TENSOR_DEPTHWISE, per_tensor_depthwise),
    LintRule(HIDDEN_CHANNELS, hidden_channels),
    LintRule(WEIGHT_ZERO_POINT, weight_zero_point),
    LintRule(ASYMMETRIC_DENSE, asymmetric_dense),
    LintRule(WEIGHT_MINUS_128, weight_minus_128),
    LintRule(PER_AXIS_DIMENSION, per_axis_dimension),
    LintRule(CHANNEL_SPREAD, channel_spread),
    LintRule(DEAD_CHANNELS, dead_channels),
    LintRule(ZERO_WEIGHTS, zero_weights),
    LintRule(INT4_CONV, int4_conv),
    LintRule(LOW_BIT_REFUSED, low_bit_refused),
)
