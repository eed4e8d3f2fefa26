"""Quantization without data on networks whose statistics are true; no TensorFlow needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from equalize_nets import NETS, RELU, RELU6, feed, inverted, relative, triple
from norm_nets import FEEDS, pointwise, remembering, true_moments
from one_op import run

import tfq_ext
from tfq_ext.emit.to_float import to_float
from tfq_ext.emit.to_float.norms import Norm, Remembered
from tfq_ext.errors import DataError, ModelError, TfqWarning
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.pipeline import calibrate, finish
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.beliefs import ALPHA, Belief, attach_norms, corrected_biases, propagate
from tfq_ext.repair.data_free import believed
from tfq_ext.repair.layerwise import with_codes, with_constants
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.scaled import equalized_unseen, following
from tfq_ext.repair.weights import choose_weights, layers

FREE = load_recipe("data-free")
ENDS = {"input_range": (-1.0, 1.0)}


def made(model, recipe=FREE, **more):
    """(pivot, result)."""
    pivot = remembering(model)
    return pivot, finish(calibrate(pivot, None, load_recipe(recipe), **ENDS, **more), recipe)


def outputs(content, model, count=FEEDS):
    return np.concatenate([run(content, feed(model, seed=100 + k))[0] for k in range(count)])


def test_every_norm_is_found_by_its_bias_alone():
    model = inverted()
    pivot = remembering(model)
    attached = attach_norms(pivot.model, pivot.remembered)
    assert set(attached.beliefs) == set(true_moments(model))
    assert not attached.lost
    assert not attached.ambiguous
    for name, (mean, deviation) in true_moments(model).items():
        np.testing.assert_array_equal(attached.beliefs[name].mean, mean)
        np.testing.assert_array_equal(attached.beliefs[name].deviation, deviation)


def test_a_norm_behind_a_bias_a_stranger_and_a_doubtful_one():
    model = triple()
    graph = model.graphs[0]
    bias = {n: np.asarray(graph.constant(graph.by_name[f"{n}/b"]), np.float64) for n in "abc"}
    rng = np.random.default_rng(0)
    inner, factor = rng.normal(size=8), rng.uniform(0.5, 2, 8)
    offset = bias["a"] - factor * inner  # what is left when the layer has a bias of its own
    one, eight = np.ones(6), np.ones(8)
    norms = (
        Norm("behind a bias", bias["a"], eight, factor, offset, np.abs(offset)),
        Norm("nowhere", bias["b"], eight, eight, bias["b"] + 0.01, np.abs(bias["b"])),
        Norm("one", one, one, one, bias["c"], np.abs(bias["c"])),
        Norm("another", one, 2 * one, one, bias["c"], np.abs(bias["c"])),
    )
    attached = attach_norms(model, Remembered(norms, biases=(inner,)))
    assert set(attached.beliefs) == {"a"}
    assert attached.lost == ("nowhere",)
    assert attached.ambiguous == ("c",)


def test_ranges_cover_so_many_deviations_inside_the_clamp():
    model = inverted(scale=4.0)
    _, result = made(model)
    rows = {name: row.range for row in result.account.ranges for name in row.tensors}
    for name, (mean, deviation) in true_moments(model).items():
        low, high = (mean - ALPHA * deviation).min(), (mean + ALPHA * deviation).max()
        capped = name in ("stem", "e1", "d1")
        wanted = (0.0, min(high, 6.0)) if capped else (low, high)
        found = rows[name]
        assert found.max == pytest.approx(wanted[1], rel=1e-5), name
        assert found.min == pytest.approx(min(wanted[0], 0.0), rel=1e-5), name
    assert (rows["x"].min, rows["x"].max) == (-1.0, 1.0)


@pytest.mark.parametrize("build", [inverted, triple, pointwise])
def test_the_file_is_verified_near_float_and_says_that_nothing_was_measured(build):
    model = build()
    _, result = made(model)
    wanted = outputs(model.to_bytes(), model)
    assert sqnr_db(wanted, outputs(result.content, model)) > 20  # 27 dB and more were measured
    assert "read back equal" in result.account.read_back
    assert not result.account.float_ops
    assert (result.provenance.samples, result.provenance.sample_sha256) == (0, "")
    assert "nothing was measured" in str(result)
    layers_known = [n.reason for n in result.account.notes if n.op == "statistics"]
    assert "layers have theirs from BatchNormalization" in layers_known[0]


@pytest.mark.parametrize("build", [triple, pointwise])
@pytest.mark.parametrize("per_channel", [True, False])
def test_statistics_of_the_equalized_network_follow_its_factors(build, per_channel):
    model = build()
    pivot = remembering(model)
    recipe = FREE.changed(equalize="on", weights={"per_channel": per_channel})
    before = calibrate(pivot, None, recipe, **ENDS)
    after = equalized_unseen(before, recipe)
    assert "equalize" in after.rewritten
    equalized = after.pivot.model
    assert relative(model, equalized, feed(model, seed=9)) < 1e-5
    moved = 0
    for name, (mean, deviation) in true_moments(equalized).items():
        belief = after.norms[name]
        size = np.abs(mean).max() + deviation.max()
        np.testing.assert_allclose(belief.mean, mean, atol=1e-5 * size)
        np.testing.assert_allclose(belief.deviation, deviation, atol=1e-5 * size)
        moved += not np.allclose(belief.deviation, before.norms[name].deviation, rtol=1e-3)
    assert moved >= 2


def test_absorbed_biases_leave_the_statistics_too():
    model = pointwise()
    graph = model.graphs[0]
    bias = graph.by_name["a/b"]
    raised = np.asarray(graph.constant(bias)) + np.float32([30] * 4 + [0] * 12)
    model = with_constants(model, {"a/b": raised})
    pivot = remembering(model)
    recipe = FREE.changed(equalize="on", absorb=True)
    before = calibrate(pivot, None, recipe, **ENDS)
    after = equalized_unseen(before, recipe)
    assert "a" in after.rewritten["absorb"]
    assert relative(model, after.pivot.model, feed(model, seed=3)) < 1e-4
    mean, deviation = true_moments(after.pivot.model)["a"]
    size = np.abs(mean).max()
    np.testing.assert_allclose(after.norms["a"].mean, mean, atol=1e-4 * size)
    np.testing.assert_allclose(after.norms["a"].deviation, deviation, atol=1e-4 * size)
    assert after.norms["a"].mean[:4].max() < before.norms["a"].mean[:4].min()


def test_no_factor_and_nothing_absorbed_changes_no_statistics():
    belief = {"a": Belief.of([1.0, -2.0], [0.5, 0.1], source="norm")}
    done = replace_done({}, {})
    same = following(belief, done)["a"]
    np.testing.assert_array_equal(same.mean, belief["a"].mean)
    twice = following(belief, replace_done({"a": np.array([2.0, 0.5])}, {"a": np.ones(2)}))["a"]
    np.testing.assert_allclose(twice.mean, [-0.5, -5.0])
    np.testing.assert_allclose(twice.deviation, [0.25, 0.2])


def replace_done(factors, absorbed):
    from tfq_ext.repair.equalize import Equalized

    return Equalized(triple(), (), (), factors, absorbed, (), 0)


def mean_errors(model, recipe, statistics):
    """Error of each logit's mean over all feeds: (weights rounded, biases corrected besides)."""
    pivot = remembering(model)
    choices = op_choices(model, recipe)
    chosen = choose_weights(layers(pivot.model, choices.ops), {}, recipe)
    rounded = with_codes(pivot.model, {n: w.codes for n, w in chosen.items()})
    biases, left = corrected_biases(chosen, statistics(pivot))
    assert not left
    corrected = with_constants(rounded, biases)
    wanted = outputs(model.to_bytes(), model).mean(axis=0)
    found = [outputs(m.to_bytes(), model).mean(axis=0) for m in (rounded, corrected)]
    return [float(np.linalg.norm(f - wanted)) for f in found]


