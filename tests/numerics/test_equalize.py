"""Cross-layer equalization: closed forms, laws of the sweeps, and its edges."""

from __future__ import annotations

import numpy as np
import pytest

from tfq_ext.errors import SpecError
from tfq_ext.numerics.equalize import (
    Block,
    Bounds,
    cap_bounds,
    equalize_blocks,
    limit_bounds,
    scaled,
)

RNG = np.random.default_rng(0)


def _weights(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=shape) * np.exp(2 * rng.normal(size=(1, *shape[1:])))


# conv - depthwise - conv - grouped conv - depthwise multiplier 2 - dense: chains that share ends
NET = {
    "conv": _weights(9, 3, 1, 8, seed=1),
    "dw": _weights(9, 1, 8, 1, seed=2),
    "point": _weights(1, 8, 1, 12, seed=3),
    "grouped": _weights(9, 3, 4, 2, seed=4),
    "double": _weights(9, 1, 8, 2, seed=5),
    "dense": _weights(1, 16, 1, 5, seed=6),
}
CHAINS = [
    ("conv", "dw", "point"),
    ("point", "grouped"),
    ("grouped", "double"),
    ("double", "dense"),
]


def _blocks(net):
    return {name: Block.of(w) for name, w in net.items()}


def _apply(net, scales):
    entering = {after: s for (_, after), s in scales.items()}
    leaving = {before: s for (before, _), s in scales.items()}
    return {n: scaled(w, entering.get(n), leaving.get(n)) for n, w in net.items()}


def _run(net, x, f=lambda x: np.maximum(x, 0)):
    """The net on one position, every tap reading the same values, in a loop over channels."""
    for name, w in net.items():
        taps, i, g, o = w.shape
        y = np.zeros(g * o)
        for t, k, n, m in np.ndindex(taps, i, g, o):
            y[n * o + m] += w[t, k, n, m] * x[n * i + k]
        x = f(y) if name != "dense" else y
    return x


def chain_scales(ranges):
    """The scales between layers of given ranges, each channel to itself."""
    names = "abcd"[: len(ranges)]
    blocks = {name: Block.of(r[None, None, :, None]) for name, r in zip(names, ranges, strict=True)}
    return list(equalize_blocks(blocks, [names]).scales.values())


def test_two_layers_have_the_closed_form():
    r1, r2 = np.exp(RNG.normal(size=(2, 50)) * 4)
    (s,) = chain_scales([r1, r2])
    np.testing.assert_allclose(s, np.sqrt(r1 / r2), rtol=1e-12)
    np.testing.assert_allclose(r1 / s, r2 * s, rtol=1e-12)


def test_three_layers_have_the_closed_form():
    r1, r2, r3 = np.exp(RNG.normal(size=(3, 50)) * 4)
    s12, s23 = chain_scales([r1, r2, r3])
    c = np.cbrt(r1 * r2 * r3)
    np.testing.assert_allclose(s12, r1 / c, rtol=1e-12)
    np.testing.assert_allclose(s23, c / r3, rtol=1e-12)
    for r in (r1 / s12, r2 * s12 / s23, r3 * s23):
        np.testing.assert_allclose(r, c, rtol=1e-12)


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_a_dead_channel_keeps_its_weights(dead):
    ranges = np.full((3, 2), 4.0)
    ranges[:, 1] = (1.0, 2.0, 4.0)
    ranges[dead, 0] = 0.0
    assert all(s[0] == 1 and s[1] != 1 for s in chain_scales(list(ranges)))


def test_block_ranges_are_those_of_a_loop():
    w = NET["grouped"]
    block, (taps, i, g, o) = Block.of(w), NET["grouped"].shape
    outputs, inputs = np.zeros(g * o), np.zeros(g * i)
    for t, k, n, m in np.ndindex(taps, i, g, o):
        outputs[n * o + m] = max(outputs[n * o + m], abs(w[t, k, n, m]))
        inputs[n * i + k] = max(inputs[n * i + k], abs(w[t, k, n, m]))
    np.testing.assert_array_equal(block.output_ranges(), outputs)
    np.testing.assert_array_equal(block.input_ranges(), inputs)


@pytest.mark.parametrize("powers_of_two", [False, True])
@pytest.mark.parametrize("slope", [0.0, 0.25, 1.0])
def test_the_function_stays(powers_of_two, slope):
    found = equalize_blocks(_blocks(NET), CHAINS, powers_of_two=powers_of_two)
    x, after = RNG.normal(size=3), _apply(NET, found.scales)
    before, now = (_run(net, x, lambda v: np.where(v > 0, v, slope * v)) for net in (NET, after))
    if powers_of_two:
        np.testing.assert_array_equal(before, now)  # bit for bit
    else:
        np.testing.assert_allclose(now, before, rtol=1e-10)


