"""Every op that passes beliefs on, against LiteRT fed with random values as believed."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from one_op import EXAMPLES, IMAGE, ROW, Example, X, build, f32, i32

from tfq_ext.repair.beliefs import Belief, propagate
from tfq_ext.repair.beliefs.rules import RULES

RUNS = 400
VALID = {"padding": 1, "strideW": 1, "strideH": 1}
OTHERS = {
    "CONV_2D/valid": Example((IMAGE, f32(5, 3, 3, 4), f32(5)), ("Conv2DOptions", VALID)),
    "CONV_2D/strides": Example(
        (X((1, 7, 6, 4)), f32(5, 3, 2, 4), f32(5)),
        ("Conv2DOptions", {"padding": 0, "strideW": 3, "strideH": 2}),
    ),
    "TRANSPOSE_CONV/strides": Example(
        (i32(1, 13, 17, 5), f32(5, 3, 4, 4), X((1, 6, 5, 4)), f32(5)),
        ("TransposeConvOptions", {"padding": 1, "strideW": 3, "strideH": 2}),
    ),
    "ADD_N": Example((ROW, X((2, 8)), X((2, 8))), ("AddNOptions", {})),
    "NEG": Example((ROW,), ("NegOptions", {})),
    "POW": Example((X((2, 8), 0.5, 3.0), np.full(8, 2.0, np.float32)), ("PowOptions", {})),
    "RELU_0_TO_1": Example((ROW,)),
    "SQUARE": Example((ROW,), ("SquareOptions", {})),
    "CONV_3D": Example(
        (X((1, 4, 4, 4, 3)), f32(2, 2, 2, 3, 5) * 0.3, f32(5)),
        ("Conv3DOptions", {"strideD": 1, "strideW": 1, "strideH": 1, "padding": 1}),
        ("float32",),
    ),
    # operands that are constants, in either place
    "ADD/constant": Example((IMAGE, f32(4)), ("AddOptions", {})),
    "SUB/constant": Example((f32(8), ROW), ("SubOptions", {})),
    "MUL/constant": Example((IMAGE, f32(1, 1, 1, 4)), ("MulOptions", {})),
    "MUL/relu6": Example((ROW, f32(8)), ("MulOptions", {"fusedActivationFunction": 3})),
    "DIV/constant": Example((ROW, np.abs(f32(8)) + 0.5), ("DivOptions", {})),
    "SQUARED_DIFFERENCE/constant": Example((ROW, f32(8)), ("SquaredDifferenceOptions", {})),
    "MAXIMUM/constant": Example((ROW, f32(8)), ("MaximumMinimumOptions", {})),
    "MEAN/channels": Example((IMAGE, i32(3)), ("ReducerOptions", {"keepDims": True})),
    "CONV_2D/groups": Example(
        (X((1, 6, 6, 4)), f32(6, 3, 3, 2), f32(6)),
        ("Conv2DOptions", VALID),
    ),
    "DEPTHWISE_CONV_2D/multiplier": Example(
        (X((1, 6, 6, 4)), f32(1, 3, 3, 8), f32(8)),
        (
            "DepthwiseConv2DOptions",
            VALID | {"depthMultiplier": 2},
        ),
    ),
    "CONCATENATION/rows": Example((ROW, X((2, 8))), ("ConcatenationOptions", {"axis": 0})),
    "SPLIT/rows": Example(
        (np.array(0, np.int32), ROW), ("SplitOptions", {"numSplits": 2}), ("float32",) * 2
    ),
    "RESHAPE/flat": Example((IMAGE, i32(1, 144)), ("ReshapeOptions", {"newShape": [1, 144]})),
    "PAD/channels": Example((ROW, np.array([[0, 0], [2, 1]], np.int32)), ("PadOptions", {})),
    "GATHER/table": Example((f32(9, 5), X((7,), 0, 8, "int32")), ("GatherOptions", {"axis": 0})),
}
# Rules that say no more than a bound, and why.
MEANS_DIFFER = {
    "MAX_POOL_2D": "the greatest of a window counts as any of it",
    "REDUCE_MAX": "the same",
    "REDUCE_MIN": "the same",
    "MAXIMUM": "either operand",
    "MINIMUM": "either operand",
    "SELECT": "either operand, equally likely",
    "SELECT_V2": "the same",
    "SOFTMAX": "nothing but bounds",
    "PAD": "zeros around are not counted",
    "PADV2": "nor are other values",
    "SQUARED_DIFFERENCE": "two computed operands have no rule",
}
NO_RULE = ("SQUARED_DIFFERENCE", "DIV")  # of two computed operands
DEVIATIONS_ARE_BOUNDS = [
    "AVERAGE_POOL_2D",
    "MEAN",
    "MEAN/channels",
    "RESIZE_BILINEAR",
    "CONCATENATION/rows",
    "GATHER/table",
]
PADDED = (
    "CONV_2D",
    "CONV_2D/strides",
    "DEPTHWISE_CONV_2D",
    "TRANSPOSE_CONV",
    "TRANSPOSE_CONV/strides",
)
CASES = {code: EXAMPLES[code] for code in RULES if code in EXAMPLES} | OTHERS


def test_every_rule_has_a_case():
    assert set(RULES) <= {name.partition("/")[0] for name in CASES}


def _belief(x: X, rng: np.random.Generator) -> Belief:
    """Channels with means and deviations of their own, inside what the op takes."""
    channels = x.shape[-1] if x.shape else 1
    middle, width = (x.lo + x.hi) / 2, x.hi - x.lo
    mean = middle + width * rng.uniform(-0.2, 0.2, channels)
    return Belief.of(mean, width * rng.uniform(0.05, 0.15, channels), x.lo, x.hi)


def _draw(x: X, belief: Belief, rng: np.random.Generator) -> np.ndarray:
    if x.dtype != "float32":
        return rng.integers(0, int(x.hi) + 1, x.shape).astype(x.dtype)
    z = rng.normal(size=x.shape) * belief.deviation + belief.mean
    return np.clip(z, belief.low, belief.high).astype(np.float32)


def _seen(model, example, beliefs, rng) -> list[np.ndarray]:
    """All values of each output, float64[values, C]."""
    interpreter = Interpreter(model_content=model.to_bytes())
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()
    rows: list[list[np.ndarray]] = []
    for _ in range(RUNS):
        for detail in details:
            name = detail["name"]
            x = example.inputs[int(name[1:])]
            interpreter.set_tensor(detail["index"], _draw(x, beliefs[name], rng))
        interpreter.invoke()
        found = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
        rows.append([y.reshape(-1, y.shape[-1]).astype(np.float64) for y in found])
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("name", CASES)
def test_against_the_kernel(name):
    example, code = CASES[name], name.partition("/")[0]
    rng = np.random.default_rng(3)
    model = build(code, example)
    graph = model.graphs[0]
    beliefs = {f"x{k}": _belief(x, rng) for k, x in enumerate(example.inputs) if isinstance(x, X)}
    made = propagate(model, {}, beliefs)
    if name in NO_RULE:
        assert "no rule for these operands" in made.unknown["out"]
        return
    for t, seen in zip(graph.outputs, _seen(model, example, beliefs, rng), strict=True):
        if graph.dtype(t) != "float32":
            continue
        belief = made.tensors[graph.name(t)]
        assert belief.channels == seen.shape[-1]
        low, high = belief.reach
        curved = 0.03 if np.isinf(belief.alpha) else 0.0  # a function's ends between two points
        slack = curved * (high - low) + 1e-5 * np.abs([low, high]).max()
        if not code.startswith("PAD"):
            assert np.all(seen.min(axis=0) >= low - slack)
            assert np.all(seen.max(axis=0) <= high + slack)
        _check_moments(name, belief, seen)


def _check_moments(name: str, belief: Belief, seen: np.ndarray) -> None:
    mean, variance = belief.moments
    if name in MEANS_DIFFER:
        return
    error = np.sqrt(seen.var(axis=0) / len(seen)) * 5 + 3e-3 * np.abs(mean) + 2e-3
    if "CONV" in name:  # windows overlap: far fewer independent values than positions
        error = error * 3
    np.testing.assert_array_less(np.abs(seen.mean(axis=0) - mean), error)
    bound = np.sqrt(seen.var(axis=0))
    if name in DEVIATIONS_ARE_BOUNDS:
        assert np.all(np.sqrt(variance) >= 0.9 * bound - 1e-6)
    elif name in PADDED:  # the means of borders, or between strides, differ besides
        assert np.all(np.sqrt(variance) <= 1.1 * bound)
        assert np.all(np.sqrt(variance) >= 0.3 * bound)
    else:
        np.testing.assert_allclose(np.sqrt(variance), bound, rtol=0.12, atol=2e-3)
