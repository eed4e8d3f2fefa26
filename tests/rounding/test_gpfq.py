"""GPFQ against its vector form and brute force; chance and thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from layers_on_data import grid, inputs, total_error, weights

from tfq_ext.errors import SpecError
from tfq_ext.rounding import LayerData, nearest, squared_error
from tfq_ext.rounding.better import better_than_nearest, undominated
from tfq_ext.rounding.gpfq import (
    by_chance,
    draws,
    gpfq,
    greedy,
    hard,
    soft,
    sparse_gpfq,
    stochastic_gpfq,
)
from tfq_ext.rounding.quadratic import Quadratic

SHRINK = {"soft": soft, "hard": hard}


def layer(channels: int = 8, n: int = 40, m: int = 120, bits: int = 4, seed: int = 0):
    """(weight, params, data): inputs that a quantized prefix has rounded coarsely."""
    weight, real = weights(channels, n, seed), inputs(m, n, seed + 1)
    rough = (np.rint(real * 8) / 8).astype(np.float32)
    return weight, grid(weight, bits), LayerData.of(weight, rough, real)


def vector_form(weight, params, rough, real, *, at_step=None):
    """2201.11113, algorithm 1: u over samples, inputs as they come."""
    u = np.zeros((len(rough), len(weight)))
    codes = np.zeros(weight.shape, np.int8)
    for t in range(weight.shape[1]):
        u += np.outer(real[:, t], weight[:, t])
        p = rough[:, t] @ u / np.square(rough[:, t]).sum()
        codes[:, t] = params.encode(p[:, None])[:, 0]
        if at_step is not None:
            at_step(t, u, codes[:, t])
        u -= np.outer(rough[:, t], params.decode(codes[:, t][:, None])[:, 0])
    return codes, u


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("seed", range(3))
def test_the_gram_form_is_the_vector_form(bits, seed):
    """Codes to the last one; the output's error to 1e-6 of the output."""
    weight, params, data = layer(bits=bits, seed=seed)
    rough = data.patches.rough[:, 0].astype(np.float64)
    real = inputs(120, 40, seed + 1)[:, 0].astype(np.float64)
    codes, u = vector_form(weight, params, rough, real)
    problem = Quadratic.of(weight, params, data, damp=0.0, by_power=False)
    mine = problem.rows(greedy(problem, lambda _, p: problem.nearest(p)), params)
    np.testing.assert_array_equal(mine, codes)
    error = squared_error(weight, params.decode(mine), data)
    assert np.all(np.abs(error - np.square(u).mean(axis=0)) <= 1e-6 * data.power)


def test_every_step_is_the_best_of_all_codes():
    weight, params, data = layer(bits=3)
    rough = data.patches.rough[:, 0].astype(np.float64)
    real = inputs(120, 40, 1)[:, 0].astype(np.float64)
    every = np.arange(params.spec.qmin, params.spec.qmax + 1)

    def check(t, u, codes):
        values = every[:, None] * params.scale  # [K, C]
        left = u[None] - rough[:, t][None, :, None] * values[:, None, :]
        np.testing.assert_array_equal(every[np.square(left).sum(axis=1).argmin(axis=0)], codes)

    vector_form(weight, params, rough, real, at_step=check)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_change_the_codes(block):
    weight, params, data = layer(n=100)
    problem = Quadratic.of(weight, params, data, damp=0.01)
    whole = greedy(problem, lambda _, p: problem.nearest(p), block=100)
    parts = greedy(problem, lambda _, p: problem.nearest(p), block=block)
    np.testing.assert_array_equal(parts, whole)


def test_a_fine_grid_gives_the_weights_back():
    weight, x = weights(4, 30), inputs(100, 30, 1)
    params = grid(weight, 8)
    codes = gpfq(weight, params, LayerData.of(weight, x, x))
    assert np.abs(params.decode(codes) - weight).max() < 4 * params.scale.max()


@pytest.mark.parametrize("bits", [8, 4])
def test_it_beats_nearest_rounding_over_many_inputs(bits):
    weight, x = weights(32, 128), inputs(256, 128, 1)
    params, data = grid(weight, bits), LayerData.of(weight, x, x)
    plain = total_error(weight, nearest(weight, params), params, data)
    assert total_error(weight, gpfq(weight, params, data), params, data) < 0.8 * plain


def test_chance_is_unbiased_over_seeds():
    """8 bits, so that nothing clips; the mean of 3000 draws lies within 5 standard errors."""
    weight = weights(1, 12) / 2
    x = inputs(60, 12, 1)
    params, data = grid(2 * weight, 8), LayerData.of(weight, x, x)
    problem = Quadratic.of(weight, params, data, damp=0.01, by_power=False)
    runs = np.stack(
        [greedy(problem, by_chance(problem, draws(weight, s)))[0, :, 0] for s in range(3000)]
    )
    assert runs.std(axis=0).min() > 0.1  # it is chance
    off = runs.mean(axis=0) - problem.weight[0, :, 0]
    assert np.all(np.abs(off) < 5 * runs.std(axis=0) / np.sqrt(3000))


