"""Ternary weights: exact against every alternative, groups, and integers that give them back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics import ternary as t


def rows(g: int, n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(g, n)).astype(np.float32)


def error(w: np.ndarray, alpha: np.ndarray, below: np.ndarray | None = None) -> np.ndarray:
    return np.square(w - t.ternarize(w, alpha, below)).sum(axis=1)


@pytest.mark.parametrize("n", range(1, 11))
def test_the_threshold_is_the_best_of_all_subsets(n):
    """Brute force over every choice of which weights stay (2^n), with the best alpha for each."""
    for w in rows(20 if n < 9 else 3, n, seed=n):
        best = min(
            np.square(w - np.sign(w) * kept * (np.abs(w)[kept].mean() if kept.any() else 0)).sum()
            for kept in (np.array(bits, bool) for bits in product([0, 1], repeat=n))
        )
        alpha = t.best_alpha(w[None])
        np.testing.assert_allclose(error(w[None], alpha)[0], best, atol=1e-6)


def test_alone_a_weight_is_lossless():
    w = rows(50, 1)
    np.testing.assert_allclose(t.ternarize(w, t.best_alpha(w)), w, rtol=1e-7)


# Gaussian weights, mean squared error over variance: METHODS.md section 8
TABLE = [(4, 0.100, 0.113), (16, 0.168, 0.176), (64, 0.181, 0.184), (512, 0.190, 0.192)]


@pytest.mark.parametrize(("n", "exact", "rule"), TABLE)
def test_exact_is_never_worse_than_the_rule_and_gains_what_is_tabled(n, exact, rule):
    w = rows(40_000 // n, n)
    threshold, alpha = t.rule_alpha(w)
    kept = np.abs(w) > threshold[:, None]
    by_rule = np.square(w - np.sign(w) * kept * alpha[:, None]).sum(axis=1)
    mine = error(w, t.best_alpha(w))
    assert np.all(mine <= by_rule + 1e-6)
    # 40,000 weights: a standard error near 1.5 %
    np.testing.assert_allclose([mine.mean() / n, by_rule.mean() / n], [exact, rule], rtol=0.05)


@pytest.mark.parametrize(("n", "tabled"), [(16, 0.145), (64, 0.175)])
def test_two_thresholds_are_never_worse_than_one(n, tabled):
    w = rows(40_000 // n, n)
    below, above = t.best_alphas(w)
    two = error(w, above, below)
    assert np.all(two <= error(w, t.best_alpha(w)) + 1e-6)
    np.testing.assert_allclose(two.mean() / n, tabled, rtol=0.05)


def test_ties_and_zeros():
    assert t.best_alpha(np.zeros((3, 5), np.float32)).tolist() == [0, 0, 0]
    assert t.best_alpha(np.full((1, 7), -0.5, np.float32)).tolist() == [0.5]
    assert t.best_alpha(np.zeros((2, 0), np.float32)).tolist() == [0, 0]
    half = np.array([[1.0, 0.5, 0.49, 0.51]], np.float32)  # alpha / 2 itself becomes 0
    assert t.ternarize(half, np.array([1.0])).tolist() == [[1, 0, 0, 1]]


LAYOUTS = {
    "conv": t.Layout((3, 3, 8, 5), (3,), 2, 4),
    "conv, a rest of 2": t.Layout((3, 3, 10, 5), (3,), 2, 4),
    "transposed conv": t.Layout((2, 2, 5, 6), (2,), 3, 4),
    "dense": t.Layout((12, 7), (1,), 0, 5),
    "depthwise": t.Layout((3, 3, 6, 2), (2, 3)),
    "one scale": t.Layout((4, 6)),
    "negative axes": t.Layout((3, 3, 8, 5), (-1,), -2, 4),
}
every_layout = pytest.mark.parametrize("kind", LAYOUTS)


@every_layout
def test_split_and_join_are_inverse(kind):
    layout = LAYOUTS[kind]
    w = np.random.default_rng(1).normal(size=layout.shape).astype(np.float32)
    split = layout.split(w)
    np.testing.assert_array_equal(layout.join(split), w)
    assert split.shape[0] == int(np.prod([layout.shape[a] for a in layout.axes]))
    assert (split != 0).sum() == w.size


def test_a_group_is_input_channels_at_one_tap():
    layout = LAYOUTS["conv"]
    w = np.arange(360, dtype=np.float32).reshape(layout.shape)
    split = layout.split(w)
    np.testing.assert_array_equal(split[4, 0], w[0, 0, 0:4, 4])
    np.testing.assert_array_equal(split[4, 1], w[0, 0, 4:8, 4])
    np.testing.assert_array_equal(split[4, 2], w[0, 1, 0:4, 4])


@every_layout
@pytest.mark.parametrize("two_sided", [False, True])
def test_integers_times_scale_are_the_best_ternary_weights(kind, two_sided):
    layout = LAYOUTS[kind]
    w = np.random.default_rng(2).normal(size=layout.shape).astype(np.float32)
    w[..., 0] = 0
    found = t.ternary(w, layout, two_sided=two_sided)
    channel_dims = [layout.shape[a] for a in layout.axes]
    assert list(found.scale.shape) == channel_dims
    codes = layout.split(found.codes.astype(np.float32))
    for group in codes.reshape(-1, codes.shape[-1]):
        positive, negative = group[group > 0], group[group < 0]
        assert len(np.unique(positive)) <= 1
        assert len(np.unique(negative)) <= 1
        if not two_sided:
            assert len(np.unique(np.abs(group[group != 0]))) <= 1
    real = layout.split(w)
    values = codes * found.scale.reshape(-1, 1, 1)
    flat = real.reshape(-1, real.shape[-1])
    sides = t.best_alphas(flat) if two_sided else (None, t.best_alpha(flat))
    best = error(flat, sides[1], sides[0])
    mine = np.square(values.reshape(flat.shape) - flat).sum(axis=1)
    whole = not two_sided and not layout.grouped
    # a magnitude is at most half of a 127th off: that squared, for each weight of the group
    half = np.repeat(found.scale.ravel() / 2, real.shape[1])
    allowed = 1e-6 if whole else flat.shape[1] * half**2 + 1e-6
    assert np.all(mine <= best + allowed)
    assert set(np.unique(found.codes)) <= {-1, 0, 1} or not whole


def test_finer_groups_lose_less():
    w = np.random.default_rng(3).normal(size=(3, 3, 64, 4)).astype(np.float32)
    losses = []
    for size in (1, 4, 16, 64, 0):
        split = t.Layout(w.shape, (3,), 2 if size else None, size).split(w)
        flat = split.reshape(-1, split.shape[-1])
        losses.append(error(flat, t.best_alpha(flat)).sum())
    assert losses == sorted(losses)
    assert losses[0] < 1e-6


def test_a_dead_channel_keeps_a_scale():
    found = t.ternary(np.zeros((4, 3), np.float32), t.Layout((4, 3), (1,)))
    assert found.codes.max() == 0
    assert np.all(found.scale == np.float32(1e-9))


def test_what_cannot_be_is_refused():
    with pytest.raises(SpecError, match="NaN or inf"):
        t.ternary(np.array([[np.nan]], np.float32), t.Layout((1, 1)))
    with pytest.raises(SpecError, match="channel axis"):
        t.Layout((3, 4), (1,), 1, 2)
    with pytest.raises(SpecError, match="at least 1"):
        t.Layout((3, 4), (1,), 0, -2)
