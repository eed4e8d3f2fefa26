"""The laws of every rounder, over the table itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfq_ext.rounding import ROUNDERS, SCALES, Job, LayerData, weight_params
from tfq_ext.spec import QSpec

# kind -> output channels, inputs of a row, groups
KINDS = {"dense": (6, 20, 1), "conv": (5, 36, 1), "grouped": (6, 18, 3), "depthwise": (7, 9, 7)}
every_rounder = pytest.mark.parametrize("name", ROUNDERS)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_width = pytest.mark.parametrize("bits", [8, 4, 2])


def _weight(kind: str) -> np.ndarray:
    channels, n, _ = KINDS[kind]
    weight = np.random.default_rng(5).standard_t(4, (channels, n)).astype(np.float32)
    weight.reshape(-1)[0] = 0.0
    return weight


def _data(kind: str, weight: np.ndarray) -> LayerData:
    """Correlated inputs after a ReLU, and what a quantized prefix makes of them."""
    _, n, groups = KINDS[kind]
    rng = np.random.default_rng(6)
    mix = rng.normal(size=(n, n)) / np.sqrt(n)
    real = np.maximum(rng.normal(size=(200, groups, n)) @ mix, 0).astype(np.float32)
    rough = (np.rint(real * 20) / 20).astype(np.float32)
    return LayerData.of(weight, rough, real, lo=0.0)


def _job(name: str, kind: str, weight: np.ndarray, bits: int, seed: int = 0) -> Job:
    params = weight_params(weight, QSpec(bits, narrow=True, axis=0))
    data = _data(kind, weight)
    return _on_own_grid(name, Job(weight, params, data, seed, ROUNDERS[name].argument))


def _on_own_grid(name: str, job: Job) -> Job:
    grid = ROUNDERS[name].grid
    return job if grid is None else replace(job, params=grid(job))


def _skip_unless_it_competes(name: str) -> None:
    if ROUNDERS[name].grid is not None:
        pytest.skip(f"{name} has a grid of its own")
    if ROUNDERS[name].trades:
        pytest.skip(f"{name} gives up output error for {ROUNDERS[name].trades}")


@every_rounder
@every_kind
@every_width
def test_codes_lie_in_the_grid(name, kind, bits):
    weight = _weight(kind)
    job = _job(name, kind, weight, bits)
    codes = ROUNDERS[name].round(job)
    assert codes.dtype == np.int8
    assert codes.shape == weight.shape
    assert codes.min() >= job.params.spec.qmin
    assert codes.max() <= job.params.spec.qmax


@every_rounder
@every_kind
def test_a_fixed_seed_gives_fixed_bytes(name, kind):
    weight = _weight(kind)
    first, second = (ROUNDERS[name].round(_job(name, kind, weight, 4, seed=3)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@every_rounder
@pytest.mark.parametrize("kind", ["dense", "depthwise"])
@every_width
def test_permuting_output_channels_permutes_codes(name, kind, bits):
    weight = _weight(kind)
    order = np.random.default_rng(1).permutation(len(weight))
    job = _job(name, kind, weight, bits)
    codes = ROUNDERS[name].round(job)
    params = weight_params(weight[order], job.params.spec)
    moved = replace(job, weight=weight[order], params=params, data=_moved(job.data, order))
    moved = _on_own_grid(name, moved)
    np.testing.assert_array_equal(ROUNDERS[name].round(moved), codes[order])


def _moved(data: LayerData, order: np.ndarray) -> LayerData:
    """The layer's data when its output channels (and groups, if there are several) are moved."""
    groups = order if len(data.gram) > 1 else slice(None)
    p = data.patches
    patches = type(p)(p.rough[:, groups], p.target[:, order], p.bias[order], p.lo, p.hi)
    return LayerData(data.gram[groups], data.cross[groups], data.power[order], patches)


@every_rounder
@every_kind
@every_width
def test_no_channels_output_is_worse_than_nearest_roundings(name, kind, bits):
    """On the inputs that it was given; 1e-6 is what summing in another order may change."""
    _skip_unless_it_competes(name)
    weight = _weight(kind)
    job = _job(name, kind, weight, bits)

    def error(codes: np.ndarray) -> np.ndarray:
        return ROUNDERS[name].error(weight, job.params.decode(codes), job.data)

    nearest = error(ROUNDERS["nearest"].round(job))
    assert np.all(error(ROUNDERS[name].round(job)) <= nearest * (1 + 1e-6) + 1e-12)


@every_rounder
def test_weights_on_the_grid_stay_where_they_are(name):
    """With float inputs equal to the quantized prefix's."""
    _skip_unless_it_competes(name)
    weight = _weight("dense")
    params = weight_params(weight, QSpec(8, narrow=True, axis=0))
    codes = params.encode(weight)
    on_grid = params.decode(codes)
    x = _data("dense", on_grid).patches.rough
    job = Job(on_grid, params, LayerData.of(on_grid, x, x), 0, ROUNDERS[name].argument)
    np.testing.assert_array_equal(ROUNDERS[name].round(job), codes)


@pytest.mark.parametrize(
    ("real", "code"),
    # scale 1: half a code and a hair either side, both ends, ties away from zero as TFLite
    [(0.49, 0), (0.5, 1), (-0.5, -1), (1.4999, 1), (126.51, 127), (127.4, 127), (-127.4, -127)],
)
def test_nearest_at_the_edges(real, code):
    params = weight_params(np.float32([[127.0]]), QSpec(8, narrow=True))
    assert ROUNDERS["nearest"].round(Job(np.float32([[real, 127.0]]), params))[0, 0] == code


@pytest.mark.parametrize("scale", SCALES)
@every_kind
@every_width
def test_scales_by_any_rule_are_positive_and_never_wider_than_max(scale, kind, bits):
    weight, spec = _weight(kind), QSpec(bits, narrow=True, axis=0)
    widest = weight_params(weight, spec, scale="max").scale
    found = weight_params(weight, spec, scale=scale).scale
    assert np.all(found > 0)
    assert np.all(found <= widest * (1 + 1e-6))
    assert found.shape == (len(weight),)
