"""Which arithmetic the ops use, and needless steps between grids."""

from __future__ import annotations

from collections.abc import Iterator

from tfq_ext.tflite.arithmetic import FLOAT, FLOATS, HYBRID
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import LIMITS, Op, Subject

KERNELS = "LiteRT 2.3 kernels, tried"
# Custom ops that LiteRT's own resolver registers (tflite/kernels/register.cc).
REGISTERED = frozenset(
    {"TFLite_Detection_PostProcess", "NumericVerify", "Mfcc", "AudioSpectrogram"}
)

FLOAT_OP = Rule(
    "float-op",
    "warning",
    "An op computes in floats inside an integer model.",
    "Integer-only hardware (Edge TPU, most NPUs and microcontrollers) stops or falls back there, "
    "and every such island pays for a DEQUANTIZE and a QUANTIZE.",
    "Replace the op by one with an int8 kernel, or move it out of the model before quantizing.",
    "TFLite 8-bit quantization specification; silent float fallback tried with TF 2.21",
)
HYBRID_OP = Rule(
    "hybrid-op",
    "info",
    "An op has integer weights and float activations.",
    "The activations are quantized anew at every run: the file is small, but integer-only hardware "
    "cannot run it and the speed-up is less than that of an integer file.",
    "Quantize with representative samples (recipe int8) where integer hardware or speed matters.",
    "TFLite post-training quantization guide; latencies by own measurement",
)
HYBRID_DEPTHWISE = Rule(
    "hybrid-depthwise",
    "warning",
    "A depthwise convolution has integer weights and float activations.",
    "XNNPACK has no such kernel, so the op runs in a slow builtin one and splits the graph: "
    "MobileNetV2 took 13.8 ms so, and 7.1 ms in float.",
    "Keep depthwise weights in float or fp16, or quantize the activations too.",
    "own measurement with LiteRT 2.3",
)
CUSTOM_OP = Rule(
    "custom-op",
    "warning",
    "An op is not among TFLite's builtins.",
    "A stock runtime refuses to load the file unless the app registers the op's kernel.",
    "Register the kernel in the app, or rewrite the op in terms of builtins.",
    "TFLite custom operators guide",
)
FLEX_OP = Rule(
    "flex-op",
    "warning",
    "An op needs TensorFlow's own kernels (Flex).",
    "The app must carry the Flex delegate (tens of MB); pip's LiteRT cannot run it at all.",
    "Rewrite the layer so that it converts to builtins.",
    "TFLite select operators guide; own trials",
)
IO_TYPES = Rule(
    "io-types-differ",
    "info",
    "Some inputs and outputs of an integer model are integer and others are float.",
    "Callers must treat each end by its own rule, and one end still pays for a conversion.",
    "Choose one type for all inputs and outputs when converting.",
    "own check",
)
QUANTIZE_PAIR = Rule(
    "quantize-pair",
    "warning",
    "Values are dequantized and quantized again without any op in between.",
    "Each pair costs time and, where the grids differ, another rounding.",
    "Remove the pair, or replace it by one QUANTIZE from grid to grid.",
    "own check; litert graph transformations",
)
REQUANTIZE_JOIN = Rule(
    "requantize-before-concat",
    "info",
    "A QUANTIZE from one integer grid to another stands before a joining op.",
    "The values are rounded twice, and some NPU compilers split the graph at such an op.",
    "Calibrate the inputs of the join together, so that they share one grid from the start.",
    "TFLite 8-bit quantization specification, CONCATENATION",
)
SOFTMAX_TWICE = Rule(
    "softmax-twice",
    "warning",
    "A SOFTMAX follows another SOFTMAX.",
    "The second one flattens the probabilities; it is nearly always a model that ends in softmax "
    "inside a wrapper that adds one.",
    "Remove one of them.",
    "own check",
)
SOFTMAX_OF_ONE = Rule(
    "softmax-of-one",
    "error",
    "A SOFTMAX runs over an axis of one element.",
    "Its result is 1 whatever the input.",
    "Use a sigmoid for a single score, or correct the shape before the softmax.",
    "definition of softmax",
)
ARGMAX_OF_SOFTMAX = Rule(
    "argmax-of-softmax",
    "info",
    "An ARG_MAX reads a SOFTMAX that nobody else reads.",
    "Softmax keeps the order, so it costs time, and in 8 bits it makes ties of small differences.",
    "Take the ARG_MAX of the logits.",
    "own check",
)


