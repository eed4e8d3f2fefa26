"""Ranges from statistics and recipe; `auto` measured against min-max by its own measure."""

import numpy as np
import pytest
from small_nets import images, residual

from tfq_ext.calibrate.accumulator import Accumulator
from tfq_ext.recipe import Recipe
from tfq_ext.repair.auto import Trial, judge, logit_error
from tfq_ext.repair.layerwise import Walk, with_codes
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.pooled import Pooled
from tfq_ext.repair.ranges import choose_ranges
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.samples import Sample
from tfq_ext.spec import INT8_ACTIVATION, Range
from tfq_ext.tflite.grids import shared_grids
from tfq_ext.tflite.run import Keeper

MODEL = residual(spread=30.0)
ALL = [Sample(k, {"image": x[None]}) for k, x in enumerate(images(30))]
CALIBRATION, HELD_BACK = ALL[:22], ALL[22:]


@pytest.fixture(scope="module")
def stats():
    return observe(MODEL, CALIBRATION)


def by_tensor(rows):
    return {name: row for row in rows for name in row.tensors}


def test_minmax_is_what_was_observed(stats):
    rows, _ = choose_ranges(MODEL, stats, Recipe(calibrator="minmax"))
    for name, row in by_tensor(rows).items():
        assert row.range == Range.of(stats[name].min, stats[name].max)
        assert row.outside == 0.0


def test_rules_set_ranges_and_calibrators(stats):
    recipe = Recipe(
        calibrator="minmax",
        rules=[
            {"tensor": "branch", "range": [-1.0, 2.0]},
            {"op": "MEAN", "calibrator": "percentile:90"},
            {"tensor": "nobody", "calibrator": "kl"},
        ],
    )
    rows, used = choose_ranges(MODEL, stats, recipe)
    found = by_tensor(rows)
    assert found["branch"].range == Range(-1.0, 2.0)
    assert found["mean"].calibrator == "percentile:90"
    assert found["mean"].range.max < stats["mean"].max
    assert used == {0, 1}
    assert "rules[2]" in recipe.unused(used)[0]


def test_known_input_ranges_win_over_calibration(stats):
    rows, _ = choose_ranges(MODEL, stats, Recipe(), fixed={"image": Range(-2.0, 2.0)})
    assert by_tensor(rows)["image"].range == Range(-2.0, 2.0)
    assert by_tensor(rows)["image"].calibrator == "exact input"


def test_sixteen_bits_leave_room_for_new_images(stats):
    rows, _ = choose_ranges(MODEL, stats, Recipe(activations="int16"))
    observed = Range.of(stats["sum"].min, stats["sum"].max)
    assert by_tensor(rows)["sum"].range == observed.scaled(4.0)


def test_auto_is_no_noisier_than_minmax_at_the_consumers(stats):
    """The prefix measure itself: walk with auto's ranges and with min-max, compare the logits."""
    choices = op_choices(MODEL, Recipe())
    weights = choose_weights(layers(MODEL, choices.ops), {}, Recipe())
    rounded = with_codes(MODEL, {n: w.codes for n, w in weights.items()})
    judged = observe(MODEL, HELD_BACK)
    every = stats.merge(judged)
    auto, _ = choose_ranges(
        MODEL, every, Recipe(), held_back=HELD_BACK, judged=judged, rounded=rounded
    )
    rows = by_tensor(auto)
    for name, row in rows.items():
        assert Range.of(every[name].min, every[name].max) == row.observed, name
        assert row.range | row.tightest == row.range, name
    assert any(row.calibrator != "minmax" for row in auto)
    assert all(row.noise for row in auto if row.calibrator not in ("minmax",))


def test_trials_measure_at_the_readers(stats):
    """One tensor, two candidates: the noise equals the readers' error computed by hand."""
    graph = MODEL.graphs[0]
    tensor = graph.by_name["branch"]
    (grid,) = (g for g in shared_grids(graph) if tensor in g.tensors)
    ranges = (Range.of(stats["branch"].min, stats["branch"].max), Range(-0.5, 0.5))
    trial = Trial(graph, grid, INT8_ACTIVATION, ranges, ("minmax", "tight"))
    assert judge(MODEL, [trial], HELD_BACK) == len(HELD_BACK)
    wanted = np.zeros(2)
    for sample in HELD_BACK:
        read = Keeper(MODEL).invoke(sample.inputs)
        a, b = (np.array(read(graph.by_name[n])) for n in ("a", "branch"))
        for k, r in enumerate(ranges):
            from tfq_ext.spec import QParams

            y = a + QParams.from_range(INT8_ACTIVATION, r).fake_quant(b)
            wanted[k] += np.square(y - (a + b)).sum() / np.square(a + b).sum()
    assert trial.noise == pytest.approx(wanted, rel=1e-3)
    assert trial.best == 0


def test_a_walk_with_nothing_rounded_is_the_float_model():
    graph = MODEL.graphs[0]
    feeds = [{graph.inputs[0]: s.inputs["image"]} for s in HELD_BACK[:3]]
    walk = Walk(graph, graph, feeds)
    for k in range(len(graph.ops)):
        walk.step(k)
        walk.forget(k)
    out = graph.outputs[0]
    for values, sample in zip(walk.rough, HELD_BACK[:3], strict=True):
        assert set(values) == {out}, "everything else has been forgotten"
        wanted = Keeper(MODEL).invoke(sample.inputs)(out)
        assert values[out] == pytest.approx(wanted, rel=1e-5)


def test_a_tail_that_no_judge_has_seen_is_not_cut_off():
    """One outlier in 300 samples, none among the judges: min-max or hardly less."""
    body = np.random.default_rng(0).uniform(0, 1, 300 * 24).astype(np.float32)
    tail = body.copy()
    tail[7] = 2.0
    accumulators = Accumulator(), Accumulator()
    accumulators[0].add(0, tail[:, None])
    accumulators[1].add(0, body[:480, None])
    every, judged = (Pooled.of([a.freeze()]) for a in accumulators)
    assert every.tightest(judged, INT8_ACTIVATION).max > 1.9
    assert every.tightest(every, INT8_ACTIVATION).max < 0.5, "judges that saw it may cut it"
    assert every.tightest(None, INT8_ACTIVATION) == Range(0.0, 2.0)


def test_logits_are_judged_by_what_softmax_sees_too():
    wanted = np.array([[4.0, 0.0, -20.0]], np.float32)
    low_end_lost = np.array([[4.0, 0.0, -10.0]], np.float32)
    top_lost = np.array([[1.0, 0.0, -20.0]], np.float32)

    def cross_entropy(y):
        p = np.exp(wanted) / np.exp(wanted).sum()
        return float(-(p * (y - np.log(np.exp(y).sum()))).sum())

    for y in (low_end_lost, top_lost):
        difference = cross_entropy(y) - cross_entropy(wanted)
        assert logit_error(y, wanted) == pytest.approx(difference, abs=1e-6)  # float32 here
    assert logit_error(top_lost, wanted) > 100 * logit_error(low_end_lost, wanted)
    assert logit_error(wanted[None], wanted[None]) == 0.0, "three axes are no logits"
