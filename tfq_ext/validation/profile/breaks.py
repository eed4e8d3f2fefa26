"""Which ops stop a delegate or an accelerator's compiler, and why: read off the file."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass

from tfq_ext.tflite.arithmetic import CONTROL_FLOW, CUSTOM, FLOAT, HYBRID, INTEGER, arithmetic
from tfq_ext.tflite.read import Graph

DELEGATE, COMPILER = "XNNPACK", "accelerator"


@dataclass(frozen=True)
class Break:
    """An op that ends a run of ops.

    Args:
        index, subgraph, op, tensor: which; `tensor` is its first output's name.
        stops: "XNNPACK" (it runs outside, and splits the rest) or "accelerator" (the compiler of
            an Edge TPU or NPU would leave this op, and all after it, to the CPU).
        why: in words.
    """

    index: int
    subgraph: int
    op: str
    tensor: str
    stops: str
    why: str


def _facts(graph: Graph, k: int) -> tuple[str, str, list[str], list[str]]:
    """Code, arithmetic, dtypes read as constants, dtypes of activations."""
    op = graph.ops[k]
    read = [int(t) for t in (op.inputs if op.inputs is not None else ()) if t >= 0]
    constants = [graph.dtype(t) for t in read if graph.is_constant(t)]
    moving = [graph.dtype(t) for t in read if not graph.is_constant(t)]
    moving += [graph.dtype(int(t)) for t in op.outputs if t >= 0]
    return graph.code(op), arithmetic(graph, op), constants, moving


MOST_INPUTS = 5  # of a CONCATENATION in XNNPACK's delegate
FLOAT_KERNELS = frozenset({"AVERAGE_POOL_2D", "SOFTMAX"})  # no 8-bit ones in XNNPACK


def why_not_xnnpack(graph: Graph, k: int) -> str:
    """The likeliest reason for which XNNPACK left an op alone; the first that fits."""
    code, kind, constants, moving = _facts(graph, k)
    joined = code == "CONCATENATION" and len(graph.ops[k].inputs) > MOST_INPUTS
    usual = {"float32", "float16", "int8", "uint8"}
    reasons = (
        (kind == CUSTOM, "a custom op: XNNPACK knows builtin ops only"),
        (kind == CONTROL_FLOW, "control flow or state"),
        ("int4" in constants, f"4-bit weights: XNNPACK has no such {code}"),
        ("int2" in constants, f"2-bit weights: XNNPACK has no such {code}"),
        ("int16" in moving, "16-bit activations: XNNPACK computes in 8 bits or in float"),
        (kind == HYBRID, f"float activations with integer weights: XNNPACK has no such {code}"),
        (not set(moving) & usual, "neither float nor 8-bit data"),
        (kind == INTEGER and code in FLOAT_KERNELS, f"XNNPACK's {code} is float only"),
        (joined, f"more than {MOST_INPUTS} inputs"),
        (_dynamic(graph, k), "a shape that is known only at run time"),
    )
    other = f"XNNPACK does not take this {code} (its types or its parameters)"
    return next((text for holds, text in reasons if holds), other)


def xnnpack_breaks(graph: Graph, outside: Set[int]) -> tuple[Break, ...]:
    """One for every op that ran outside XNNPACK."""
    return tuple(_break(graph, k, DELEGATE, why_not_xnnpack(graph, k)) for k in sorted(outside))


def accelerator_breaks(graph: Graph) -> tuple[Break, ...]:
    """Ops at which a compiler for 8-bit accelerators would stop, in graph order.

    The Edge TPU's compiler takes one run of ops from the start; all after the first op that it
    cannot take stays on the CPU. Of a file without integer ops only that first one is named.

    Source: coral.ai/docs/edgetpu/models-intro, "Compiling": quantized tensors, constant shapes
    and parameters, one partition.
    """
    found = tuple(_break(graph, k, COMPILER, why) for k, why in _stops(graph))
    quantized = any(arithmetic(graph, op) == INTEGER for op in graph.ops)
    return found if quantized else found[:1]


def _stops(graph: Graph) -> Iterator[tuple[int, str]]:
    folded = constant_ops(graph)
    for k in range(len(graph.ops)):
        _, kind, constants, moving = _facts(graph, k)
        reasons = (
            (kind == CUSTOM, "custom op"),
            (kind == CONTROL_FLOW, "control flow or state"),
            (kind == HYBRID, "float activations, integer weights"),
            (kind == FLOAT, "float arithmetic"),
            ("int16" in moving, "16-bit activations"),
            ("int4" in constants, "4-bit weights"),
            (_dynamic(graph, k), "a shape that is known only at run time"),
        )
        why = next((text for holds, text in reasons if holds), "")
        if why and k not in folded:
            yield k, why


def constant_ops(graph: Graph) -> set[int]:
    """Ops that read constants only: float16 or sparse weights unpacked once, at loading."""
    fixed: set[int] = set()
    known: set[int] = set()
    for k, op in enumerate(graph.ops):
        read = [int(t) for t in (op.inputs if op.inputs is not None else ()) if t >= 0]
        still = read and all(graph.is_constant(t) or t in known for t in read)
        if still and graph.code(op) in ("DEQUANTIZE", "DENSIFY"):
            fixed.add(k)
            known |= {int(t) for t in op.outputs}
    return fixed


def _dynamic(graph: Graph, k: int) -> bool:
    """An open dimension other than the batch, which can be fixed for all at once."""
    return any(-1 in graph.shape(int(t))[1:] for t in graph.ops[k].outputs if t >= 0)


def _break(graph: Graph, k: int, stops: str, why: str) -> Break:
    op = graph.ops[k]
    tensor = next((graph.name(int(t)) for t in op.outputs if t >= 0), "")
    return Break(k, graph.index, graph.code(op), tensor, stops, why)