def float_op(s: Subject) -> Iterator[Finding]:
    """Float and hybrid ops of integer files."""
    if not s.is_integer:
        return
    for op, kind in zip(s.ops, s.kinds, strict=True):
        if kind in (FLOAT, HYBRID):
            weights = " with integer weights" if kind == HYBRID else ""
            yield FLOAT_OP.at(f"{op.code} computes in float32{weights}.", **op.where)


def hybrid_op(s: Subject) -> Iterator[Finding]:
    """Hybrid ops of files that are not integer at all."""
    for op, kind in zip(s.ops, s.kinds, strict=True):
        if kind == HYBRID and not s.is_integer:
            bits = _weight_type(op)
            yield HYBRID_OP.at(f"{op.code} has {bits} weights and float activations.", **op.where)


def hybrid_depthwise(s: Subject) -> Iterator[Finding]:
    """Of those, depthwise convolutions."""
    for op, kind in zip(s.ops, s.kinds, strict=True):
        if kind == HYBRID and op.code == "DEPTHWISE_CONV_2D":
            text = f"The depthwise convolution has {_weight_type(op)} weights, float activations."
            yield HYBRID_DEPTHWISE.at(text, **op.where)


def _weight_type(op: Op) -> str:
    place = WEIGHTS[op.code].weight if op.code in WEIGHTS else None
    found = op.inputs if place is None else op.inputs[place : place + 1]
    types = {op.graph.dtype(t) for t in found if t >= 0} & set(LIMITS)
    return "/".join(sorted(types)) or "integer"


def custom_op(s: Subject) -> Iterator[Finding]:
    """Custom ops that a stock runtime lacks."""
    for op in s.ops:
        name = op.code.removeprefix("CUSTOM:")
        if name != op.code and name not in REGISTERED:
            yield CUSTOM_OP.at(f"Custom op {name[:60]!r} is not in a stock runtime.", **op.where)


def flex_op(s: Subject) -> Iterator[Finding]:
    """Ops of TensorFlow."""
    for op in s.ops:
        if op.code.startswith("FLEX:"):
            yield FLEX_OP.at(
                f"TensorFlow op {op.code[5:65]!r} needs the Flex delegate.", **op.where
            )


def io_types(s: Subject) -> Iterator[Finding]:
    """Integer at one end and float at the other."""
    if not s.is_integer:
        return
    for graph in (g for g in s.model.graphs if g.is_entry):
        types = [{graph.dtype(t) for t in ends} for ends in (graph.inputs, graph.outputs)]
        whole, real = types[0] & set(LIMITS), types[1] & FLOATS
        swapped = types[0] & FLOATS and types[1] & set(LIMITS)
        if (whole and real) or swapped:
            a, b = (", ".join(sorted(t)) for t in types)
            yield IO_TYPES.at(f"Inputs are {a}, outputs {b}.", subgraph=graph.index)


def quantize_pair(s: Subject) -> Iterator[Finding]:
    """DEQUANTIZE that only QUANTIZE ops read, and QUANTIZE from float that only goes back."""
    opposite = {"DEQUANTIZE": "QUANTIZE", "QUANTIZE": "DEQUANTIZE"}
    for op in s.ops:
        back = opposite.get(op.code)
        if back is None or not op.inputs or not op.outputs or op.graph.is_constant(op.inputs[0]):
            continue
        if op.code == "QUANTIZE" and op.graph.dtype(op.inputs[0]) not in FLOATS:
            continue
        readers = s.readers(op.graph, op.outputs[0])
        only = readers and all(r.code == back for r in readers)
        if only and op.outputs[0] not in op.graph.outputs:
            yield QUANTIZE_PAIR.at(f"{op.code} is followed by {back} and nothing else.", **op.where)


