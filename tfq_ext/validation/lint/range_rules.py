"""Ranges that do not fit what flows through them, judged from the file alone or with data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfq_ext.validation.finding import Finding, Rule
from tfq_ext.validation.lint.natural import Natural, naturals
from tfq_ext.validation.lint.reach import reach
from tfq_ext.validation.lint.rule import LintRule
from tfq_ext.validation.lint.subject import Op, Subject

RUINED = 8.0  # a shared range this many times an input's own: 3 of its 8 bits are lost
FEW = 8  # a range of which less than 1/8 can be reached: 3 bits wasted
JOINS = frozenset({"CONCATENATION", "PACK"})
SUMS = frozenset({"ADD", "SUB"})
# op -> largest LSB of its input that leaves it anything to do: the function's transition is about
# 16, 4, 16 and 6 wide, and 4 codes must fall into it.
STEEP = {"LOGISTIC": 4.0, "TANH": 1.0, "SOFTMAX": 4.0, "HARD_SWISH": 1.5, "GELU": 1.5, "ELU": 1.5}

CONCAT_RANGES = Rule(
    "concat-ranges",
    "warning",
    "Inputs of a joining op have natural ranges that differ by more than 8 times.",
    "They share one grid, so the narrow one keeps a fraction of its bits: box coordinates joined "
    "with scores leave the scores at zero (the YOLO failure).",
    "Scale the inputs alike in the model, or take them out as separate outputs.",
    "TFLite 8-bit specification, CONCATENATION; ultralytics issues on int8 export",
)
ADD_RANGES = Rule(
    "add-ranges",
    "info",
    "Inputs of a sum have ranges that differ by more than 8 times.",
    "The sum's grid is that of the wide one; of the narrow one over 3 bits are lost.",
    "Equalize the branches before quantizing, or use 16-bit activations there.",
    "own check",
)
ABSURD_SCALE = Rule(
    "absurd-scale",
    "error",
    "One step of a grid is larger than anything that its use can tell apart.",
    "An output in pixels with steps larger than the picture, or a sigmoid whose input has steps of "
    "several units, gives the same result for nearly every input.",
    "Quantize again with samples preprocessed as the model expects; noise or unscaled pixels "
    "give such ranges.",
    "own check, after a published palm detector whose output scales are 329 and 1216",
)
STUCK_OUTPUT = Rule(
    "stuck-output",
    "error",
    "All that an op can produce falls on one code.",
    "The output is constant: its scale is larger than any value that input and weights allow.",
    "Quantize again: the recorded range of this output belongs to another model or other data.",
    "interval arithmetic over input grid, weights, bias and fused activation",
)
UNREACHABLE_RANGE = Rule(
    "unreachable-range",
    "warning",
    "Less than an eighth of a grid can be reached.",
    "Input range, weights and fused activation bound the values: three bits or more are wasted.",
    "Calibrate again, or clip the recorded range to what can be reached.",
    "interval arithmetic over input grid, weights, bias and fused activation",
)


def concat_ranges(s: Subject) -> Iterator[Finding]:
    """The largest ratio first."""
    rows = []
    for op in s.ops:
        if op.code in JOINS and _quantized(s, op):
            found = naturals(s, op)
            rows += [row] if (row := _apart(s, op, found)) else []
    for _, op, text in sorted(rows, key=lambda row: -row[0]):
        yield CONCAT_RANGES.at(text, **op.where)


def add_ranges(s: Subject) -> Iterator[Finding]:
    """Sums of two activations, by their own grids (or what data showed)."""
    rows = []
    for op in s.ops:
        if op.code not in SUMS or not _quantized(s, op):
            continue
        if any(op.graph.is_constant(t) for t in op.inputs):
            continue
        rows += [row] if (row := _apart(s, op, naturals(s, op))) else []
    for _, op, text in sorted(rows, key=lambda row: -row[0]):
        yield ADD_RANGES.at(text, **op.where)


def _quantized(s: Subject, op: Op) -> bool:
    return bool(op.outputs) and s.activation_grid(op.graph, op.outputs[0]) is not None


def _apart(s: Subject, op: Op, found: list[Natural]) -> tuple[float, Op, str] | None:
    """(ratio, op, sentence) where the widest and the narrowest are too far apart."""
    known = [n for n in found if n.width > 0]
    if len(known) < 2:
        return None
    wide, narrow = (f(known, key=lambda n: n.width) for f in (max, min))
    ratio = wide.width / narrow.width
    if ratio <= RUINED:
        return None
    text = (
        f"One input spans [{narrow.low:.3g}, {narrow.high:.3g}] ({narrow.how}), another "
        f"[{wide.low:.3g}, {wide.high:.3g}] ({wide.how}): {ratio:.0f} times."
    )
    return ratio, op, text


def absurd_scale(s: Subject) -> Iterator[Finding]:
    """Model outputs against the picture's size, inputs of steep functions against their width."""
    rows = [*_outputs(s), *_steep(s)]
    for _, text, where in sorted(rows, key=lambda row: -row[0]):
        yield ABSURD_SCALE.at(text, **where)


