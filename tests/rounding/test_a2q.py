"""Codes within an accumulator: the best there are, and no input breaks them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from layers_on_data import inputs, total_error, weights
from small_nets import images, residual

import tfq_ext
from tfq_ext.errors import SpecError
from tfq_ext.numerics.accumulator_bound import (
    Inputs,
    extremes,
    needed_bits,
    project_l1,
    worst_input,
    wrapped,
)
from tfq_ext.numerics.budget import spend
from tfq_ext.repair.accumulators import accumulators
from tfq_ext.rounding import Job, LayerData, parse_rounder, weight_params
from tfq_ext.spec import QSpec

every_case = pytest.mark.parametrize("case", range(300))


@every_case
def test_no_other_integers_within_the_budget_are_nearer(case):
    """Brute force on rows of 1 to 4; with ties, zero powers and caps."""
    rng = np.random.default_rng(case)
    n, budget, most = (int(rng.integers(*r)) for r in ((1, 5), (0, 9), (1, 5)))
    ratios, power = np.abs(rng.normal(0, 2, (1, n))), rng.uniform(0, 2, (1, n))
    if case % 3 == 0:
        ratios, power = np.round(2 * ratios) / 2, np.ones((1, n))
    if case % 5 == 0:
        power[0, 0] = 0
    found = spend(ratios, power, budget, most)
    every = (np.array(q) for q in product(range(most + 1), repeat=n) if sum(q) <= budget)
    best = min(float((power * (ratios - q) ** 2).sum()) for q in every)
    assert found.sum() <= budget
    assert found.min() >= 0
    assert found.max() <= most
    assert (power * (ratios - found) ** 2).sum() == pytest.approx(best, abs=1e-7)


def test_it_is_never_worse_than_projection_and_rounding_towards_zero():
    """What A2Q+ starts from; what that leaves of the budget is spent as well."""
    ratios = np.abs(np.random.default_rng(0).standard_t(3, (200, 50))) * 5
    budget = 100
    projected = np.floor(project_l1(ratios, np.full(200, float(budget))) + 1e-9)
    assert projected.sum(axis=1).max() <= budget
    found = spend(ratios, np.ones_like(ratios), budget, 127)
    errors = [np.square(ratios - q).sum(axis=1) for q in (found, projected)]
    assert np.all(errors[0] <= errors[1] + 1e-9)
    assert np.mean(errors[0] < 0.9 * errors[1]) > 0.5
    assert np.all(found.sum(axis=1) == budget)


def rounded(weight: np.ndarray, accumulator: float, bits: int = 8, axis: int | None = 0, **more):
    rounder = parse_rounder(f"a2q:{accumulator:g}")
    params = weight_params(weight, QSpec(bits, narrow=True, axis=axis))
    job = Job(weight, params, argument=rounder.argument, **more)
    job = replace(job, params=rounder.grid(job))
    return rounder.round(job), job.params


@pytest.mark.parametrize("zero", [-128, -5, 0, 127])
@pytest.mark.parametrize("accumulator", [9, 12, 16, 20])
@pytest.mark.parametrize("bits", [8, 4])
def test_no_input_overflows_whatever_its_zero_point(zero, accumulator, bits):
    """The worst input of each channel and thousands of others, added up in P bits that wrap."""
    weight = weights(10, 80, seed=bits)
    codes, _ = rounded(weight, accumulator, bits)
    columns, x = codes.T.astype(np.int64), Inputs.behind(zero)
    assert needed_bits(columns, x).max() <= accumulator
    assert codes.any()
    rng = np.random.default_rng(0)
    random = rng.choice([x.lo, 0, x.hi], (2000, 80))
    for fed in (worst_input(columns, x).T, worst_input(-columns, x).T, random):
        partial = np.cumsum(fed[:, :, None] * columns, axis=1)
        np.testing.assert_array_equal(wrapped(partial, accumulator), partial)


def test_the_budget_is_spent():
    """No channel makes do with a bit less; a coarser step may leave a part of the budget."""
    codes, params = rounded(weights(10, 200), 16)
    lo, hi = extremes(codes.T.astype(np.int64), Inputs.behind(-128))
    assert np.all(np.maximum(-lo, hi) > 2**14 - 1)
    assert np.median(np.maximum(-lo, hi)) > 2**15 - 1 - 3 * 255
    assert np.all(params.scale >= weight_params(weights(10, 200), params.spec).scale)


@pytest.mark.parametrize("axis", [0, None])
def test_where_all_fits_it_is_nearest_rounding(axis):
    weight = weights(6, 30)
    codes, params = rounded(weight, 32, axis=axis)
    plain = weight_params(weight, QSpec(8, narrow=True, axis=axis))
    np.testing.assert_array_equal(params.scale, plain.scale)
    assert np.abs(codes - plain.encode(weight)).max() == 0


def test_wider_accumulators_lose_less():
    weight, x = weights(16, 100, seed=2), inputs(1000, 100, 3)
    data = LayerData.of(weight, x, x)
    errors = [
        total_error(weight, *rounded(weight, p, data=data), data) for p in (10, 12, 14, 16, 18, 20)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_coarser_steps_beat_the_recipes():
    weight = weights(16, 100, seed=2)
    codes, params = rounded(weight, 16)
    rounder = parse_rounder("a2q:16")
    plain = weight_params(weight, QSpec(8, narrow=True, axis=0))
    kept = rounder.round(Job(weight, plain, argument=16))
    with_grid, without = (
        np.square(p.decode(c) - weight).sum(axis=1) for p, c in ((params, codes), (plain, kept))
    )
    assert np.all(with_grid <= without)
    assert with_grid.sum() < 0.3 * without.sum()


@pytest.mark.parametrize("accumulator", [8, 33, 15.5])
def test_impossible_accumulators_are_refused(accumulator):
    with pytest.raises(SpecError, match="9 to 32 bits"):
        rounded(weights(2, 8), accumulator)


def test_the_file_fits():
    made = {}
    for rounding in ("nearest", "a2q:15"):
        recipe = {"base": "int8-minmax", "weights": {"rounding": rounding}}
        made[rounding] = tfq_ext.quantize(residual().to_bytes(), images(16), recipe=recipe)
    assert not any(row.fits for row in accumulators(made["nearest"].content, 15))
    rows = accumulators(made["a2q:15"].content, 15)
    assert len(rows) == 4
    assert all(row.fits for row in rows)
    notes = [row.notes[0] for row in made["a2q:15"].account.weights]
    assert notes == ["at most 15 accumulator bits"] * 4
