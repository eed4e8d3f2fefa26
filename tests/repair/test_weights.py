"""Weights to codes as recipe and kernels demand."""

import numpy as np
import pytest
from small_nets import residual

from tfq_ext.recipe import Recipe
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.weights import BIAS_CODES, choose_weights, layers, refloored
from tfq_ext.spec import Range
from tfq_ext.tflite import patch

MODEL = residual()


def chosen(recipe, model=MODEL, ranges=None):
    choices = op_choices(model, recipe)
    return choose_weights(layers(model, choices.ops), ranges or {}, recipe)


def test_every_weighted_op_is_found_in_order():
    rows = layers(MODEL, op_choices(MODEL, Recipe()).ops)
    assert [(r.code, r.weight) for r in rows] == [
        ("CONV_2D", "w1"),
        ("CONV_2D", "w2"),
        ("DEPTHWISE_CONV_2D", "w3"),
        ("FULLY_CONNECTED", "w4"),
    ]


def test_scales_are_per_output_channel():
    found = chosen(Recipe())
    for name, axis in (("w1", 0), ("w3", 3), ("w4", 0)):
        params = found[name].codes.params
        weight = MODEL.graphs[0].constant(MODEL.graphs[0].by_name[name])
        others = tuple(a for a in range(weight.ndim) if a != axis)
        assert params.spec.axis == axis
        wanted = (np.abs(weight).max(others).astype(np.float64) / 127).astype(np.float32)
        assert params.scale == pytest.approx(wanted, rel=1e-6)
        assert np.abs(found[name].codes.codes).max() == 127


def test_rules_by_position_kind_and_name():
    recipe = Recipe(
        rules=[
            {"op": "CONV_2D", "weight_bits": 4},
            {"position": "first", "weight_bits": 8},
            {"op": "FULLY_CONNECTED", "per_channel": False},
            {"tensor": "deep", "keep_float": True},
        ]
    )
    found = chosen(recipe)
    bits = {name: w.codes.params.spec.bits for name, w in found.items()}
    assert bits == {"w1": 8, "w2": 4, "w4": 8}
    assert found["w2"].codes.stored == "int4"
    assert found["w4"].codes.params.scale.ndim == 0


def test_two_bits_are_stored_as_four():
    row = chosen(Recipe(weights={"bits": 2}))["w1"]
    assert set(np.unique(row.codes.codes)) <= {-1, 0, 1}
    assert row.codes.stored == "int4"


def test_mse_scales_lower_the_squared_error_of_every_channel():
    wide, tight = (chosen(Recipe(weights={"bits": 4, "scale": s}))["w2"] for s in ("max", "mse"))
    weight = MODEL.graphs[0].constant(MODEL.graphs[0].by_name["w2"])

    def errors(row):
        back = row.codes.params.decode(row.codes.codes)
        return np.square(back - weight).sum(axis=(1, 2, 3))

    assert np.all(errors(tight) <= errors(wide))
    assert errors(tight).sum() < 0.9 * errors(wide).sum()


def test_a_dead_channel_gets_a_scale_that_its_bias_survives():
    model = residual()
    graph = model.graphs[0]
    weight = graph.constant(graph.by_name["w1"]).copy()
    weight[3] = 1e-9
    at = graph.tensors[graph.by_name["w1"]]
    at.buffer = patch.add_buffer(model, weight.reshape(-1).view(np.uint8))
    row = chosen(Recipe(), model, {"image": Range(-1.0, 1.0)})["w1"]
    s_x = 2 / 255
    bias = graph.constant(graph.by_name["b1"])
    codes = np.abs(bias) / (s_x * row.codes.params.scale.astype(np.float64))
    assert codes.max() <= BIAS_CODES * 1.001
    assert "near-dead" in row.notes[0]


def test_a_raised_scale_leaves_zero_points_alone():
    model = residual()
    graph = model.graphs[0]
    weight = graph.constant(graph.by_name["w1"]).copy()
    weight[3] = 1e-9
    at = graph.tensors[graph.by_name["w1"]]
    at.buffer = patch.add_buffer(model, weight.reshape(-1).view(np.uint8))
    recipe = Recipe(mode="simulate", calibrator="minmax", weights={"symmetric": False})
    row = chosen(recipe, model, {"image": Range(-1.0, 1.0)})["w1"]
    assert "near-dead" in row.notes[0]
    assert np.any(row.codes.params.zero_point != 0)
    error = np.abs(row.codes.params.decode(row.codes.codes) - weight).max(axis=(1, 2, 3))
    alive = [0, 1, 2, 4, 5, 6, 7]  # half a step, and a hair: zero points are rounded, too
    assert np.all(error[alive] <= 1.01 * row.codes.params.scale[alive])


def test_a_range_that_shrinks_later_raises_the_dead_channels_scale_alone():
    model = residual()
    graph = model.graphs[0]
    weight = graph.constant(graph.by_name["w1"]).copy()
    weight[3] = 1e-9
    at = graph.tensors[graph.by_name["w1"]]
    at.buffer = patch.add_buffer(model, weight.reshape(-1).view(np.uint8))
    wide, narrow = {"image": Range(-100.0, 100.0)}, {"image": Range(-0.5, 0.5)}
    row = chosen(Recipe(), model, wide)["w1"]
    assert refloored(row, wide) is row
    again = refloored(row, narrow)
    before, after = row.codes.params.scale, again.codes.params.scale
    assert list(np.flatnonzero(before != after)) == [3]
    bias = graph.constant(graph.by_name["b1"]).astype(np.float64)
    assert np.abs(bias / (1 / 255 * after.astype(np.float64))).max() <= BIAS_CODES * 1.001
    others = [0, 1, 2, 4, 5, 6, 7]
    np.testing.assert_array_equal(again.codes.codes[others], row.codes.codes[others])
    np.testing.assert_array_equal(again.codes.codes[3], 0)
    assert "chosen since" in again.notes[-1]
