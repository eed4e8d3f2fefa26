"""Weights rounded on the quantized prefix, biases matched: on a small network in real LiteRT."""

from __future__ import annotations

import re

import numpy as np
import pytest
from one_op import Net, X, f32
from small_nets import RELU6, conv_options, images, residual

import tfq_ext as tfq
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.recipe import Recipe
from tfq_ext.repair.layerwise import Walk, with_codes
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.rebuild import Rebuilt, rebuilder
from tfq_ext.repair.rebuild.matching import match
from tfq_ext.repair.rebuild.moments import Wanted, layer_data, pooled_source
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.rounding import squared_error, to_rows
from tfq_ext.tflite.runner import Runner

FOUR = {"base": "int4-nearest", "calibrator": "minmax", "output_calibrator": "minmax"}
GPTQ = FOUR | {"weights": {"bits": 4, "scale": "output", "rounding": "gptq"}, "bias": "match"}


def walk_of(model, recipe, feeds):
    """A walk on weights that are rounded to nearest, and the layers."""
    rows = layers(model, op_choices(model, recipe).ops)
    codes = {n: w.codes for n, w in choose_weights(rows, {}, recipe).items()}
    graph = model.graphs[0]
    values = [{graph.inputs[0]: x[None]} for x in feeds]
    return Walk(graph, with_codes(model, codes).graphs[0], values), rows


def means(walk, tensor):
    """Channel means in both networks."""
    channels = walk.real[0][tensor].shape[-1]
    pairs = ([v[tensor].reshape(-1, channels) for v in live] for live in (walk.real, walk.rough))
    return [np.concatenate(rows).mean(axis=0, dtype=np.float64) for rows in pairs]


def test_moments_are_those_of_all_windows():
    model = residual()
    walk, rows = walk_of(model, Recipe(weights={"bits": 4}), images(5))
    walk.step(0)
    layer = rows[1]
    data = layer_data(layer, 1, walk, Wanted(patches=True))
    assert data.gram.shape == (1, 72, 72)
    p = data.patches  # 8 x 8 positions a sample: all of them are taken
    assert p.rough.shape == (5 * 64, 1, 72)
    x = p.rough[:, 0].astype(np.float64)
    np.testing.assert_allclose(data.gram[0], x.T @ x / len(x), rtol=1e-5, atol=1e-6)
    weight = to_rows(model.graphs[0].constant(int(layer.op.inputs[1])), 0)
    np.testing.assert_allclose(p.target, p.rough[:, 0] @ weight.T, rtol=1e-4, atol=1e-5)
    # the second moments give the error that running the rounded layer gives
    walk.step(1)
    tensor = int(layer.op.outputs[0])
    gone = [r[tensor] - f[tensor] for r, f in zip(walk.rough, walk.real, strict=True)]
    measured = np.square(np.concatenate(gone).reshape(-1, 8)).mean(axis=0)
    bare = np.concatenate([f[tensor] for f in walk.real]).reshape(-1, 8) - p.bias
    np.testing.assert_allclose(data.power, np.square(bare).mean(axis=0), rtol=1e-4)
    rounded = to_rows(walk.bench(1, rounded=True) and _constant(walk, layer), 0)
    np.testing.assert_allclose(squared_error(weight, rounded, data), measured, rtol=1e-3)


def _constant(walk, layer):
    return walk._rounded.constant(int(layer.op.inputs[1]))


def test_a_dense_layer_behind_a_mean_learns_from_the_positions_before_it():
    walk, rows = walk_of(residual(), Recipe(weights={"bits": 4}), images(4))
    dense = rows[-1]
    source = pooled_source(dense)
    assert walk.graph.name(source) == "deep"
    walk.kept = {source}
    for k in range(len(walk.graph.ops) - 1):
        walk.step(k)
        walk.forget(k)
    data = layer_data(dense, len(walk.graph.ops) - 1, walk, Wanted())
    assert np.linalg.matrix_rank(data.gram[0]) == 8  # four samples alone would give 4
    without = walk.graph.by_name["mean"]
    x = np.concatenate([v[without] for v in walk.rough]).astype(np.float64)
    extra = data.gram[0] - x.T @ x / 4
    assert np.all(np.linalg.eigvalsh(extra) > -1e-6)


