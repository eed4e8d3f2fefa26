"""GPTQ against the paper's loop, the plain inverse, nearest rounding, and brute force."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
from layers_on_data import grid, inputs, total_error, weights

from tfq_ext.errors import SpecError
from tfq_ext.rounding import LayerData, nearest, squared_error
from tfq_ext.rounding.descent import descend
from tfq_ext.rounding.gptq import DAMP, best_of, gptq, successive, target
from tfq_ext.rounding.quadratic import Quadratic
from tfq_ext.spec import QParams, Range


def layer(channels: int, n: int, m: int, bits: int, seed: int = 0, groups: int = 1):
    """(weight, params, data): the quantized prefix's inputs are the float ones."""
    weight, x = weights(channels, n, seed), inputs(m, n, seed + 1, groups=groups)
    return weight, grid(weight, bits), LayerData.of(weight, x, x)


def by_the_paper(
    weight: np.ndarray, params: QParams, gram: np.ndarray, *, cholesky: bool = True
) -> np.ndarray:
    """Algorithm 1 of 2210.17323, column by column, in act-order; without `cholesky` the rows of
    the inverse itself stand where its factor belongs (AI Edge Quantizer)."""
    order = np.argsort(-np.diag(gram), kind="stable")
    h = gram[np.ix_(order, order)] + DAMP * np.mean(np.diag(gram)) * np.eye(len(gram))
    u = np.linalg.inv(h)
    if cholesky:
        u = np.linalg.cholesky(u).T
    w = weight[:, order].astype(np.float64)
    codes = np.zeros(w.shape, np.int8)
    for i in range(w.shape[1]):
        codes[:, order[i]] = params.encode(w[:, i : i + 1])[:, 0]
        error = w[:, i] - params.decode(codes[:, order[i]][:, None])[:, 0]
        w[:, i + 1 :] -= np.outer(error / u[i, i], u[i, i + 1 :])
    return codes


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_papers_loop(bits, seed):
    """Float32 in the witness' rounding may move a weight that lies half way: 1 in 1000."""
    weight, params, data = layer(16, 48, 200, bits, seed)
    problem = Quadratic.of(weight, params, data, damp=DAMP)
    mine = problem.rows(successive(problem, problem.weight), params)
    paper = by_the_paper(weight, params, data.gram[0])
    assert np.mean(mine != paper) <= 0.001


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("seed", range(3))
def test_factor_beats_plain_inverse_beats_nearest_on_correlated_inputs(bits, seed):
    weight, params, data = layer(32, 128, 256, bits, seed)
    plain = by_the_paper(weight, params, data.gram[0], cholesky=False)
    own = gptq(weight, params, data, width=1, sweeps=0)
    found = [nearest(weight, params), plain, own]
    worst, middle, best = (total_error(weight, codes, params, data) for codes in found)
    assert best < 0.9 * middle
    assert middle < worst


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_inputs_that_do_not_correlate_leave_nearest_rounding(bits):
    weight, params, data = layer(8, 30, 100, bits)
    data = replace(data, gram=data.gram * np.eye(30), cross=data.cross * np.eye(30))
    np.testing.assert_array_equal(gptq(weight, params, data), nearest(weight, params))


@pytest.mark.parametrize("n", [4, 6, 8])
def test_two_bits_come_near_the_best_of_all_codes(n):
    """All 3^n codes of each of 40 channels; within 10 % in sum."""
    weight, params, data = layer(40, n, 60, 2, seed=n)
    every = np.array(list(product([-1, 0, 1], repeat=n)), np.int8)
    best = sum(
        squared_error(
            np.repeat(row[None], len(every), 0),
            every * params.scale[c],
            replace(data, power=np.full(len(every), data.power[c])),
        ).min()
        for c, row in enumerate(weight)
    )
    mine = squared_error(weight, params.decode(gptq(weight, params, data)), data).sum()
    assert best * (1 - 1e-6) <= mine <= 1.1 * best


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_do_not_change_the_codes(block):
    weight, params, data = layer(10, 100, 150, 4)
    problem = Quadratic.of(weight, params, data, damp=DAMP)
    whole = successive(problem, problem.weight, block=100)
    np.testing.assert_array_equal(successive(problem, problem.weight, block=block), whole)


def test_groups_are_layers_of_their_own():
    weight, params, data = layer(12, 9, 80, 4, groups=4)
    codes = gptq(weight, params, data)
    for g in range(4):
        own = slice(3 * g, 3 * g + 3)
        alone = LayerData(data.gram[g : g + 1], data.cross[g : g + 1], data.power[own])
        part = QParams(params.spec, params.scale[own], params.zero_point[own])
        np.testing.assert_array_equal(gptq(weight[own], part, alone), codes[own])


def cost_of(problem: Quadratic, codes: np.ndarray) -> np.ndarray:
    d = codes - problem.weight
    return np.einsum("gnc,gnm,gmc->gc", d, problem.gram, d)


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("n", [9, 40, 100])
def test_a_beam_of_one_is_the_plain_pass_and_a_wider_one_better(bits, n):
    weight, params, data = layer(12, n, 200, bits)
    problem = Quadratic.of(weight, params, data, damp=DAMP)
    plain = successive(problem, problem.weight)
    np.testing.assert_array_equal(best_of(problem, problem.weight, 1), plain)
    widths = [1, 4, 32]
    costs = [cost_of(problem, best_of(problem, problem.weight, k)).sum() for k in widths]
    assert costs[2] <= costs[1] < costs[0]


