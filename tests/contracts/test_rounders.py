"""The laws of every rounder, over the table itself."""

from __future__ import annotations

import numpy as np
import pytest

from tfq_ext.rounding import ROUNDERS, SCALES, LayerData, weight_params
from tfq_ext.spec import QSpec

SHAPES = {"dense": ((6, 20), 0), "conv": ((5, 3, 3, 4), 0), "depthwise": ((1, 3, 3, 7), 3)}
every_rounder = pytest.mark.parametrize("name", ROUNDERS)
every_shape = pytest.mark.parametrize("kind", SHAPES)
every_width = pytest.mark.parametrize("bits", [8, 4, 2])


def _weight(kind: str) -> np.ndarray:
    shape, _ = SHAPES[kind]
    weight = np.random.default_rng(5).standard_t(4, shape).astype(np.float32)
    weight.reshape(-1)[0] = 0.0
    return weight


def _spec(kind: str, bits: int) -> QSpec:
    return QSpec(bits, narrow=True, axis=SHAPES[kind][1])


def _data(kind: str, weight: np.ndarray) -> LayerData | None:
    """Inputs and float targets of a dense layer; other kinds are rounded without data."""
    if kind != "dense":
        return None
    inputs = np.random.default_rng(6).normal(size=(64, weight.shape[1])).astype(np.float32)
    return LayerData(inputs, inputs @ weight.T)


def _round(name: str, kind: str, weight: np.ndarray, bits: int, seed: int = 0) -> np.ndarray:
    rounder, data = ROUNDERS[name], _data(kind, weight)
    if rounder.needs_data and data is None:
        pytest.skip(f"{name} needs data; its own tests feed {kind} layers")
    return rounder.round(weight, weight_params(weight, _spec(kind, bits)), data, seed)


@every_rounder
@every_shape
@every_width
def test_codes_lie_in_the_grid(name, kind, bits):
    weight, spec = _weight(kind), _spec(kind, bits)
    codes = _round(name, kind, weight, bits)
    assert codes.dtype == np.int8
    assert codes.shape == weight.shape
    assert codes.min() >= spec.qmin
    assert codes.max() <= spec.qmax


@every_rounder
@every_shape
def test_a_fixed_seed_gives_fixed_bytes(name, kind):
    weight = _weight(kind)
    first, second = (_round(name, kind, weight, 4, seed=3) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@every_rounder
@every_shape
@every_width
def test_permuting_output_channels_permutes_codes(name, kind, bits):
    weight, axis = _weight(kind), SHAPES[kind][1]
    order = np.random.default_rng(1).permutation(weight.shape[axis])
    codes = _round(name, kind, weight, bits)
    moved = _round(name, kind, np.ascontiguousarray(np.take(weight, order, axis)), bits)
    np.testing.assert_array_equal(moved, np.take(codes, order, axis))


@every_rounder
@every_width
def test_the_output_is_no_worse_than_nearest(name, bits):
    """On the inputs that it was given; 1e-6 is what summing in another order may change."""
    weight = _weight("dense")
    data, params = _data("dense", weight), weight_params(weight, _spec("dense", bits))

    def error(codes: np.ndarray) -> float:
        return float(np.square(data.inputs @ params.decode(codes).T - data.targets).sum())

    nearest = error(ROUNDERS["nearest"].round(weight, params, None, 0))
    assert error(_round(name, "dense", weight, bits)) <= nearest * (1 + 1e-6)


@every_rounder
def test_weights_on_the_grid_stay_where_they_are(name):
    weight = _weight("dense")
    params = weight_params(weight, _spec("dense", 8))
    codes = params.encode(weight)
    on_grid = params.decode(codes)
    data = _data("dense", on_grid)
    np.testing.assert_array_equal(ROUNDERS[name].round(on_grid, params, data, 0), codes)


@pytest.mark.parametrize(
    ("real", "code"),
    # scale 1: half a code and a hair either side, both ends, ties away from zero as TFLite
    [(0.49, 0), (0.5, 1), (-0.5, -1), (1.4999, 1), (126.51, 127), (127.4, 127), (-127.4, -127)],
)
def test_nearest_at_the_edges(real, code):
    weight = np.float32([[real, 127.0]])
    spec = QSpec(8, narrow=True)
    params = weight_params(np.float32([[127.0]]), spec)
    assert ROUNDERS["nearest"].round(weight, params, None, 0)[0, 0] == code


@pytest.mark.parametrize("scale", SCALES)
@every_shape
@every_width
def test_scales_by_any_rule_are_positive_and_never_wider_than_max(scale, kind, bits):
    weight, spec = _weight(kind), _spec(kind, bits)
    widest = weight_params(weight, spec, scale="max").scale
    found = weight_params(weight, spec, scale=scale).scale
    assert np.all(found > 0)
    assert np.all(found <= widest * (1 + 1e-6))
    assert found.shape == (weight.shape[spec.axis],)
