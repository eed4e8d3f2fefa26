"""Scales and zero points: nonsense, and ops whose tensors must share a grid or have a fixed one."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tfq_ext.tflite.arithmetic import INTEGER
from tfq_ext.tflite.facts import ALL, FIXED_OUTPUT, SAME_GRID
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import LIMITS, SMALLEST, Op, Subject, TensorGrid
from tfq_ext.validation.lint.weight_rules import SPEC, TRIED

NEAR = 1e-5  # relative; what an honest file may have from float32 arithmetic

BAD_SCALE = Rule(
    "bad-scale",
    "error",
    "A scale is zero, negative, NaN, infinite or denormal.",
    "XNNPACK refuses such a tensor; builtin kernels give zeros or nonsense without a word.",
    "Quantize again; look for NaN, or for channels and tensors that are all zero, in the samples.",
    TRIED,
)
ZERO_POINT_RANGE = Rule(
    "zero-point-range",
    "error",
    "A zero point lies outside the integers of its type.",
    "Real zero cannot be represented: padding and ReLU give wrong values, XNNPACK refuses.",
    "Choose a range that contains 0 and quantize again.",
    f"{SPEC}; {TRIED}",
)
INT16_ZERO_POINT = Rule(
    "int16-zero-point",
    "error",
    "A 16-bit activation has a zero point other than 0.",
    "Kernels for 16x8 take symmetric activations only and refuse to load.",
    "Quantize 16-bit activations symmetrically.",
    "TFLite 16x8 specification; mlir_quantize makes such files",
)
MISSING_GRID = Rule(
    "missing-grid",
    "error",
    "An integer op reads or writes an 8- or 16-bit tensor without a scale.",
    "Kernels take the missing scale as 0 and give zeros, or refuse to load.",
    "Quantize the tensor with a range, or keep the op float.",
    TRIED,
)
PER_CHANNEL_ACTIVATION = Rule(
    "per-channel-activation",
    "error",
    "An activation has one scale per channel.",
    "Kernels use the first scale for all channels.",
    "Quantize activations per tensor.",
    SPEC,
)
SHARED_GRID = Rule(
    "shared-grid",
    "error",
    "Tensors of an op that must share one grid have different ones.",
    "The kernel copies or compares the codes as they are, so its numbers are wrong by the ratio of "
    "the scales, or it refuses to load.",
    "Give the inputs and the output one range, or put a QUANTIZE in between.",
    f"{SPEC}, op by op; every op of the table tried with LiteRT 2.3 in int8 and int16",
)
FIXED_GRID = Rule(
    "fixed-output-grid",
    "error",
    "The output of an op with a prescribed grid has another one.",
    "The kernels write codes of the prescribed grid or refuse to load; XNNPACK alone rescales, so "
    "the file means different things on different devices.",
    "Use the prescribed grid; put a QUANTIZE behind the op where another is wanted.",
    f"{SPEC}; {TRIED}",
)
# Checked by the kernel with ==; a difference in the last bit is refused.
EXACT = frozenset(
    {
        "BATCH_TO_SPACE_ND",
        "CONCATENATION",
        "EXPAND_DIMS",
        "FILL",
        "MIRROR_PAD",
        "PACK",
        "PADV2",
        "REDUCE_MAX",
        "REDUCE_MIN",
        "SPACE_TO_BATCH_ND",
        "UNPACK",
    }
)
# Kernels that rescale after all: 8-bit TANH; CONCATENATION of uint8.
RESCALES = frozenset({("TANH", "int8"), ("TANH", "uint8"), ("CONCATENATION", "uint8")})


def bad_scale(s: Subject) -> Iterator[Finding]:
    """Every tensor that states a grid."""
    for graph in s.model.graphs:
        for t in range(len(graph.tensors)):
            grid = s.grid(graph, t)
            if grid is None or graph.dtype(t) not in {*LIMITS, "int32", "int64"}:
                continue
            with np.errstate(invalid="ignore"):
                wrong = grid.scales[~(np.isfinite(grid.scales) & (grid.scales >= SMALLEST))]
            if len(wrong):
                text = (
                    f"{len(wrong)} of {len(grid.scales)} scales are unusable; one is {wrong[0]:g}."
                )
                maker = s.maker(graph, t)
                yield BAD_SCALE.at(
                    text,
                    op=maker.code if maker else "",
                    tensor=graph.name(t),
                    subgraph=graph.index,
                    op_index=maker.number if maker else None,
                )


def zero_point_range(s: Subject) -> Iterator[Finding]:
    """Outside [-128, 127] and the like."""
    for graph in s.model.graphs:
        for t in range(len(graph.tensors)):
            grid = s.grid(graph, t)
            if grid is None or grid.dtype not in LIMITS:
                continue
            low, high = LIMITS[grid.dtype]
            wrong = grid.zeros[(grid.zeros < low) | (grid.zeros > high)]
            if len(wrong):
                text = f"Zero point {wrong[0]} of {grid.dtype}, which holds {low}..{high}."
                yield ZERO_POINT_RANGE.at(text, tensor=graph.name(t), subgraph=graph.index)


def int16_zero_point(s: Subject) -> Iterator[Finding]:
    """Computed or fed int16 tensors with a grid."""
    for graph in s.model.graphs:
        for t in range(len(graph.tensors)):
            grid = s.grid(graph, t)
            if grid is not None and grid.dtype == "int16" and grid.zeros.any():
                text = f"The zero point is {grid.zeros[grid.zeros != 0][0]}."
                yield INT16_ZERO_POINT.at(text, tensor=graph.name(t), subgraph=graph.index)


def missing_grid(s: Subject) -> Iterator[Finding]:
    """Ops of which some tensor is quantized and another of 8 or 16 bits has no scale."""
    for op, kind in zip(s.ops, s.kinds, strict=True):
        if kind != INTEGER:
            continue
        bare = [t for t in _data(s, op) if s.grid(op.graph, t) is None]
        if bare:
            side = "An input" if bare[0] in op.inputs else "The output"
            text = f"{side} is {op.graph.dtype(bare[0])} without a scale."
            yield MISSING_GRID.at(text, **op.where)


def _data(s: Subject, op: Op) -> list[int]:
    """Activations of integer type among an op's tensors."""
    found = [t for t in [*op.inputs, *op.outputs] if t >= 0]
    small = [t for t in found if op.graph.dtype(t) in ("int8", "uint8", "int16")]
    return [t for t in small if not op.graph.is_constant(t)]


