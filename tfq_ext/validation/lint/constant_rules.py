"""Constants: numbers that no runtime can use, and bytes that nobody needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tfq_ext.tflite.bits import stored_bytes
from tfq_ext.tflite.facts import NO_BUFFER
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import Subject

HALF_MAX, HALF_TINY = 65504.0, 2.0**-14  # largest and smallest normal float16
MANY = 0.1  # share of a constant's values
WORTH = 1024  # bytes below which a duplicate is not worth a line

NAN_CONSTANT = Rule(
    "nan-constant",
    "error",
    "A float constant holds NaN.",
    "NaN spreads to every value that meets it.",
    "Look at the training (a diverged layer, a division by a variance of zero) and export again.",
    "IEEE 754",
)
INF_CONSTANT = Rule(
    "inf-constant",
    "warning",
    "A float32 constant holds infinity.",
    "Infinity minus infinity and zero times infinity are NaN; calibration cannot cover it.",
    "Replace it by the largest value that matters, for masks -1e4 or so.",
    "IEEE 754; TensorFlow#120295 (the converter crashes on -inf samples)",
)
FP16_OVERFLOW = Rule(
    "fp16-overflow",
    "error",
    "A float16 constant holds infinity.",
    "The float32 value did not fit in float16 (largest: 65504), so the op's result is infinite.",
    "Keep this constant in float32, or scale the layer.",
    "IEEE 754 binary16",
)
FP16_SUBNORMAL = Rule(
    "fp16-subnormal",
    "info",
    "Over 10 % of the values of a float16 constant are subnormal.",
    "Below 6.1e-5 float16 loses bits one by one, and GPUs may flush such values to zero.",
    "Scale the layer up, or keep this constant in float32.",
    "IEEE 754 binary16",
)
BEYOND_FP16 = Rule(
    "beyond-fp16",
    "info",
    "A float32 constant lies beyond the largest float16 (65504).",
    "The GPU delegate computes in float16 by default: the value becomes infinity, and the result "
    "is wrong without a NaN to show it.",
    "Use a smaller constant (a mask needs -1e4, not -1e9), or run the delegate in float32.",
    "own measurement with LiteRT's GPU delegate",
)
DUPLICATE_CONSTANTS = Rule(
    "duplicate-constants",
    "info",
    "Equal constants are stored more than once.",
    "The file is larger than it need be.",
    "Let equal tensors share one buffer; the converter does so unless they were made apart.",
    "own check",
)
UNUSED_TENSORS = Rule(
    "unused-tensors",
    "info",
    "Constants are stored that no op reads.",
    "The file is larger than it need be; leftovers of an edit may hide a mistake.",
    "Remove them (convert again, or run a flatbuffer cleanup).",
    "own check",
)

OVERSIZED_CONSTANT = Rule(
    "oversized-constant",
    "warning",
    "A constant's buffer holds more bytes than its shape and type need.",
    "LiteRT reads the first bytes and ignores the rest: they are waste, or the values were stored "
    "in a wider type than the tensor states and every one is misread.",
    "Write the file again; such a weight may have been left unquantized by the tool that made it.",
    "trials with LiteRT 2.3; files of litert-quantizer 0.11",
)


def _floats(s: Subject, dtype: str) -> Iterator[tuple[Graph, int, np.ndarray]]:
    """Every constant of a float type, buffers shared by several tensors once."""
    seen = set()
    for graph in s.model.graphs:
        for t in range(len(graph.tensors)):
            buffer = graph.tensors[t].buffer
            if graph.dtype(t) != dtype or buffer in seen or not graph.is_constant(t):
                continue
            seen.add(buffer)
            values = s.constant(graph, t)
            if values is not None and values.size:
                yield graph, t, values


def nan_constant(s: Subject) -> Iterator[Finding]:
    """Of float32 and float16."""
    for dtype in ("float32", "float16"):
        for graph, t, x in _floats(s, dtype):
            n = int(np.count_nonzero(np.isnan(x)))
            if n:
                text = f"{n} of {x.size} {dtype} values are NaN."
                yield NAN_CONSTANT.at(text, tensor=graph.name(t), subgraph=graph.index)


def inf_constant(s: Subject) -> Iterator[Finding]:
    """Of float32."""
    yield from _counted(s, INF_CONSTANT, "float32", np.isinf, "infinite")


def fp16_overflow(s: Subject) -> Iterator[Finding]:
    """Of float16."""
    yield from _counted(s, FP16_OVERFLOW, "float16", np.isinf, "infinite")


def beyond_fp16(s: Subject) -> Iterator[Finding]:
    """Finite float32 values past 65504, in files that compute in floats."""
    if s.is_integer:
        return

    def beyond(x: np.ndarray) -> np.ndarray:
        return np.isfinite(x) & (np.abs(x) > HALF_MAX)

    yield from _counted(s, BEYOND_FP16, "float32", beyond, "beyond 65504")


def _counted(
    s: Subject, rule: Rule, dtype: str, test: Callable[[np.ndarray], np.ndarray], what: str
) -> Iterator[Finding]:
    for graph, t, x in _floats(s, dtype):
        chosen = x[test(x)]
        if chosen.size:
            text = f"{chosen.size} of {x.size} {dtype} values are {what}; one is {chosen[0]:g}."
            yield rule.at(text, tensor=graph.name(t), subgraph=graph.index)


def fp16_subnormal(s: Subject) -> Iterator[Finding]:
    """The largest share first."""
    rows = []
    for graph, t, x in _floats(s, "float16"):
        small = np.count_nonzero((np.abs(x) < HALF_TINY) & (x != 0))
        if small > MANY * np.count_nonzero(x):
            rows.append((small / np.count_nonzero(x), graph, t))
    for share, graph, t in sorted(rows, key=lambda row: -row[0]):
        text = f"{share:.0%} of its values other than 0 are subnormal."
        yield FP16_SUBNORMAL.at(text, tensor=graph.name(t), subgraph=graph.index)


def duplicate_constants(s: Subject) -> Iterator[Finding]:
    """All of them in one finding, for each costs little alone."""
    seen: dict[tuple[int, bytes], int] = {}
    wasted, copies = 0, 0
    used = {t.buffer for g in s.model.graphs for t in g.tensors}
    for k in sorted(used - {NO_BUFFER}):
        raw = s.model.tree.buffers[k].data
        if raw is None or len(raw) < WORTH:
            continue
        content = np.asarray(raw, np.uint8).tobytes()
        key = (len(content), content)
        if key in seen:
            wasted, copies = wasted + len(content), copies + 1
        seen.setdefault(key, k)
    if copies:
        text = f"{copies} constants of 1 kB or more repeat others: {wasted / 1e3:.1f} kB."
        yield DUPLICATE_CONSTANTS.at(text)


def unused_tensors(s: Subject) -> Iterator[Finding]:
    """Constants without a reader, and buffers without a tensor (metadata aside)."""
    loose, size = [], 0
    held = {int(m.buffer) for m in s.model.tree.metadata or ()}
    for graph in s.model.graphs:
        ends = {*graph.inputs, *graph.outputs}
        for t, tensor in enumerate(graph.tensors):
            read = t in graph.consumers or t in ends or t in graph.producer
            if graph.is_constant(t) and not read and tensor.buffer not in held:
                loose.append(graph.name(t))
                size += len(s.model.tree.buffers[tensor.buffer].data)
    if loose:
        text = f"{len(loose)} constants that no op reads: {size / 1e3:.1f} kB."
        yield UNUSED_TENSORS.at(text, tensor=loose[0])


def oversized_constant(s: Subject) -> Iterator[Finding]:
    """By the largest of the tensors that share the buffer; text and sparse ones have no size."""
    needs: dict[int, list[tuple[int | None, Graph, int]]] = {}
    for graph in s.model.graphs:
        for t, tensor in enumerate(graph.tensors):
            if graph.is_constant(t):
                size = stored_bytes(graph.dtype(t), tuple(int(d) for d in tensor.shape or ()))
                sized = None if tensor.sparsity is not None else size
                needs.setdefault(tensor.buffer, []).append((sized, graph, t))
    for buffer, readers in needs.items():
        sizes = [size for size, _, _ in readers if size is not None]
        held = len(s.model.tree.buffers[buffer].data)
        if len(sizes) < len(readers) or held <= max(sizes):
            continue
        _, graph, t = readers[0]
        text = (
            f"It holds {held} bytes; {graph.dtype(t)} of shape {list(graph.shape(t))} needs "
            f"{max(sizes)}."
        )
        yield OVERSIZED_CONSTANT.at(text, tensor=graph.name(t), subgraph=graph.index)


TABLE = (
    LintRule(NAN_CONSTANT, nan_constant),
    LintRule(INF_CONSTANT, inf_constant),
    LintRule(FP16_OVERFLOW, fp16_overflow),
    LintRule(FP16_SUBNORMAL, fp16_subnormal),
    LintRule(BEYOND_FP16, beyond_fp16),
    LintRule(DUPLICATE_CONSTANTS, duplicate_constants),
    LintRule(UNUSED_TENSORS, unused_tensors),
    LintRule(OVERSIZED_CONSTANT, oversized_constant),
)
