"""Which ways of a recipe are worth a file: channels scaled, and how boldly."""

from dataclasses import replace

import numpy as np
import pytest
from equalize_nets import inverted
from one_op import Net, X
from small_nets import images, residual

import tfq_ext as tfq
from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import DataError
from tfq_ext.numerics.metrics import sqnr_db
from tfq_ext.pipeline import calibrate
from tfq_ext.recipe import Recipe
from tfq_ext.repair.equalize import channel_maxima, channel_peaks
from tfq_ext.repair.scaled import STYLES, equalized, in_styles
from tfq_ext.repair.sketch import promising, sketch
from tfq_ext.repair.variants import STANDING, variants
from tfq_ext.samples import open_samples
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.runner import Runner


def samples_of(model, values):
    return open_samples(values, input_specs(model))


def feeds(model, count=24, seed=0):
    shape = input_specs(model)[0].shape[1:]
    return np.random.default_rng(seed).uniform(-1, 1, (count, *shape)).astype(np.float32)


def observed(model, values, recipe):
    return calibrate(to_float(model.to_bytes()), values, recipe)


def test_reach_by_hand():
    model = residual()
    values = images(10)
    samples = samples_of(model, values)
    each = [channel_maxima(model, [sample])["a"] for sample in samples]
    top, usual = np.max(each, axis=0), np.quantile(each, 0.5, axis=0)
    peaks = channel_peaks(model, samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.minimum(np.where(top > 0, top**2 / usual, 0), top.max())
    np.testing.assert_allclose(peaks.reach(0.5)["a"], wanted, rtol=1e-6)
    bold = peaks.reach(1.0)
    for name, greatest in channel_maxima(model, samples).items():
        np.testing.assert_allclose(bold[name], greatest, rtol=1e-6)
        assert (peaks.reach()[name] >= greatest * (1 - 1e-6)).all()


def test_a_channel_that_fires_in_one_sample_counts_among_the_greatest():
    net = Net()
    net.input("x", X((1, 2, 2, 3), 0.0, 1.0))
    net.op("RELU", "y", "x", options=None)
    model = net.done("y")
    values = np.ones((20, 2, 2, 3), np.float32) * [1.0, 0.01, 0.0]
    values[7] *= [4.0, 50.0, 1.0]
    peaks = channel_peaks(model, samples_of(model, values.astype(np.float32)))
    np.testing.assert_allclose(peaks.reach()["y"], [4.0, 4.0, 0.0])


def test_no_sample_is_an_error():
    model = residual()
    with pytest.raises(DataError, match="no sample"):
        channel_peaks(model, [])


@pytest.mark.parametrize("style", STYLES)
def test_scaled_models_answer_as_the_model_does(style):
    model = inverted()
    values = feeds(model)
    before = observed(model, values, Recipe())
    after = equalized(before, style)
    assert after.rewritten["equalize"]
    old, new = (Runner(c.pivot.model.to_bytes()) for c in (before, after))
    (name,) = old.inputs
    for x in values.reshape(-1, 2, *values.shape[1:]):  # the model takes two at a time
        pair = [next(iter(r({name: x}).values())) for r in (old, new)]
        assert sqnr_db(*pair) > (60 if style == "carefully" else 40)  # some were held back
    assert after.stats is not None
    assert after.samples is before.samples


def test_one_look_at_the_channels_serves_every_style():
    model = inverted()
    found, looks = observed(model, feeds(model), Recipe()), []

    def watch(samples, *, label):
        looks.append(label)
        return samples

    together = in_styles(found, watch=watch)
    assert looks.count("channels") == 1
    assert list(together) == [*STYLES]
    contents = [way.pivot.model.to_bytes() for way in together.values()]
    assert contents == [equalized(found, style).pivot.model.to_bytes() for style in STYLES]
    assert len(set(contents)) == len(STYLES)


def test_a_sketch_rounds_activations_and_nothing_else():
    model = residual()
    found = observed(model, images(), Recipe())
    fine = sketch(found, Recipe(activations={"bits": 16}, calibrator="minmax"))
    coarse = sketch(found, Recipe())
    runs = [Runner(content) for content in (model.to_bytes(), fine, coarse)]
    x = images(1, seed=9)
    want, *got = (next(iter(run(dict.fromkeys(run.inputs, x)).values())) for run in runs)
    assert sqnr_db(want, got[0]) > 60 > sqnr_db(want, got[1]) > 15


def test_what_is_near_the_best_is_worth_a_file():
    found = observed(residual(), images(), Recipe())
    ways = {name: replace(found) for name in ("a", "b", "c")}
    for scores, wanted in (((9.0, 9.2, 7.0), ["b", "a"]), ((9.0, 5.0, 5.0), ["a"])):
        answers = iter(scores)
        assert promising(ways, Recipe(), lambda _, a=answers: next(a)) == wanted


def test_try_makes_files_of_what_the_sketches_favour():
    found = observed(inverted(), feeds(inverted()), Recipe(equalize="try"))
    asked = []

    def judge(content, best):
        asked.append(content)
        return 30.0 if len(asked) == best else 10.0

    for best, name in enumerate((STANDING, *(f"equalized {s}" for s in STYLES)), start=1):
        asked.clear()
        rows = list(variants(found, Recipe(equalize="try"), lambda c, b=best: judge(c, b)))
        assert [row[0] for row in rows] == [name]
        assert rows[0][2].equalize == "off"
    assert [row[0] for row in variants(found, Recipe(equalize="try"))] == [STANDING]  # no judge


def test_what_nothing_scales_is_not_tried_twice():
    net = Net()
    net.input("x", X((1, 2, 2, 3), -1.0, 1.0))
    net.op("LOGISTIC", "y", "x", options=None)
    model = net.done("y")
    found = observed(model, feeds(model), Recipe(equalize="try"))
    asked = []
    rows = list(variants(found, Recipe(equalize="try"), lambda c: asked.append(c) or 30.0))
    assert [row[0] for row in rows] == [STANDING]
    assert len(asked) == 1


def test_the_account_of_a_trial_names_the_winner_and_the_preset():
    result = tfq.quantize(
        residual(spread=30.0).to_bytes(), images(40), recipe=Recipe(equalize="try", at_least="fast")
    )
    scores = result.account.end_to_end
    assert "fast" in scores
    assert {STANDING, *(f"equalized {style}" for style in STYLES)} & set(scores)
    ways = {n: db for n, db in scores.items() if n in (STANDING, "fast") or "equalized" in n}
    last = list(scores)[-1]  # the report calls it the file's
    assert last in ways
    assert scores[last] == max(ways.values()) > 15