def requantize_join(s: Subject) -> Iterator[Finding]:
    """QUANTIZE from grid to grid before CONCATENATION or PACK."""
    for op in s.ops:
        if op.code not in ("CONCATENATION", "PACK"):
            continue
        makers = [m for t in op.inputs if (m := s.maker(op.graph, t)) is not None]
        steps = [m for m in makers if m.code == "QUANTIZE" and _is_integer(m)]
        if steps:
            text = f"{len(steps)} of {len(op.inputs)} inputs of {op.code} are requantized for it."
            yield REQUANTIZE_JOIN.at(text, **op.where)


def _is_integer(op: Op) -> bool:
    return bool(op.inputs) and op.graph.dtype(op.inputs[0]) in LIMITS


# Ops that change neither values nor their order along the last axis.
_CARRIES = frozenset({"RESHAPE", "SQUEEZE", "EXPAND_DIMS", "QUANTIZE", "DEQUANTIZE"})


def _source(s: Subject, op: Op) -> Op | None:
    """The op that made the values which `op` reads, QUANTIZE and RESHAPE looked through."""
    found = s.maker(op.graph, op.inputs[0]) if op.inputs else None
    for _ in range(8):  # a bound, for graphs with cycles
        if found is None or found.code not in _CARRIES or not found.inputs:
            break
        found = s.maker(found.graph, found.inputs[0])
    return found


def softmax_twice(s: Subject) -> Iterator[Finding]:
    """SOFTMAX of SOFTMAX."""
    for op in s.ops:
        before = _source(s, op) if op.code == "SOFTMAX" else None
        if before is not None and before.code == "SOFTMAX":
            yield SOFTMAX_TWICE.at("This SOFTMAX reads the result of another one.", **op.where)


def softmax_of_one(s: Subject) -> Iterator[Finding]:
    """SOFTMAX whose last axis has one element."""
    for op in s.ops:
        if op.code == "SOFTMAX" and op.outputs:
            shape = op.graph.shape(op.outputs[0])
            if shape and shape[-1] == 1:
                text = f"SOFTMAX over the last axis of {list(shape)}: every result is 1."
                yield SOFTMAX_OF_ONE.at(text, **op.where)


def argmax_of_softmax(s: Subject) -> Iterator[Finding]:
    """ARG_MAX of a SOFTMAX that serves nothing else."""
    for op in s.ops:
        before = s.maker(op.graph, op.inputs[0]) if op.code == "ARG_MAX" and op.inputs else None
        if before is None or before.code != "SOFTMAX" or not before.outputs:
            continue
        made = before.outputs[0]
        if len(s.readers(op.graph, made)) == 1 and made not in op.graph.outputs:
            yield ARGMAX_OF_SOFTMAX.at(
                "Softmax does not change which class is largest.", **op.where
            )


TABLE = (
    LintRule(FLOAT_OP, float_op),
    LintRule(HYBRID_OP, hybrid_op),
    LintRule(HYBRID_DEPTHWISE, hybrid_depthwise),
    LintRule(CUSTOM_OP, custom_op),
    LintRule(FLEX_OP, flex_op),
    LintRule(IO_TYPES, io_types),
    LintRule(QUANTIZE_PAIR, quantize_pair),
    LintRule(REQUANTIZE_JOIN, requantize_join),
    LintRule(SOFTMAX_TWICE, softmax_twice),
    LintRule(SOFTMAX_OF_ONE, softmax_of_one),
    LintRule(ARGMAX_OF_SOFTMAX, argmax_of_softmax),
)