@pytest.mark.parametrize(("cap", "share"), [(RELU, 0.33), (RELU6, 0.75)])
def test_the_correction_takes_off_the_mean_error(cap, share):
    """Positions are independent and unpadded here; the channels of three uniform inputs are not
    normal, the less so where they are cut at 6."""
    recipe = Recipe(weights={"bits": 4}, bias="analytic")

    def statistics(pivot):
        return believed(calibrate(pivot, None, FREE, **ENDS))

    plain, corrected = mean_errors(pointwise(cap), recipe, statistics)
    assert corrected < share * plain


def test_the_correction_is_exact_for_one_linear_layer():
    """The shift is W' E[x] - W E[x]: with the mean of the inputs itself nothing is left."""
    model = pointwise()
    graph = model.graphs[0]
    feeds = [feed(model, seed=100 + k)["x"].reshape(-1, 3) for k in range(FEEDS)]
    mean = np.concatenate(feeds).mean(axis=0, dtype=np.float64)
    recipe = Recipe(weights={"bits": 4}, bias="analytic")
    rows = [row for row in layers(model, op_choices(model, recipe).ops) if row.output == "a"]
    chosen = choose_weights(rows, {}, recipe)
    beliefs = propagate(model, {}, {"x": Belief.of(mean, 0.1)})
    biases, _ = corrected_biases(chosen, beliefs)
    weight = np.asarray(graph.constant(graph.by_name["a/w"]), np.float64).reshape(16, 3)
    real = chosen["a/w"].codes
    rounded = real.params.decode(real.codes).astype(np.float64).reshape(16, 3)
    bias = np.asarray(graph.constant(graph.by_name["a/b"]), np.float64)
    np.testing.assert_allclose(rounded @ mean + biases["a/b"], weight @ mean + bias, atol=1e-6)
    assert np.abs(biases["a/b"] - bias).max() > 1e-3