def test_a_wide_beam_finds_the_best_of_all_codes():
    """Seven inputs of three codes: 2187 codes for each of 30 channels, a beam of 128."""
    weight, params, data = layer(30, 7, 60, 2)
    problem = Quadratic.of(weight, params, data, damp=DAMP)
    every = np.array(list(product([-1.0, 0.0, 1.0], repeat=7)))
    d = every[:, :, None] - problem.weight[0]
    best = np.einsum("knc,nm,kmc->kc", d, problem.gram[0], d).min(axis=0)
    found = cost_of(problem, best_of(problem, problem.weight, 128))[0]
    np.testing.assert_allclose(found, best, rtol=1e-9)


@pytest.mark.parametrize("sweeps", [1, 2, 5])
def test_descent_never_goes_up_and_ends_where_no_single_code_can_improve(sweeps):
    weight, params, data = layer(12, 40, 90, 4)
    problem = Quadratic.of(weight, params, data, damp=DAMP)
    cost = partial(cost_of, problem)
    start = problem.nearest(problem.weight.swapaxes(0, 1)).swapaxes(0, 1)
    after = descend(problem, problem.weight, start, sweeps)
    assert np.all(cost(after) <= cost(start) + 1e-9)
    assert cost(after).sum() < 0.9 * cost(start).sum()
    settled = descend(problem, problem.weight, start, 100)
    for t, step in product(range(40), (-1, 1)):
        moved = settled.copy()
        moved[:, t] = np.clip(moved[:, t] + step, problem.lo, problem.hi)
        assert np.all(cost(moved) >= cost(settled) - 1e-9)


def test_the_target_undoes_what_the_prefix_did():
    """x~ = 0.8 x: weights 1.25 times as large give the float output; a ridge holds them back."""
    weight, x = weights(6, 12), inputs(300, 12, 3)
    data = LayerData.of(weight, 0.8 * x, x)
    problem = Quadratic.of(weight, grid(weight, 8), data, damp=0.0)
    np.testing.assert_allclose(target(problem, 1e-9), 1.25 * problem.weight, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(target(problem, np.inf), problem.weight)
    held = np.abs(target(problem, 1.0) / problem.weight).mean()
    assert 1.0 < held < 1.25


def test_a_ridge_beats_none_where_the_prefix_errs():
    """On other samples than those it was found on."""
    weight, real = weights(24, 40), inputs(4000, 40, 5)
    rough = (np.rint(real * 4) / 4 * 0.9).astype(np.float32)
    fed, other = (LayerData.of(weight, rough[k::2], real[k::2]) for k in (0, 1))
    params = grid(weight, 8)
    towards = [gptq(weight, params, fed, ridge=r) for r in (np.inf, 0.1)]
    plain, bent = (total_error(weight, codes, params, other) for codes in towards)
    assert bent < 0.8 * plain


@pytest.mark.parametrize("ridge", [-1.0, np.nan])
def test_a_ridge_below_zero_is_refused(ridge):
    weight, params, data = layer(4, 9, 20, 4)
    with pytest.raises(SpecError, match="A ridge is 0 or more"):
        gptq(weight, params, data, ridge=ridge)


def test_inputs_that_are_always_zero_get_nearest_codes():
    weight, x = weights(5, 20), inputs(100, 20, 1)
    x[:, :, [3, 17]] = 0
    params, data = grid(weight, 4), LayerData.of(weight, x, x)
    codes = gptq(weight, params, data)
    np.testing.assert_array_equal(codes[:, [3, 17]], nearest(weight, params)[:, [3, 17]])
    assert total_error(weight, codes, params, data) < total_error(
        weight, nearest(weight, params), params, data
    )


def test_fewer_samples_than_inputs():
    weight, params, data = layer(8, 64, 20, 4)
    plain = total_error(weight, nearest(weight, params), params, data)
    assert total_error(weight, gptq(weight, params, data), params, data) < 0.5 * plain


def test_no_input_at_all_leaves_nearest_rounding():
    weight, params, data = layer(4, 9, 20, 4)
    empty = LayerData(0 * data.gram, 0 * data.cross, 0 * data.power)
    np.testing.assert_array_equal(gptq(weight, params, empty), nearest(weight, params))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["gram", "cross"])
def test_moments_that_are_not_finite_are_refused_in_one_sentence(bad, field):
    weight, params, data = layer(4, 9, 20, 4)
    getattr(data, field)[0, 2, 3] = bad
    with pytest.raises(SpecError, match=r"^The moments .* have 1 NaN or inf values: [^.]*\.$"):
        gptq(weight, params, data)


def test_moments_that_no_inputs_have_are_refused():
    weight, params, data = layer(4, 9, 20, 4)
    with pytest.raises(SpecError, match="no second moments"):
        gptq(weight, params, replace(data, gram=data.gram - 10 * np.eye(9)))


def test_an_asymmetric_grid_and_one_scale_for_all():
    weight, x = weights(6, 30) + np.float32(0.03), inputs(100, 30, 2)
    data = LayerData.of(weight, x, x)
    for params in (
        QParams(grid(weight, 4).spec.on(None), np.float32(0.02), 0),
        QParams.from_range(
            replace(grid(weight, 4).spec, symmetric=False, narrow=False, axis=None),
            Range.of(float(weight.min()), float(weight.max())),
        ),
    ):
        codes = gptq(weight, params, data)
        assert params.spec.qmin <= codes.min()
        assert codes.max() <= params.spec.qmax
        plain = total_error(weight, nearest(weight, params), params, data)
        assert total_error(weight, codes, params, data) < 0.8 * plain
