"""Factors on a graph: against a slow union, slow sweeps, and a brute force search."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tfq_ext.errors import SpecError, UnknownName
from tfq_ext.numerics.blocks import Block, Bounds
from tfq_ext.numerics.factors import BALANCES, Extent, Layer, Network, balance, components

TINY = np.finfo(np.float32).tiny


def _bounds(count, fixed=(0,)):
    low, high = np.full(count, TINY), np.full(count, np.inf)
    low[list(fixed)] = high[list(fixed)] = 1.0
    return Bounds(low, high)


def _deep(depth=24, width=5, seed=0):
    """Dense layers in a row; variable 0 is fixed, those of link k come after those of k - 1."""
    rng = np.random.default_rng(seed)
    links = [1 + np.arange(k * width, (k + 1) * width) for k in range(depth)]
    ends = [np.zeros(width, np.int64), *links, np.zeros(width, np.int64)]
    layers = []
    for k in range(depth + 1):
        w = rng.normal(size=(1, width, 1, width)) * np.exp(2 * rng.normal(size=(width, 1, width)))
        layers.append(Layer(Block.of(w), ends[k], ends[k + 1]))
    count = 1 + depth * width
    nodes = np.concatenate([[0], 1 + np.repeat(np.arange(depth), width)])
    return Network(nodes, layers, _bounds(count))


def _ranges(network, f):
    """Scaled ranges of each layer, the slow way."""
    found = []
    for layer in network.layers:
        block = layer.block.scaled(f[layer.inputs], f[layer.outputs])
        found.append((block.output_ranges(), block.input_ranges()))
    return found


def test_components_are_those_of_a_slow_union():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 40, (2, 25))
    labels = list(range(40))
    for x, y in zip(a, b, strict=True):
        old, new = max(labels[x], labels[y]), min(labels[x], labels[y])
        labels = [new if k == old else k for k in labels]
    order = list(dict.fromkeys(labels))
    expected = [order.index(k) for k in labels]
    np.testing.assert_array_equal(components(40, [(a[:9], b[:9]), (a[9:], b[9:])]), expected)
    np.testing.assert_array_equal(components(3, []), [0, 1, 2])


def test_a_deep_network_is_solved_in_few_sweeps():
    network = _deep()
    found = balance(network)
    assert found.sweeps < 30
    ranges = _ranges(network, found.values)
    for before, after in pairwise(ranges):
        np.testing.assert_allclose(before[0], after[1], rtol=1e-7)


def test_newton_finds_what_sweeps_find():
    network = _deep(depth=4)
    found = balance(network)
    rule = BALANCES["weights"]
    x = np.zeros(len(network.nodes))  # each variable by itself, thousands of times
    for _ in range(3000):
        ranges = _ranges(network, np.exp(x))
        for k, (before, after) in enumerate(pairwise(ranges)):
            own = network.layers[k].outputs
            x[own] += 0.5 * np.log(before[0] / after[1]) * 0.9
    np.testing.assert_allclose(found.values, np.exp(x), rtol=1e-6)
    assert rule.newton


@pytest.mark.parametrize("writers", [1, 2, 3])
@pytest.mark.parametrize("readers", [1, 2, 3])
def test_a_shared_channel_gets_the_geometric_means(writers, readers):
    rng = np.random.default_rng(writers * 7 + readers)
    w, r = np.exp(rng.normal(size=(writers, 4))), np.exp(rng.normal(size=(readers, 4)))
    own, fixed = 1 + np.arange(4), np.zeros(1, np.int64)
    layers = [Layer(Block(row.reshape(1, 1, 4)), fixed, own) for row in w]
    layers += [Layer(Block(row.reshape(4, 1, 1)), own, fixed) for row in r]
    found = balance(Network(np.array([0, 1, 1, 1, 1]), layers, _bounds(5)))
    wanted = np.exp((np.log(w).mean(axis=0) - np.log(r).mean(axis=0)) / 2)
    np.testing.assert_allclose(found.values[1:], wanted, rtol=1e-8)


def test_both_minimizes_the_product_of_activation_and_weight_range():
    """With share 1/2, a channel's activation range and weight range become proportional."""
    a, r = np.float64([1, 4, 0.2]), np.float64([[2, 0.1, 3]])
    own, fixed = 1 + np.arange(3), np.zeros(1, np.int64)
    reader = Layer(Block(r.reshape(3, 1, 1)), own, fixed)
    network = Network(np.array([0, 1, 1, 1]), [reader], _bounds(4), [Extent(own, a)])
    f = balance(network, "both").values[1:]
    ratio = (a / f) / (r[0] * f)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    cost = (a / f).max() * (r[0] * f).max()  # step of activations times step of weights
    rng = np.random.default_rng(0)
    for trial in np.exp(rng.normal(size=(2000, 3))):
        assert (a / trial).max() * (r[0] * trial).max() >= cost * (1 - 1e-9)


def test_a_loop_over_one_channel_changes_nothing():
    """A depthwise layer inside a residual sum of one trunk: the factor cancels."""
    own, fixed = 1 + np.arange(2), np.zeros(1, np.int64)
    layers = [
        Layer(Block(np.float64([4, 1]).reshape(1, 1, 2)), fixed, own),
        Layer(Block(np.float64([100, 0.01]).reshape(1, 2, 1)), own, own),
        Layer(Block(np.float64([1, 1]).reshape(2, 1, 1)), own, fixed),
    ]
    found = balance(Network(np.array([0, 1, 1]), layers, _bounds(3)))
    np.testing.assert_allclose(found.values[1:], [2, 1])


def test_what_does_not_fit_is_refused():
    with pytest.raises(SpecError, match="2 inputs and 3 outputs got 3 and 3"):
        Layer(Block(np.ones((2, 1, 3))), np.arange(3), np.arange(3))
    with pytest.raises(UnknownName, match="balance"):
        balance(_deep(depth=2), "weigths")