@pytest.mark.parametrize("net", NETS)
def test_with_data_the_correction_takes_observed_means_where_no_norm_speaks(net):
    model = NETS[net][0]()
    samples = np.concatenate([feed(model, seed=k)["x"][:1] for k in range(16)])
    recipe = {"base": "int8-minmax", "weights": {"bits": 4}}
    results = [
        tfq_ext.quantize(model.to_bytes(), samples, recipe={**recipe, "bias": bias})
        for bias in ("keep", "analytic")
    ]
    wanted = outputs(model.to_bytes(), model)
    off = [outputs(r.content, model) - wanted for r in results]
    plain, corrected = (np.linalg.norm(e.reshape(-1, e.shape[-1]).mean(axis=0)) for e in off)
    assert corrected < plain
    assert np.square(off[1]).mean() < np.square(off[0]).mean()
    said = [n.reason for n in results[1].account.notes if n.op == "bias"]
    assert "biases corrected for the mean of the rounded weights" in said[0]


def test_what_needs_samples_is_rounded_to_nearest_with_a_note():
    _, result = made(inverted(), FREE.changed(weights={"bits": 4, "rounding": "gptq"}))
    notes = {note for row in result.account.weights for note in row.notes}
    assert "rounded to nearest: gptq needs the layer's inputs" in notes


def test_without_norms_it_is_refused_in_one_sentence_that_says_what_to_do():
    for pivot in (
        to_float(triple().to_bytes()),
        replace(to_float(triple().to_bytes()), source="keras"),
    ):
        with pytest.raises(ModelError, match=r"Give .*samples") as caught:
            calibrate(pivot, None, FREE, **ENDS)
        assert (".keras file" in str(caught.value)) == (pivot.source == "tflite")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, r"range of input 'x' must be given: input_range=\(-1, 1\)"),
        ({"image": (0, 1)}, "names 'image'; the float inputs are: x"),
        ((1.0, 1.0), "least, greatest"),
        ((0.0, np.inf), "both finite"),
        ((1.0,), "least, greatest"),
    ],
)
def test_an_input_without_a_range(given, words):
    with pytest.raises(DataError, match=words):
        calibrate(remembering(pointwise()), None, FREE, input_range=given)


def test_the_range_of_an_input_may_come_from_elsewhere():
    pivot = remembering(pointwise())
    rule = FREE.changed(rules=[{"tensor": "x", "range": [-3.0, 2.0]}])
    by_rule = calibrate(pivot, None, rule).fixed["x"]
    assert (by_rule.min, by_rule.max) == (-3.0, 2.0)
    by_pixels = calibrate(pivot, None, FREE, preprocess="scale=1/127.5,mean=1").fixed["x"]
    assert (by_pixels.min, by_pixels.max) == pytest.approx((-1.0, 1.0))
    own = replace(pivot, remembered=replace(pivot.remembered, pixels=True))
    assert calibrate(own, None, FREE).fixed["x"].max == 255.0
    given = calibrate(own, None, FREE, input_range={"x": (0, 1)}).fixed["x"]
    assert (given.min, given.max) == (0.0, 1.0)


def test_samples_given_all_the_same_are_not_read_and_that_is_said():
    with pytest.warns(TfqWarning, match="data is not read"):
        calibrate(remembering(pointwise()), object(), FREE, **ENDS)


def test_a_known_range_is_fixed_where_samples_are_observed_too():
    model = inverted()
    samples = np.concatenate([feed(model, seed=k)["x"][:1] for k in range(4)]) * 0.5
    result = tfq_ext.quantize(
        model.to_bytes(), samples, recipe="int8-minmax", input_range=(-2.0, 2.0)
    )
    row = next(row for row in result.account.ranges if "x" in row.tensors)
    assert (row.range.min, row.range.max, row.calibrator) == (-2.0, 2.0, "exact input")


def test_an_op_without_a_rule_stays_float_with_its_reason():
    from equalize_nets import Sketch

    n = Sketch()
    n.conv("a", "x", 3, 8)
    n.op("LOG", "n", "a")
    n.conv("y", "n", 8, 4, 1, act=0)
    model = n.done("y")
    known = remembering(model, skip=())
    result = finish(calibrate(known, None, FREE, **ENDS), FREE)
    assert [row.op for row in result.account.float_ops] == ["LOG", "CONV_2D"]
    said = [n.reason for n in result.account.notes if n.tensor == "n"]
    assert said == ["no range without data: LOG has no rule for statistics without data"]