def per_channel_activation(s: Subject) -> Iterator[Finding]:
    """Several scales on what is computed."""
    for op in s.ops:
        for t in op.outputs:
            grid = s.grid(op.graph, t)
            if grid is not None and len(grid.scales) > 1:
                text = f"{len(grid.scales)} scales along axis {grid.axis} of a computed tensor."
                yield PER_CHANNEL_ACTIVATION.at(text, **op.where)


def shared_grid(s: Subject) -> Iterator[Finding]:
    """The largest ratio first."""
    rows = []
    for op in s.ops:
        if op.code not in SAME_GRID:
            continue
        tied = [(t, g) for t in tied_tensors(op) if (g := s.grid(op.graph, t)) is not None]
        tied = [(t, g) for t, g in tied if len(g.scales) == 1 and g.dtype in LIMITS]
        if len(tied) < 2 or (op.code, tied[-1][1].dtype) in RESCALES:
            continue
        ratio, first, other = max(
            ((_apart(op.code, tied[0][1], g), tied[0], (t, g)) for t, g in tied[1:]),
            key=lambda row: row[0],
        )
        if ratio > 0:
            rows.append((ratio, op, _told(op, first, other)))
    for _, op, text in sorted(rows, key=lambda row: -row[0]):
        yield SHARED_GRID.at(text, **op.where)


def tied_tensors(op: Op) -> list[int]:
    """The data inputs and the data outputs of an op of SAME_GRID."""
    positions = SAME_GRID[op.code]
    chosen = (
        op.inputs if positions == ALL else [op.inputs[p] for p in positions if p < len(op.inputs)]
    )
    made = op.outputs[:1] if op.code == "TOPK_V2" else op.outputs
    return [t for t in [*chosen, *made] if t >= 0]


def _apart(code: str, a: TensorGrid, b: TensorGrid) -> float:
    """0 for equal grids, else how far apart: |log scale ratio| plus zero points' difference."""
    usable = all(math.isfinite(g.scale) and g.scale > 0 for g in (a, b))
    if a.dtype != b.dtype or not usable:  # bad-scale has said so
        return 0.0
    step = abs(math.log(a.scale) - math.log(b.scale))
    if a.scale != b.scale:
        step = max(step, 1e-9)
    if code not in EXACT and step < NEAR:
        step = 0.0
    return step + abs(a.zero - b.zero)


def _told(op: Op, a: tuple[int, TensorGrid], b: tuple[int, TensorGrid]) -> str:
    (t, g), (u, h) = a, b
    sides = ["input" if x in op.inputs else "output" for x in (t, u)]
    way = "it refuses to load" if op.code in EXACT else "the kernel does not rescale"
    return (
        f"{op.code}: {sides[0]} scale {g.scale:.6g}, zero point {g.zero}; {sides[1]} scale "
        f"{h.scale:.6g}, zero point {h.zero}: {way}."
    )


def fixed_grid(s: Subject) -> Iterator[Finding]:
    """Against FIXED_OUTPUT."""
    for op in s.ops:
        fixed = FIXED_OUTPUT.get(op.code)
        grid = s.activation_grid(op.graph, op.outputs[0]) if fixed and op.outputs else None
        if fixed is None or grid is None or (op.code, grid.dtype) in RESCALES:
            continue
        if grid.dtype == "int16":
            scale, zero = fixed.scale16, 0
        else:
            scale, zero = fixed.scale8, fixed.zero8 + (128 if grid.dtype == "uint8" else 0)
        if abs(grid.scale / scale - 1) > 1e-3 or grid.zero != zero:
            text = (
                f"{op.code} has scale {grid.scale:.6g} and zero point {grid.zero}; prescribed are "
                f"{scale:.6g} and {zero}."
            )
            yield FIXED_GRID.at(text, **op.where)


TABLE = (
    LintRule(BAD_SCALE, bad_scale),
    LintRule(ZERO_POINT_RANGE, zero_point_range),
    LintRule(INT16_ZERO_POINT, int16_zero_point),
    LintRule(MISSING_GRID, missing_grid),
    LintRule(PER_CHANNEL_ACTIVATION, per_channel_activation),
    LintRule(SHARED_GRID, shared_grid),
    LintRule(FIXED_GRID, fixed_grid),
)
