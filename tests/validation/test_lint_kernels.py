"""What the rules claim of LiteRT's kernels, asked of the kernels."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import one_op
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from lint_build import CODES, X_SCALE, X_ZERO, dense
from one_op import EXAMPLES

from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan
from tfq_ext.tflite.facts import FIXED_OUTPUT, SAME_GRID
from tfq_ext.tflite.read import Model
from tfq_ext.validation.lint import LINT_RULES
from tfq_ext.validation.lint.grid_rules import EXACT, RESCALES
from tfq_ext.validation.lint.reach import reach
from tfq_ext.validation.lint.subject import Op

PLAIN = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def run(content: bytes, feeds: dict[str, np.ndarray], resolver=PLAIN) -> np.ndarray:
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], feeds[detail["name"]].astype(detail["dtype"]))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@cache
def quantized(code: str) -> bytes:
    """The op in int8, between QUANTIZE and DEQUANTIZE."""
    model = one_op.build(code, EXAMPLES[code])
    feeds = one_op.samples(EXAMPLES[code])
    names = [model.graphs[0].name(t) for t in model.graphs[0].outputs]
    ranges = {n: one_op.range_of(x) for n, x in feeds.items() if x.dtype == np.float32}
    for name, values in zip(names, one_op.run(model.to_bytes(), feeds), strict=True):
        if values.dtype == np.float32:
            ranges[name] = one_op.range_of(values)
    return static.emit(model, Plan(ranges=ranges)).content


def stretched(content: bytes, code: str) -> bytes:
    """The same with the scale of the op's outputs times 1.5."""
    model = Model.parse(content)
    graph = model.graphs[0]
    op = next(op for op in graph.ops if graph.code(op) == code)
    for t in map(int, op.outputs):
        tensor = graph.tensors[t]
        if graph.dtype(t) == "int8":
            tensor.quantization = copy.copy(tensor.quantization)
            tensor.quantization.scale = [1.5 * float(tensor.quantization.scale[0])]
    return model.to_bytes()


@pytest.mark.parametrize("code", SAME_GRID)
def test_no_kernel_rescales_where_the_grid_must_be_shared(code):
    feeds = one_op.samples(EXAMPLES[code])
    right = run(quantized(code), feeds)
    if code in EXACT:
        with pytest.raises(RuntimeError):
            run(stretched(quantized(code), code), feeds)
        return
    wrong = run(stretched(quantized(code), code), feeds)
    np.testing.assert_allclose(wrong, 1.5 * right, rtol=1e-5)


@pytest.mark.parametrize("code", FIXED_OUTPUT)
def test_no_kernel_takes_another_grid_than_the_prescribed_one_but_tanh(code):
    feeds = one_op.samples(EXAMPLES[code])
    if (code, "int8") in RESCALES:
        right = run(quantized(code), feeds)
        wide = run(stretched(quantized(code), code), feeds)
        np.testing.assert_allclose(wide, right, atol=1.5 / 128)  # one code of the wider grid
        return
    with pytest.raises(RuntimeError):
        run(stretched(quantized(code), code), feeds)


def codes_in() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(3).integers(-128, 128, (1, 4, 4, 3))}


def test_the_bias_scale_is_never_looked_at():
    honest, lying = dense(), dense(bias_scale=1.5 * X_SCALE * dense().weights[0].grid.scales)
    for resolver in (PLAIN, OpResolverType.AUTO, OpResolverType.BUILTIN_REF):
        a, b = (run(s.model.to_bytes(), codes_in(), resolver) for s in (honest, lying))
        np.testing.assert_array_equal(a, b)


def test_conv_refuses_a_weight_zero_point_and_depthwise_ignores_it():
    with pytest.raises(RuntimeError, match="zero_point"):
        run(dense(zeros=[0, 0, 1, 0]).model.to_bytes(), codes_in())
    x = {"x": np.random.default_rng(4).integers(-128, 128, (1, 4, 4, 4))}
    honest, lying = (dense("DEPTHWISE_CONV_2D", zeros=z).model.to_bytes() for z in (0, 30))
    np.testing.assert_array_equal(run(honest, x), run(lying, x))


def test_the_wrong_axis_is_refused():
    with pytest.raises((RuntimeError, ValueError)):
        run(dense(axis=3).model.to_bytes(), codes_in())


def test_a_missing_scale_gives_one_code_only():
    out = run(dense(y=(None, 0)).model.to_bytes(), codes_in())
    assert len(np.unique(out)) == 1


@pytest.mark.parametrize("activation", [0, 1, 3])
@pytest.mark.parametrize("code", ["CONV_2D", "FULLY_CONNECTED"])
def test_reach_is_reached_and_not_passed(code, activation):
    subject = dense(code, y=(0.5, 0), activation=activation)
    op = subject.ops[0]
    low, high = reach(subject, Op(*op))
    signs = np.sign(CODES.astype(int))
    worst = [np.where(s * row > 0, 127, -128) for row in signs for s in (1, -1)]
    shape = (1, 4, 4, 3) if code == "CONV_2D" else (1, 3)
    rng = np.random.default_rng(0)
    feeds = [*worst, *rng.integers(-128, 128, (20, 3))]
    content = subject.model.to_bytes()
    seen = [0.5 * run(content, {"x": np.broadcast_to(x, shape)}) for x in feeds]
    # Half a code of rounding on either side.
    assert min(x.min() for x in seen) == pytest.approx(max(low, -64.0), abs=0.26)
    assert max(x.max() for x in seen) == pytest.approx(min(high, 63.5), abs=0.26)


def test_reach_equals_a_slow_loop():
    subject = dense()
    grid = subject.weights[0].grid
    ends = [(-128 - X_ZERO) * X_SCALE, (127 - X_ZERO) * X_SCALE]
    tops, bottoms = [], []
    for c, row in enumerate(CODES):
        bias = 100 * (c + 1) * X_SCALE * float(grid.scales[c])
        products = [[float(w) * float(grid.scales[c]) * e for e in ends] for w in row]
        tops.append(bias + sum(max(p) for p in products))
        bottoms.append(bias + sum(min(p) for p in products))
    low, high = reach(subject, subject.ops[0])
    assert (low, high) == pytest.approx((min(bottoms), max(tops)), rel=1e-6)


@pytest.mark.parametrize(("steps", "codes"), [(0.49, {0}), (0.51, {0, 1})])
def test_half_a_step_decides_over_stuck(steps, codes):
    """Products of at most 1e-5, so the reach is the bias: 0 and `steps` steps of the output."""
    bias = np.round([steps / (X_SCALE * 1e-6), 0])
    subject = dense(codes=[[1, 0, 0], [1, 0, 0]], scales=[1e-6, 1e-6], y=(1.0, 0), bias=bias)
    assert set(np.unique(run(subject.model.to_bytes(), codes_in()))) == codes
    found = list(LINT_RULES["stuck-output"].check(subject))
    assert bool(found) == (codes == {0})