def _outputs(s: Subject) -> Iterator[tuple[float, str, dict[str, Any]]]:
    for graph in (g for g in s.model.graphs if g.is_entry):
        side = max((_side(graph.shape(t)) for t in graph.inputs), default=0)
        for t in graph.outputs:
            made = s.maker(graph, t)
            if made is not None and made.code == "DEQUANTIZE" and made.inputs:
                t = made.inputs[0]
                made = s.maker(graph, t) or made
            grid = s.activation_grid(graph, t)
            if grid is None or made is None or not side or grid.scale <= side:
                continue
            text = (
                f"One step of this output is {grid.scale:.4g}, more than the {side} pixels of the "
                "input picture."
            )
            yield grid.scale / side, text, made.where


def _side(shape: tuple[int, ...]) -> int:
    """The longer side of a picture [N, H, W, 1|3|4]; 0 for other tensors and open sizes."""
    picture = len(shape) == 4 and shape[3] in (1, 3, 4) and min(shape[1:3]) > 0
    return max(shape[1:3]) if picture else 0


def _steep(s: Subject) -> Iterator[tuple[float, str, dict[str, Any]]]:
    for op in s.ops:
        limit = STEEP.get(op.code)
        grid = s.activation_grid(op.graph, op.inputs[0]) if limit and op.inputs else None
        if limit is not None and grid is not None and grid.scale > limit:
            text = f"One step of the input of {op.code} is {grid.scale:.4g}; {limit:g} is the most."
            yield grid.scale / limit, text, op.where


def stuck_output(s: Subject) -> Iterator[Finding]:
    """Reach below half a code on either side of zero, and no bias that moves it."""
    for op, low, high, grid_low, grid_high, scale in _reaches(s):
        a, b = (round(min(max(x, grid_low), grid_high) / scale) for x in (low, high))
        if a == b:
            text = f"Values reach [{low:.3g}, {high:.3g}]; one step of the output is {scale:.3g}."
            yield STUCK_OUTPUT.at(text, **op.where)


def unreachable_range(s: Subject) -> Iterator[Finding]:
    """The least used first."""
    rows = []
    for op, low, high, grid_low, grid_high, scale in _reaches(s):
        used = max(min(high, grid_high) - max(low, grid_low), 0.0)
        share = used / (grid_high - grid_low)
        if scale < used and share < 1 / FEW:
            text = (
                f"Values reach [{low:.3g}, {high:.3g}]; the grid spans [{grid_low:.3g}, "
                f"{grid_high:.3g}], of which {share:.1%} can be used."
            )
            rows.append((share, op, text))
    for _, op, text in sorted(rows, key=lambda row: row[0]):
        yield UNREACHABLE_RANGE.at(text, **op.where)


def _reaches(s: Subject) -> Iterator[tuple[Op, float, float, float, float, float]]:
    """(op, reach, grid's range, scale) where both are known and the grid is the op's own."""
    for op in s.ops:
        grid = s.activation_grid(op.graph, op.outputs[0]) if op.outputs else None
        if grid is None or grid.dtype == "int16" or not op.inputs or _forced(s, op):
            continue
        found = reach(s, op)
        if found is not None:
            yield op, *found, *grid.range, grid.scale


def _forced(s: Subject, op: Op) -> bool:
    """Whether the grid was chosen by a joining op behind it (which has its own rule)."""
    return any(r.code in JOINS for t in op.outputs for r in s.readers(op.graph, t))


TABLE = (
    LintRule(CONCAT_RANGES, concat_ranges),
    LintRule(ADD_RANGES, add_ranges),
    LintRule(ABSURD_SCALE, absurd_scale),
    LintRule(STUCK_OUTPUT, stuck_output),
    LintRule(UNREACHABLE_RANGE, unreachable_range),
)
