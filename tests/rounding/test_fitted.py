"""Fitting to the output: only what the alphabet allows, never worse than the start, often best."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from layers_on_data import grid, inputs, total_error, weights

from tfq_ext.rounding import Job, LayerData, parse_rounder, squared_error
from tfq_ext.rounding.fitted import arranged, fitted, unarranged
from tfq_ext.rounding.gptq import DAMP
from tfq_ext.rounding.quadratic import Quadratic

LEVELS = np.array([-3.0, 0.0, 2.0])


def among(problem, codes):
    return lambda t, steps: LEVELS[np.abs(steps[..., None] - LEVELS).argmin(axis=-1)]


def job_of(channels: int, n: int, seed: int, groups: int = 1) -> Job:
    weight, x = weights(channels, n, seed), inputs(400, n, seed + 1, groups=groups)
    return Job(weight, grid(weight, 3), LayerData.of(weight, x, x))


def nearest_level(job: Job) -> np.ndarray:
    return LEVELS[np.abs(job.steps[..., None] - LEVELS).argmin(axis=-1)]


def error(job: Job, steps: np.ndarray) -> np.ndarray:
    return squared_error(job.weight, (steps * job.scale).astype(np.float32), job.data)


@pytest.mark.parametrize("groups", [1, 6])
def test_codes_keep_to_the_alphabet_and_beat_the_start(groups):
    job = job_of(6, 30, 3, groups)
    start = nearest_level(job)
    found = fitted(job, start, among)
    assert set(np.unique(found)) <= set(LEVELS)
    assert np.all(error(job, found) <= error(job, start) * (1 + 1e-6))
    assert error(job, found).sum() < 0.6 * error(job, start).sum()


def test_on_tiny_rows_it_is_near_the_best_of_all():
    """Brute force over 3^6 rows of codes."""
    job = job_of(20, 6, 5)
    every = np.array(list(product(LEVELS, repeat=6)))
    best = np.array(
        [
            min(
                squared_error(
                    job.weight[c : c + 1].repeat(len(every), 0),
                    every * job.scale[c],
                    replace(job.data, power=job.data.power[c].repeat(len(every))),
                )
            )
            for c in range(20)
        ]
    )
    found, start = (
        error(job, fitted(job, nearest_level(job), among)),
        error(job, nearest_level(job)),
    )
    assert np.all(found >= best - 1e-9)
    assert np.mean(found <= best * 1.001 + 1e-12) > 0.4
    assert found.sum() - best.sum() < 0.35 * (start.sum() - best.sum())


def test_without_data_the_start_is_the_answer():
    job = replace(job_of(3, 8, 1), data=None)
    start = nearest_level(job)
    assert fitted(job, start, among) is start


@pytest.mark.parametrize("groups", [1, 4])
def test_arranging_is_undone(groups):
    job = job_of(8, 10, 2, groups)
    problem = Quadratic.of(job.weight, job.params, job.data, damp=DAMP)
    rows = np.random.default_rng(0).normal(size=(8, 10))
    np.testing.assert_array_equal(unarranged(problem, arranged(problem, rows)), rows)
    np.testing.assert_allclose(arranged(problem, job.steps), problem.weight, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "gain"), [("twn", 0.75), ("fgq:4", 0.85), ("shared:6", 0.7), ("a2q:13", 0.9)]
)
def test_every_rounder_with_an_alphabet_gains_on_unseen_inputs(text, gain):
    """Trained on one draw of inputs, measured on another of the same kind."""
    weight = weights(24, 64, seed=7)
    x = inputs(4000, 64, 8)
    seen, unseen = (LayerData.of(weight, part, part) for part in (x[:2000], x[2000:]))
    errors = []
    for data in (seen, None):
        rounder = parse_rounder(text)
        job = Job(weight, grid(weight, 8), data, argument=rounder.argument)
        job = replace(job, params=rounder.grid(job)) if rounder.grid else job
        errors.append(total_error(weight, rounder.round(job), job.params, unseen))
    assert errors[0] < gain * errors[1], errors
