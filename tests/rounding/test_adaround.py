"""Learned rounding against nearest, on correlated inputs that a quantized prefix has bent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.rounding import ROUNDERS, Job, LayerData, nearest, weight_params
from tfq_ext.rounding.adaround import AdaRound, learn, patch_error
from tfq_ext.rounding.adaround.soft import soft_start, soften
from tfq_ext.rounding.gptq import gptq
from tfq_ext.spec import QParams, QSpec

PAPER = AdaRound(walks=0, reach=0)  # no flips
SHAPES = {"dense": (24, 64, 1), "depthwise": (24, 9, 24)}  # channels, inputs of a row, groups
every_kind = pytest.mark.parametrize("kind", SHAPES)


def layer(kind="dense", bits=4, count=1024, lo=-np.inf, hi=np.inf, bias=0.0, scale="mse"):
    """Weight, grid, data to learn from, and data held out."""
    channels, n, groups = SHAPES[kind]
    rng = np.random.default_rng(8)
    weight = rng.normal(size=(channels, n)).astype(np.float32)
    mix = rng.normal(size=(groups, n, max(n // 4, 2))) / np.sqrt(n)
    drawn = rng.normal(size=(2 * count, groups, mix.shape[2]))
    real = np.einsum("mgk,gnk->mgn", drawn, mix) + 0.1 * rng.normal(size=(2 * count, groups, n))
    real = np.maximum(real, 0).astype(np.float32)
    rough = (np.rint(real * 16) / 16).astype(np.float32)
    biases = np.full(channels, bias, np.float32)
    parts = [
        LayerData.of(weight, rough[part], real[part], bias=biases, lo=lo, hi=hi)
        for part in (slice(None, count), slice(count, None))
    ]
    spec = QSpec(bits, narrow=True, axis=0)
    return weight, weight_params(weight, spec, scale=scale), *parts


def error(weight, params, codes, data):
    return patch_error(weight, params.decode(codes), data)


@every_kind
@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("scale", ["max", "mse"])
def test_codes_are_those_next_to_the_weight(kind, bits, scale):
    weight, params, data, _ = layer(kind, bits, scale=scale)
    codes = learn(weight, params, data, AdaRound(300, reach=0)).codes.astype(int)
    below = np.floor(weight / params.scale[:, None])
    ends = params.spec.qmin, params.spec.qmax
    low, high = np.clip(below, *ends), np.clip(below + 1, *ends)
    assert np.all((codes == low) | (codes == high))
    assert np.any(codes != nearest(weight, params))


@every_kind
def test_flips_go_one_code_further_and_no_more(kind):
    weight, params, data, _ = layer(kind)
    codes = learn(weight, params, data, AdaRound(300, reach=1)).codes
    away = np.abs(codes - np.clip(weight / params.scale[:, None], -7, 7))
    assert 1 < away.max() <= 2 + 1e-5


def test_the_start_reproduces_the_weight():
    steps = np.random.default_rng(0).normal(scale=4, size=(50, 40)).astype(np.float32)
    steps[0, :4] = 0.0, 1.0, -2.0, 0.5
    floor = np.floor(steps)
    np.testing.assert_allclose(floor + soften(soft_start(steps, floor)), steps, atol=1e-5, rtol=0)


@every_kind
@pytest.mark.parametrize("bits", [8, 4])
def test_no_steps_and_no_penalty_are_nearest_rounding(kind, bits):
    weight, params, data, _ = layer(kind, bits)
    weight[0, :3] = params.scale[0] * np.float32([0.5, -1.5, -0.5])  # ties go away from zero
    codes = learn(weight, params, data, AdaRound(0, penalty=0, walks=0)).codes
    np.testing.assert_array_equal(codes, nearest(weight, params))


@pytest.mark.parametrize(("kind", "most"), [("dense", 0.45), ("depthwise", 0.75)])
def test_it_beats_nearest_clearly_here_and_on_data_held_out(kind, most):
    weight, params, data, held = layer(kind)
    learned = learn(weight, params, data, PAPER)
    plain = nearest(weight, params)
    assert np.all(learned.after <= learned.before)
    for part in (data, held):
        ratio = error(weight, params, learned.codes, part).sum()
        assert ratio < most * error(weight, params, plain, part).sum()


@every_kind
def test_the_errors_it_reports_are_those_of_its_codes(kind):
    weight, params, data, _ = layer(kind, lo=0.0, hi=1.0, count=1000)  # the last block is not full
    learned = learn(weight, params, data, AdaRound(200))
    for codes, told in [(nearest(weight, params), learned.before), (learned.codes, learned.after)]:
        np.testing.assert_allclose(told, error(weight, params, codes, data), rtol=1e-4, atol=1e-9)


def test_nearly_all_weights_settle():
    weight, params, data, _ = layer()
    assert learn(weight, params, data, AdaRound(1000)).unsettled < 0.02
    assert learn(weight, params, data, AdaRound(1000, penalty=0)).unsettled > 0.2


@every_kind
def test_flips_only_help_and_end_where_no_flip_helps(kind):
    weight, params, data, _ = layer(kind, lo=0.0, count=256)
    without = learn(weight, params, data, AdaRound(200, walks=0)).after
    learned = learn(weight, params, data, AdaRound(200, walks=50, reach=0))
    assert np.all(learned.after <= without * (1 + 1e-5))
    below = np.floor(weight / params.scale[:, None])
    for j in range(weight.shape[1]):
        other = learned.codes.copy()
        other[:, j] = np.clip(2 * below[:, j] + 1 - other[:, j], -7, 7)
        after = error(weight, params, other, data)
        assert np.all(after >= error(weight, params, learned.codes, data) * (1 - 3e-5))


@pytest.mark.parametrize("walks", [0, 4])
def test_the_activation_in_the_loss_helps_where_it_clips(walks):
    """Loud patches drive every output below 0, where no error counts; soft ones do not."""
    rng = np.random.default_rng(4)
    weight = rng.normal(size=(16, 48)).astype(np.float32)
    weight[:, :24] = -np.abs(weight[:, :24])
    mix = rng.normal(size=(12, 48)) / 4
    x = np.maximum(rng.normal(size=(4096, 1, 12)) @ mix, 0)
    x[::2, :, :24] *= 10
    x[1::2, :, :24] *= 0.3
    x = x.astype(np.float32)
    bias = np.full(16, 2.0, np.float32)
    data, blind, held = (
        LayerData.of(weight, x[part], x[part], bias=bias, lo=lo)
        for part, lo in [
            (slice(2048), 0.0),
            (slice(2048), -np.inf),
            (slice(2048, None), 0.0),
        ]
    )
    params = weight_params(weight, QSpec(4, narrow=True, axis=0))
    settings = AdaRound(walks=walks)
    seeing, not_seeing = (learn(weight, params, d, settings).codes for d in (data, blind))
    for part in (data, held):
        least = error(weight, params, not_seeing, part).sum()
        assert error(weight, params, seeing, part).sum() < 0.7 * least


def test_a_channel_that_is_never_heard_is_rounded_by_its_moments():
    """The activation mutes it on every patch: any codes err by 0 there."""
    weight, params, data, _ = layer(lo=0.0, bias=-1e4)
    codes = learn(weight, params, data, AdaRound(100)).codes
    assert error(weight, params, codes, data).max() == 0.0
    before, after = (
        ROUNDERS["gptq"].error(weight, params.decode(c), data)
        for c in (nearest(weight, params), codes)
    )
    assert np.all(after <= before)


def test_a_start_is_where_it_starts_and_is_never_made_worse():
    weight, params, data, _ = layer()
    start = gptq(weight, params, data, width=1, ridge=np.inf, sweeps=0)  # the paper's
    still = learn(weight, params, data, AdaRound(0, pull=1, walks=0), start=start)
    better = error(weight, params, start, data) < 0.999 * error(
        weight, params, nearest(weight, params), data
    )
    np.testing.assert_array_equal(still.codes[better], start[better])
    moved = learn(weight, params, data, AdaRound(300), start=start)
    assert np.all(moved.after <= still.after * (1 + 1e-4))
    assert moved.after.sum() < 0.97 * still.after.sum()


@every_kind
def test_a_rival_wins_the_channels_where_it_is_better(kind):
    weight, params, data, _ = layer(kind)
    rival = gptq(weight, params, data)
    alone = learn(weight, params, data, AdaRound(300, walks=0))
    both = learn(weight, params, data, AdaRound(300, walks=0), rivals=[rival])
    least = np.minimum(alone.after, error(weight, params, rival, data))
    np.testing.assert_allclose(both.after, least, rtol=1e-4)
    assert np.any(both.after < 0.99 * alone.after)


@every_kind
def test_seeds_draw_other_batches_and_the_same_seed_the_same(kind):
    weight, params, data, _ = layer(kind, count=640)
    one, again, other = (
        learn(weight, params, data, PAPER, seed=seed).codes.tobytes() for seed in (1, 1, 2)
    )
    assert one == again
    assert one != other


@pytest.mark.parametrize("channels", [1, 3, 17, 18])
def test_a_channel_learns_the_same_alone_as_among_others(channels):
    """Tiles of 16 channels, lanes of 4: no channel sees which of them it is in."""
    weight, params, data, _ = layer(lo=0.0)
    whole = learn(weight, params, data, AdaRound(200)).codes
    p = data.patches
    few = slice(24 - channels, None)
    part = LayerData(
        data.gram,
        data.cross,
        data.power[few],
        type(p)(p.rough, p.target[:, few], p.bias[few], p.lo, p.hi),
    )
    grid = QParams(params.spec, params.scale[few])
    alone = learn(weight[few], grid, part, AdaRound(200)).codes
    if channels > 1:
        np.testing.assert_array_equal(alone, whole[few])
    else:  # one channel alone sums in another order
        assert np.mean(alone == whole[few]) > 0.95


def test_grids_with_zero_points_and_one_scale_for_all():
    weight, _, data, _ = layer()
    for axis in (0, None):
        params = weight_params(weight + 0.7, QSpec(4, symmetric=False, axis=axis))
        learned = learn(weight, params, data, AdaRound(300))
        assert learned.after.sum() < 0.6 * learned.before.sum()
        np.testing.assert_allclose(
            learned.after, error(weight, params, learned.codes, data), rtol=1e-4
        )


def test_progress_counts_to_the_end():
    weight, params, data, _ = layer(count=128)
    seen = []
    learn(weight, params, data, AdaRound(250), progress=lambda k, of: seen.append((k, of)))
    assert seen == [(100, 250), (200, 250), (250, 250)]


@pytest.mark.parametrize("data", ["none", "no patches", "nan"])
def test_what_it_cannot_learn_from_is_told(data):
    weight, params, given, _ = layer(count=64)
    if data == "none":
        given = None
    elif data == "no patches":
        given = LayerData(given.gram, given.cross, given.power)
    else:
        given.patches.rough[3, 0, 5] = np.nan
    with pytest.raises(SpecError, match="1 NaN" if data == "nan" else "needs|patches"):
        ROUNDERS["adaround"].round(Job(weight, params, given))


@pytest.mark.parametrize("wrong", [{"iterations": -1}, {"rate": 0.0}, {"beta": (2, 20)}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(SpecError):
        AdaRound(**wrong)


@every_kind
def test_what_was_learned_is_told_once_and_changes_nothing(kind):
    weight, params, data, _ = layer(kind)
    told = []
    job = Job(weight, params, data, seed=3, argument=60)
    quiet = ROUNDERS["adaround"].round(job)
    codes = ROUNDERS["adaround"].round(replace(job, tell=told.append))
    assert np.array_equal(codes, quiet)
    (heard,) = told
    assert heard.steps == 60
    assert 0.05 < heard.unsettled < 1  # of a run this short
    wanted = {"before": nearest(weight, params), "after": codes}
    for name, of in wanted.items():
        assert getattr(heard, name) == pytest.approx(
            error(weight, params, of, data).mean(), rel=1e-3
        ), name
    long = []
    ROUNDERS["adaround"].round(replace(job, argument=None, tell=long.append))
    assert (long[0].steps, long[0].unsettled < heard.unsettled) == (1000, True)


@pytest.mark.parametrize("name", ["nearest", "gptq", "gpfq", "shared"])
def test_who_does_not_learn_tells_nothing(name):
    weight, params, data, _ = layer()
    told = []
    job = Job(weight, params, data, argument=ROUNDERS[name].argument, tell=told.append)
    ROUNDERS[name].round(job)
    assert told == []