def test_ranges_are_equal_afterwards():
    found = equalize_blocks(_blocks(NET), CHAINS)
    after = _blocks(_apply(NET, found.scales))
    for (before, reader), s in found.scales.items():
        ratio = after[before].output_ranges() / after[reader].input_ranges()
        assert np.abs(ratio - 1).max() < 1e-6
        assert s.max() / s.min() > 2  # there was something to do


@pytest.mark.parametrize("powers_of_two", [False, True])
def test_a_second_time_is_a_no_op(powers_of_two):
    first = equalize_blocks(_blocks(NET), CHAINS, powers_of_two=powers_of_two)
    second = equalize_blocks(
        _blocks(_apply(NET, first.scales)), CHAINS, powers_of_two=powers_of_two
    )
    for s in second.scales.values():
        np.testing.assert_allclose(s, 1, rtol=0 if powers_of_two else 1e-6)


def test_powers_of_two_leave_less_than_a_factor_of_two_and_a_half_in_a_pair():
    pair = {"a": NET["point"], "b": NET["grouped"]}
    found = equalize_blocks(_blocks(pair), [("a", "b")], powers_of_two=True)
    (s,) = found.scales.values()
    np.testing.assert_array_equal(np.exp2(np.rint(np.log2(s))), s)
    after = _blocks(_apply(pair, found.scales))
    ratio = after["a"].output_ranges() / after["b"].input_ranges()
    assert np.abs(np.log2(ratio)).max() <= 1 + 1e-6  # s off by at most sqrt(2), the ratio by 2


def test_dead_channels_in_a_net_disturb_nobody():
    net = {name: w.copy() for name, w in NET.items()}
    net["conv"][..., 3] = 0  # never written
    net["dense"][:, 5] = 0  # never read
    found = equalize_blocks(_blocks(net), CHAINS)
    assert found.scales[("conv", "dw")][3] == found.scales[("dw", "point")][3] == 1
    assert found.scales[("double", "dense")][5] == 1
    assert all(np.isfinite(s).all() and (s > 0).all() for s in found.scales.values())


@pytest.mark.parametrize("powers_of_two", [False, True])
def test_limit_is_kept(powers_of_two):
    links = {("point", "grouped"): limit_bounds(12, 3.0), ("conv", "dw"): limit_bounds(8, 1.0)}
    found = equalize_blocks(_blocks(NET), CHAINS, bounds=links, powers_of_two=powers_of_two)
    s = found.scales[("point", "grouped")]
    assert s.min() >= 1 / 3 - 1e-12
    assert s.max() <= 3 + 1e-12
    assert s.max() == (2 if powers_of_two else 3)  # the bound binds
    np.testing.assert_array_equal(found.scales[("conv", "dw")], 1)


@pytest.mark.parametrize("powers_of_two", [False, True])
def test_caps_stay_as_they_were(powers_of_two):
    """min(max(x, 0), 6) commutes with the scales on everything that was seen."""
    seen = np.abs(RNG.normal(size=(40, 12))) * np.array([1, 3, 8] * 4)
    bounds = {("point", "grouped"): cap_bounds(seen.max(axis=0))}
    found = equalize_blocks(_blocks(NET), CHAINS, bounds=bounds, powers_of_two=powers_of_two)
    s = found.scales[("point", "grouped")]
    np.testing.assert_allclose(np.minimum(seen / s, 6) * s, np.minimum(seen, 6), rtol=1e-12)
    assert (s[seen.max(axis=0) > 6] == 1).all()
    assert (s < 1).any()  # some channel grows, up to the cap


@pytest.mark.parametrize(
    ("largest", "low", "high"), [(6.0, 1.0, np.inf), (6.0001, 1.0, 1.0), (3.0, 0.5, np.inf)]
)
def test_cap_bounds_at_the_edge(largest, low, high):
    bounds = cap_bounds(np.array([largest]))
    assert (bounds.low[0], bounds.high[0]) == (low, high)


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ([("conv", "point", "grouped")], "inside a chain"),
        ([("conv", "grouped")], "takes 12"),
        ([("conv", "dw"), ("conv", "dw")], "one link only"),
    ],
)
def test_chains_that_cannot_be_are_refused(chains, message):
    with pytest.raises(SpecError, match=message):
        equalize_blocks(_blocks(NET), chains)


def test_bad_values_are_refused():
    with pytest.raises(SpecError, match="limit"):
        limit_bounds(3, 0.5)
    with pytest.raises(SpecError, match="Bounds"):
        Bounds(np.array([1.5]), np.array([2.0]))
    with pytest.raises(SpecError, match="NaN"):
        Block(np.array([[[np.nan]]]))
    with pytest.raises(SpecError, match="block"):
        Block(np.ones((2, 2)))