def test_chance_follows_seed_and_row_not_place():
    weight, params, data = layer()
    first, again, other = (stochastic_gpfq(weight, params, data, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    np.testing.assert_array_equal(draws(weight[::-1], 1), draws(weight, 1)[::-1])
    assert np.unique(draws(weight, 1)).size == weight.size


@pytest.mark.parametrize("shrink", SHRINK)
@pytest.mark.parametrize("bits", [8, 4])
def test_no_threshold_is_plain(shrink, bits):
    weight, params, data = layer(bits=bits)
    sparse = sparse_gpfq(weight, params, data, 0.0, shrink=SHRINK[shrink])
    np.testing.assert_array_equal(sparse, gpfq(weight, params, data))


@pytest.mark.parametrize("shrink", SHRINK)
@pytest.mark.parametrize("kind", [(16, 64, 200), (32, 9, 100)])
def test_zeros_grow_with_the_threshold(shrink, kind):
    weight, params, data = layer(*kind)
    thresholds = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0]
    found = [sparse_gpfq(weight, params, data, t, shrink=SHRINK[shrink]) for t in thresholds]
    zeros = [int(np.sum(codes == 0)) for codes in found]
    assert zeros == sorted(zeros)
    assert zeros[2] > 1.3 * zeros[0]
    assert zeros[-1] > 0.85 * weight.size


@pytest.mark.parametrize("shrink", SHRINK)
@pytest.mark.parametrize("threshold", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("n", [9, 60])
def test_thresholds_on_data_are_not_beaten_by_thresholds_without(shrink, threshold, n):
    """No channel loses in zeros and error; over many inputs the error falls."""
    weight, params, data = layer(24, n, 200)
    steps = SHRINK[shrink](weight / params.scale[:, None], threshold)
    plain = params.encode(steps * params.scale[:, None])
    codes = sparse_gpfq(weight, params, data, threshold, shrink=SHRINK[shrink])
    mine, theirs = (squared_error(weight, params.decode(q), data) for q in (codes, plain))
    fewer = (codes == 0).sum(axis=1) <= (plain == 0).sum(axis=1)
    assert not np.any(fewer & (mine > theirs * (1 + 1e-6)))
    if n == 60:
        assert mine.sum() < 0.8 * theirs.sum()


@pytest.mark.parametrize("name", ["soft", "hard"])
@pytest.mark.parametrize(
    ("steps", "soft_is", "hard_is"),
    [(0.99, 0.0, 0.0), (1.0, 0.0, 0.0), (1.01, 0.01, 1.01), (-1.0, 0.0, 0.0), (-3.5, -2.5, -3.5)],
)
def test_the_thresholds_at_the_edges(name, steps, soft_is, hard_is):
    found = SHRINK[name](np.array([steps]), 1.0)[0]
    assert found == pytest.approx({"soft": soft_is, "hard": hard_is}[name], abs=1e-12)


@pytest.mark.parametrize("threshold", [-0.1, np.nan])
def test_a_threshold_below_zero_is_refused(threshold):
    weight, params, data = layer()
    with pytest.raises(SpecError, match="A threshold is 0 or more steps"):
        sparse_gpfq(weight, params, data, threshold, shrink=soft)


@pytest.mark.parametrize("round_with", [gpfq, lambda w, p, d: stochastic_gpfq(w, p, d, 0)])
def test_odd_moments(round_with):
    """Inputs always 0, fewer samples than inputs, no input at all, NaN."""
    weight, real = weights(6, 50), inputs(20, 50, 1)
    real[:, :, 7] = 0
    params, data = grid(weight, 4), LayerData.of(weight, real, real)
    codes, plain = round_with(weight, params, data), nearest(weight, params)
    assert total_error(weight, codes, params, data) < total_error(weight, plain, params, data)
    empty = LayerData(0 * data.gram, 0 * data.cross, 0 * data.power)
    np.testing.assert_array_equal(round_with(weight, params, empty), plain)
    data.gram[0, 1, 1] = np.nan
    with pytest.raises(SpecError, match="have 1 NaN or inf values"):
        round_with(weight, params, data)


def test_the_better_is_kept_channel_by_channel():
    weight, params, data = layer()
    plain, worse = nearest(weight, params), np.zeros(weight.shape, np.int8)
    good = gpfq(weight, params, data)
    mixed = np.where(np.arange(8)[:, None] % 2 == 0, good, worse)
    kept = better_than_nearest(weight, params, data, mixed)
    np.testing.assert_array_equal(kept[::2], good[::2])
    np.testing.assert_array_equal(kept[1::2], plain[1::2])


def test_more_zeros_are_kept_though_the_error_grows():
    weight, params, data = layer()
    none, plain = np.zeros(weight.shape, np.int8), nearest(weight, params)
    np.testing.assert_array_equal(undominated(weight, params, data, none, plain), none)
    bad = np.where(plain == 0, 0, -plain).astype(np.int8)  # as many zeros, all signs wrong
    np.testing.assert_array_equal(undominated(weight, params, data, bad, plain), plain)