def test_matched_means_are_the_float_networks():
    walk, rows = walk_of(residual(spread=10.0), Recipe(weights={"bits": 4}), images(20))
    layer, tensor = rows[0], int(rows[0].op.outputs[0])
    walk.step(0)
    real, rough = means(walk, tensor)
    before = np.abs(real - rough)
    bias = match(layer, 0, walk)
    left = means(walk, tensor)[1]
    walk.step(0)
    np.testing.assert_array_equal(means(walk, tensor)[1], left)  # as the walk goes on
    assert not np.array_equal(bias, walk.graph.constant(int(layer.op.inputs[2])))
    real, rough = means(walk, tensor)
    assert np.all(np.abs(real - rough) <= before + 1e-6)
    assert np.abs(real - rough).max() < 0.02 * before.max()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_repaired_4_bits_are_better_on_new_images(seed):
    model = residual(seed=seed).to_bytes()
    fresh = images(40, seed=9)
    float_run = Runner(model)
    wanted = np.concatenate([float_run({"image": x[None]})["logits"] for x in fresh])

    def decibels(recipe):
        result = tfq.quantize(model, images(40), recipe=recipe)
        run = Runner(result.content)
        got = np.concatenate([run({"image": x[None]})["logits"] for x in fresh])
        return sqnr_db(wanted, got)

    assert decibels(GPTQ) > decibels(FOUR) + 3


def test_equal_seeds_give_equal_bytes():
    model = residual().to_bytes()
    first, second = (tfq.quantize(model, images(10), recipe=GPTQ).content for _ in range(2))
    assert first == second


def test_a_weight_of_two_layers_is_rounded_once_and_a_shared_bias_is_left():
    net = Net()
    net.input("image", X((1, 8, 8, 3), -1.0, 1.0))
    net.const("w", f32(3, 3, 3, 3) * 0.3)
    net.const("b", f32(3))
    net.op("CONV_2D", "a", "image", "w", "b", options=conv_options(RELU6))
    net.op("CONV_2D", "y", "a", "w", "b", options=conv_options())
    model = net.done("y")
    result = tfq.quantize(model.to_bytes(), images(10), recipe=GPTQ)
    assert len(result.account.weights) == 1
    assert result.account.weights[0].tensor == "a"


def test_layers_that_rules_keep_float_are_left():
    model = residual()
    recipe = Recipe(
        weights={"bits": 4, "rounding": "gptq"}, rules=[{"op": "*", "keep_float": True}]
    )
    rows = layers(model, op_choices(model, recipe).ops)
    assert rebuilder(model.graphs[0], rows, {}, recipe, Rebuilt()) is None


def test_an_interrupted_run_goes_on_with_the_codes_it_has(tmp_path):
    model, at = residual().to_bytes(), tmp_path / "run"
    first = tfq.quantize(model, images(10), recipe=GPTQ, checkpoint=at).content
    files = sorted((tmp_path / "run-codes").glob("*.npy"))
    assert len(files) == 4
    files[0].unlink()  # killed before the last
    assert tfq.quantize(model, images(10), recipe=GPTQ, checkpoint=at).content == first
    for file in files:  # what is there is what is taken
        codes = np.load(file)
        np.save(file, np.where(codes > 0, codes - 1, codes))
    assert tfq.quantize(model, images(10), recipe=GPTQ, checkpoint=at).content != first


@pytest.mark.parametrize(("rounding", "shown"), [("gptq", True), ("nearest", False)])
def test_layers_are_counted_while_they_are_rounded(rounding, shown, capsys):
    """Also where no range is left to choose."""
    recipe = {"base": "int8-minmax", "weights": {"rounding": rounding}}
    model = residual()
    tfq.quantize(model.to_bytes(), images(6), recipe=recipe, show_progress=True)
    whole = rf"rounding layers.* {len(model.graphs[0].ops)}/{len(model.graphs[0].ops)} "
    assert bool(re.search(whole, capsys.readouterr().err)) is shown
