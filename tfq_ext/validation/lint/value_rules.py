"""What only data can tell: saturation, wasted codes, stuck tensors, samples that do not fit."""

from __future__ import annotations

from collections.abc import Iterator

from tfq_ext.tflite.arithmetic import INTEGER
from tfq_ext.tflite.facts import FIXED_OUTPUT, SAME_GRID
from tfq_ext.tflite.read import Graph
from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.observed import Observed
from tfq_ext.validation.lint.reach import OF_ACTIVATION
from tfq_ext.validation.lint.rule import REFERENCE, VALUES, LintRule
from tfq_ext.validation.lint.subject import LIMITS, Op, Subject, TensorGrid

SATURATED = 0.01  # share of values at an end of the grid
AT_LEAST = 10  # values there: the extremes of few values lie at the ends of an honest range too
UNUSED = 1 / 8  # of the codes: three bits wasted
OUTSIDE = 0.01  # share of fed values beyond the input's grid
TOO_WIDE = 8.0
FEW_SAMPLES = 4  # below it, "always" says nothing

SATURATING = Rule(
    "saturating",
    "warning",
    "More than 1 % of an activation's values lie at the end of its grid.",
    "They are clipped: what lies beyond is lost, and the mean shifts.",
    "Widen the range: calibrate with more, and more typical, samples.",
    "Jacob et al., arXiv 1712.05877; share measured on the given samples",
)
UNUSED_RANGE = Rule(
    "unused-range",
    "warning",
    "The samples use less than an eighth of an activation's codes.",
    "Three bits or more are wasted, as if the activation had 5 bits.",
    "Calibrate again with samples like these; look for one outlier sample that set the range.",
    "share measured on the given samples",
)
STUCK_TENSOR = Rule(
    "stuck-tensor",
    "warning",
    "An integer tensor holds one code for all samples.",
    "It carries no information: a scale upstream is far too large, or the branch is dead.",
    "Compare with the float model (tfq compare); calibrate again if the float tensor lives.",
    "measured on the given samples",
)
INPUT_CLIPPED = Rule(
    "input-clipped",
    "warning",
    "Samples lie outside the grid of the model's input.",
    "The preprocessing is not the one that the model was quantized for.",
    "Correct --preprocess (scale and mean), or quantize with samples preprocessed like these.",
    "share measured on the given samples",
)
RANGE_UNLIKE_FLOAT = Rule(
    "range-unlike-float",
    "warning",
    "A grid does not fit the range that the float model has there.",
    "Too narrow clips, over 8 times too wide wastes three bits.",
    "Calibrate again with representative samples.",
    "ranges measured in both files on the given samples",
)
_CLAMPS = frozenset({"RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "MAXIMUM", "MINIMUM"})


def _own(s: Subject) -> Iterator[tuple[Op, int, TensorGrid]]:
    """Integer ops that choose the grid of their output: no copies, no prescribed grids."""
    for op, kind in zip(s.ops, s.kinds, strict=True):
        if kind != INTEGER or op.code in SAME_GRID or op.code in FIXED_OUTPUT:
            continue
        for t in op.outputs:
            grid = s.activation_grid(op.graph, t)
            if grid is not None:
                yield op, t, grid


def saturating(s: Subject) -> Iterator[Finding]:
    """Ends that an activation clamps to, fused or folded into the grid, do not count."""
    rows = []
    for op, t, grid in _own(s):
        seen = s.seen(op.graph, t)
        if seen is None or op.code in _CLAMPS or seen.low == seen.high:
            continue
        below, above = _beyond(op, grid, seen)
        most, (low, high) = max(below, above), grid.range
        if most > SATURATED and most * seen.count >= AT_LEAST:
            text = (
                f"{below:.2%} of the values lie at the low end ({low:.3g}) and {above:.2%} at the "
                f"high end ({high:.3g})."
            )
            rows.append((most, op, text))
    for _, op, text in sorted(rows, key=lambda row: -row[0]):
        yield SATURATING.at(text, **op.where)


def _beyond(op: Op, grid: TensorGrid, seen: Observed) -> tuple[float, float]:
    """Shares at the low and the high end that no clamp explains.

    A grid that begins at 0 holds what is never negative, or a ReLU that the converter folded into
    it; one that spans [0, 6] a ReLU6.
    """
    (low, high), step = grid.range, grid.scale
    clamp = OF_ACTIVATION.get(op.activation, OF_ACTIVATION["NONE"])
    folded = low == 0 and abs(high - 6) < step
    below = seen.at_low if low > clamp[0] + step and low < 0 else 0.0
    above = seen.at_high if high < clamp[1] - step and high > 0 and not folded else 0.0
    return below, above


def unused_range(s: Subject) -> Iterator[Finding]:
    """Grids that a joining op forces are left to concat-ranges."""
    rows = []
    for op, t, grid in _own(s):
        seen = s.seen(op.graph, t)
        if seen is None or seen.low == seen.high or grid.dtype == "int16":
            continue
        if any(r.code in SAME_GRID and len(r.inputs) > 1 for r in s.readers(op.graph, t)):
            continue
        low, high = LIMITS[grid.dtype]
        used = (max(seen.high, grid.zero) - min(seen.low, grid.zero) + 1) / (high - low + 1)
        if used < UNUSED:
            text = f"The samples use codes {seen.low:.0f}..{seen.high:.0f}: {used:.1%} of them all."
            rows.append((used, op, text))
    for _, op, text in sorted(rows, key=lambda row: row[0]):
        yield UNUSED_RANGE.at(text, **op.where)


def stuck_tensor(s: Subject) -> Iterator[Finding]:
    """One code over at least FEW_SAMPLES samples."""
    if s.samples < FEW_SAMPLES:
        return
    for op, t, _ in _own(s):
        seen = s.seen(op.graph, t)
        if seen is not None and seen.low == seen.high and seen.count > s.samples:
            text = f"All {seen.count} values of {s.samples} samples are code {seen.low:.0f}."
            yield STUCK_TENSOR.at(text, **op.where)


def input_clipped(s: Subject) -> Iterator[Finding]:
    """Integer inputs by what was fed, before it was encoded; float ones at their QUANTIZE."""
    for graph in s.model.graphs:
        for t in graph.inputs:
            found = _outside(s, graph, t)
            if found is not None and found[0] > OUTSIDE:
                share, (low, high) = found
                text = (
                    f"{share:.1%} of the input values lie outside [{low:.4g}, {high:.4g}], "
                    "which is all that this input takes."
                )
                yield INPUT_CLIPPED.at(text, tensor=graph.name(t), subgraph=graph.index)


def _outside(s: Subject, graph: Graph, t: int) -> tuple[float, tuple[float, float]] | None:
    """Share of an input's values beyond its grid, and that grid's range."""
    seen, grid = s.seen(graph, t), s.activation_grid(graph, t)
    if seen is not None and grid is not None:
        return seen.outside, grid.range
    made = [r.outputs[0] for r in s.readers(graph, t) if r.code == "QUANTIZE" and r.outputs]
    grid = s.activation_grid(graph, made[0]) if len(made) == 1 else None
    codes = s.seen(graph, made[0]) if made else None
    if seen is None or grid is None or codes is None:
        return None
    low, high = grid.range
    below = codes.at_low if seen.low < low - grid.scale else 0.0
    above = codes.at_high if seen.high > high + grid.scale else 0.0
    return below + above, grid.range


def range_unlike_float(s: Subject) -> Iterator[Finding]:
    """Tensors of both files that have one name."""
    rows = []
    for op, t, grid in _own(s):
        real = s.real_range(op.graph, t)
        if real is None or real.width <= 0 or grid.dtype == "int16" or _joined(s, op, t):
            continue
        low, high = grid.range
        wide = grid.width / real.width
        lost = max(low - real.min, real.max - high) / real.width
        if wide <= TOO_WIDE and lost <= 0.25:
            continue
        what = f"{wide:.1f} times too wide" if wide > TOO_WIDE else f"{lost:.0%} of it cut off"
        text = (
            f"The grid spans [{low:.3g}, {high:.3g}], the float model [{real.min:.3g}, "
            f"{real.max:.3g}]: {what}."
        )
        rows.append((max(wide / TOO_WIDE, lost), op, text))
    for _, op, text in sorted(rows, key=lambda row: -row[0]):
        yield RANGE_UNLIKE_FLOAT.at(text, **op.where)


def _joined(s: Subject, op: Op, tensor: int) -> bool:
    return any(r.code in ("CONCATENATION", "PACK") for r in s.readers(op.graph, tensor))


TABLE = (
    LintRule(SATURATING, saturating, VALUES),
    LintRule(UNUSED_RANGE, unused_range, VALUES),
    LintRule(STUCK_TENSOR, stuck_tensor, VALUES),
    LintRule(INPUT_CLIPPED, input_clipped, VALUES),
    LintRule(RANGE_UNLIKE_FLOAT, range_unlike_float, REFERENCE),
)
