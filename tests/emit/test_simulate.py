"""Simulated grids: FAKE_QUANT's arithmetic is that of QParams, at any width."""

from __future__ import annotations

import numpy as np
import one_op
import pytest
from one_op import Net, X, f32

from tfq_ext.emit import simulate
from tfq_ext.emit.patched import static
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.errors import SpecError
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.read import Model

DENSE = ("FullyConnectedOptions", {})
RANGES = [Range(-3.0, 5.0), Range(0.0, 6.0), Range(-0.01, 17.3), Range(-1e-3, 1e-3)]
SPECS = [QSpec(b, symmetric=s) for b in (2, 3, 4, 6, 8, 12, 16) for s in (True, False)]


def identity_model(n: int) -> Model:
    """y = max(x, x)."""
    net = Net()
    net.input("x", X((1, n), -1, 1))
    net.op("MAXIMUM", "y", "x", "x", options=("MaximumMinimumOptions", {}))
    return net.done("y")


@pytest.mark.parametrize("r", RANGES, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_fake_quant_is_the_grid_of_the_range(spec: QSpec, r: Range):
    grid = QParams.from_range(spec, r)
    codes = np.linspace(spec.qmin, spec.qmax, 401)
    codes = codes[np.abs(codes - np.round(codes)) < 0.49]  # ties belong to either neighbour
    beyond = [r.min * 1.5 - 1e-3, r.max * 1.5 + 1e-3]
    real = (codes - int(grid.zero_point)) * float(grid.scale)
    x = np.float32([*real, *beyond, 0.0])[None]
    model = identity_model(x.size)
    emitted = simulate.emit(model, Plan(ranges={"x": r, "y": r}), spec)
    out = one_op.run(emitted.content, {"x": x})[0]
    s = float(grid.scale)
    # float32 keeps 24 bits: at 16 bits a code is exact to 2^-8 of itself, far below half
    assert np.abs(out - grid.fake_quant(x)).max() < 0.02 * s
    assert out[0, -1] == 0.0


def dense_net() -> tuple[Net, Model]:
    net = Net()
    net.input("x", X((2, 8)))
    net.const("w", f32(6, 8)), net.const("b", f32(6))
    net.op("FULLY_CONNECTED", "h", "x", "w", "b", options=DENSE)
    net.const("w2", f32(3, 6)), net.const("b2", f32(3))
    net.op("FULLY_CONNECTED", "y", "h", "w2", "b2", options=DENSE)
    return net, net.done("y")


def test_8_bit_simulation_is_within_one_code_of_the_kernels():
    net, model = dense_net()
    plan = Plan(one_op.observe(model, net.samples()), one_op.weights_of(model))
    real = one_op.run(static.emit(model, plan).content, net.samples())[0]
    simulated = one_op.run(simulate.emit(model, plan).content, net.samples())[0]
    s = float(QParams.from_range(INT8_ACTIVATION, plan.ranges["y"]).scale)
    assert np.abs(real - simulated).max() <= 1.01 * s


def test_against_numpy_at_4_bits_with_asymmetric_weights():
    net, model = dense_net()
    ranges = one_op.observe(model, net.samples())
    spec = QSpec(4, symmetric=False, axis=0)
    w = f32(6, 8)
    lo, hi = w.min(1), w.max(1)
    scale = (hi - lo) / 15
    params = QParams(spec, scale, np.clip(np.round(-8 - lo / scale), -8, 7).astype(int))
    weights = {"w": WeightCodes(params.encode(w).astype(np.int8), params)}
    activation = QSpec(4, symmetric=False)
    emitted = simulate.emit(model, Plan(ranges, weights), activation)
    got = one_op.run(emitted.content, net.samples())[0]
    grid = {n: QParams.from_range(activation, ranges[n]) for n in ("x", "h", "y")}
    x = grid["x"].fake_quant(net.samples()["x"])
    h = grid["h"].fake_quant(x @ params.fake_quant(w).T + f32(6))
    wanted = grid["y"].fake_quant(h @ f32(3, 6).T + f32(3))
    assert np.abs(got - wanted).max() < 1e-3 * float(grid["y"].scale)


def test_names_stay_and_kept_ops_stay_float():
    net, model = dense_net()
    plan = Plan(one_op.observe(model, net.samples()), one_op.weights_of(model), {"y": "last layer"})
    emitted = simulate.emit(model, plan)
    graph = Model.parse(emitted.content).graphs[0]
    assert [graph.code(op) for op in graph.ops] == [
        "FAKE_QUANT",
        "FULLY_CONNECTED",
        "FAKE_QUANT",
        "FULLY_CONNECTED",
    ]
    assert np.array_equal(graph.constant(graph.by_name["w2"]), f32(3, 6))
    assert [(n.tensor, n.reason) for n in emitted.notes] == [("y", "last layer")]
    assert graph.name(graph.outputs[0]) == "y"


def test_no_range_no_fake_quant():
    _, model = dense_net()
    emitted = simulate.emit(model, Plan())
    assert [n.reason for n in emitted.notes] == ["no range for tensor x", "no range for tensor h"]
    graph = Model.parse(emitted.content).graphs[0]
    assert [graph.code(op) for op in graph.ops] == ["FULLY_CONNECTED"] * 2


@pytest.mark.parametrize("spec", [QSpec(8, axis=0), QSpec(8, narrow=True)])
def test_grids_that_fake_quant_cannot_hold_are_refused(spec: QSpec):
    _, model = dense_net()
    with pytest.raises(SpecError, match="axis must be None and narrow False"):
        simulate.emit(model, Plan(), spec)
