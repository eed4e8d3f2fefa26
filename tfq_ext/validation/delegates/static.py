"""What is known beforehand: ops that the GPU accelerator refuses or gets wrong, tried one by one.

Source: every op of tests/helpers/one_op.EXAMPLES alone in LiteRT 2.3's GPU accelerator (WebGPU on
Mesa's llvmpipe), fp32, GPU with CPU beside it; tests/validation/test_delegates_static.py runs them
again. What is in neither table was taken and agreed with the CPU to 1e-6, for the shapes tried.
`tf.lite.experimental.Analyzer(gpu_compatibility=True)` calls every model compatible: not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tfq_ext.tflite.read import Graph
from tfq_ext.validation.delegates.rules import RULES
from tfq_ext.validation.finding import Finding

# op -> what to use instead, "" where there is nothing simple.
REFUSED_OPS: dict[str, str] = {
    "ARG_MIN": "ARG_MAX of the negative",
    "BATCH_TO_SPACE_ND": "dilation in the convolution itself",
    "BROADCAST_TO": "the broadcasting of ADD and MUL",
    "DYNAMIC_UPDATE_SLICE": "",
    "EXPAND_DIMS": "RESHAPE",
    "FILL": "a constant",
    "GATHER_ND": "GATHER",
    "L2_NORMALIZATION": "x * rsqrt(sum(x * x))",
    "LOG_SOFTMAX": "SOFTMAX and LOG, or neither: the order of classes is the same",
    "SHAPE": "fixed shapes",
    "SPACE_TO_BATCH_ND": "dilation in the convolution itself",
    "SQUEEZE": "RESHAPE",
}
# type of an activation -> why
REFUSED_TYPES = {"int16": "Tensor type(INT16) is not supported"}
DEQUANTIZE_VERSION = 3  # the newest that it takes


@dataclass(frozen=True)
class Known:
    """One thing that goes wrong.

    Args:
        op: code.
        holds: (graph, op) -> whether this op has it.
        what: a clause for the message: what is wrong with it, and what to do.
    """

    op: str
    holds: Callable[[Graph, Any], bool]
    what: str


def _odd_groups(graph: Graph, op: Any) -> bool:
    x, w = (graph.shape(int(t)) for t in op.inputs[:2])
    if len(x) != 4 or len(w) != 4 or w[3] < 1 or w[3] >= x[3]:
        return False
    groups = x[3] // w[3]
    return w[3] % 4 != 0 or (w[0] // max(groups, 1)) % 4 != 0


def _strided_point(graph: Graph, op: Any) -> bool:
    """A 1x1 convolution with a stride and integer weights, as in every ResNet's shortcuts."""
    weight, options = int(op.inputs[1]), op.builtinOptions
    shape = graph.shape(weight)
    if graph.dtype(weight) not in ("int8", "uint8", "int4") or len(shape) != 4 or options is None:
        return False
    return shape[1] == shape[2] == 1 and max(options.strideH, options.strideW) > 1


def _odd_channels(graph: Graph, op: Any) -> bool:
    shape = graph.shape(int(op.inputs[0]))
    return bool(shape) and shape[-1] % 4 != 0


def _one_twice(graph: Graph, op: Any) -> bool:
    read = [int(t) for t in op.inputs]
    return len(set(read)) < len(read)


KNOWN: tuple[Known, ...] = (
    Known(
        "CONV_2D",
        _odd_groups,
        "grouped, with channels a group that are no multiple of 4: the output is not computed, or "
        "the process dies. Split it into one convolution a group, or pad the groups",
    ),
    Known(
        "CONV_2D",
        _strided_point,
        "1x1 with a stride and integer weights: the stride is ignored, pixel (i, j) is read for "
        "(2 i, 2 j). Take every other pixel first (STRIDED_SLICE or a 1x1 MAX_POOL_2D), or keep "
        "this op's weights float",
    ),
    Known(
        "TOPK_V2",
        _odd_channels,
        "over a number of values that is no multiple of 4: it sees the first ones only. Pad its "
        "input, or take the outputs before it and sort on the CPU",
    ),
    Known(
        "BATCH_MATMUL",
        _one_twice,
        "reads one tensor twice: the process dies. Let one side go through a RESHAPE",
    ),
    Known("PACK", _one_twice, "reads one tensor twice: the process dies. Use CONCATENATION"),
)


def known_faults(graph: Graph) -> Iterator[Finding]:
    """What can be said of a subgraph without any GPU."""
    for k, op in enumerate(graph.ops):
        try:
            told = [*_wrong(graph, op), *_refused(graph, op)]
        except (IndexError, AttributeError, TypeError):  # an op that lacks inputs or options
            continue
        code, tensor = graph.code(op), graph.name(int(op.outputs[0])) if len(op.outputs) else ""
        for rule, text in told:
            yield RULES[rule].at(text, op=code, tensor=tensor, subgraph=graph.index, op_index=k)


def _wrong(graph: Graph, op: Any) -> Iterator[tuple[str, str]]:
    code = graph.code(op)
    for entry in KNOWN:
        if entry.op == code and entry.holds(graph, op):
            yield "gpu-known-wrong", f"{code}: {entry.what}."


def _refused(graph: Graph, op: Any) -> Iterator[tuple[str, str]]:
    if why := refusal(graph, op, graph.code(op)):
        yield "gpu-known-refused", why


def refusal(graph: Graph, op: Any, code: str) -> str:
    """Why the accelerator is known to refuse an op, a sentence; "" if it is not."""
    if code in REFUSED_OPS:
        instead = REFUSED_OPS[code]
        return f"{code} is not supported{f'; use {instead}' if instead else ''}."
    ends = [*op.inputs, *op.outputs]
    for t in (int(t) for t in ends if t >= 0 and not graph.is_constant(int(t))):
        if why := REFUSED_TYPES.get(graph.dtype(t)):
            return f"{code}: {why}."
    version = graph.model.tree.operatorCodes[op.opcodeIndex].version
    if code == "DEQUANTIZE" and version > DEQUANTIZE_VERSION:
        return (
            f"DEQUANTIZE version {version}; it takes up to {DEQUANTIZE_VERSION}. With weights that "
            "are dequantized on the CPU its numbers were wrong by a fifth."
        )
    return ""
