"""Equalization of a flatbuffer leaves what it computes, and evens what it should."""

from __future__ import annotations

import numpy as np
import pytest
from equalize_nets import NETS, feed, relative
from one_op import run

from tfq_ext.errors import DataError, UnknownName
from tfq_ext.numerics.factors import BALANCES
from tfq_ext.repair.equalize import channel_maxima, equalize
from tfq_ext.samples.spec import Sample


def _samples(model, count=4):
    return [Sample(k, feed(model, seed=k)) for k in range(count)]


def _maxima(model, balance):
    return channel_maxima(model, _samples(model)) if BALANCES[balance].needs_extents else None


def _after(maxima, factors):
    """The maxima of the equalized model: measuring them anew would add rounding noise."""
    return maxima and {n: m / factors.get(n, 1) for n, m in maxima.items()}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("balance", BALANCES)
def test_the_function_stays_and_a_second_time_is_a_no_op(name, balance):
    make, groups = NETS[name]
    model = make()
    before, maxima = model.to_bytes(), _maxima(model, balance)
    done = equalize(model, balance=balance, maxima=maxima)
    assert model.to_bytes() == before
    assert len(done.links) == groups, done.notes
    assert max(link.factors[1] / link.factors[0] for link in done.links) > 3
    assert relative(model, done.model, feed(model, seed=9)) < 1e-5
    again = equalize(done.model, balance=balance, maxima=_after(maxima, done.factors))
    for f in again.factors.values():
        np.testing.assert_allclose(f, 1, rtol=1e-6)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("balance", BALANCES)
def test_powers_of_two_leave_every_bit(name, balance):
    model = NETS[name][0]()
    maxima = _maxima(model, balance)
    done = equalize(model, balance=balance, maxima=maxima, power_of_two=True)
    assert any((f != 1).any() for f in done.factors.values())
    for f in done.factors.values():
        np.testing.assert_array_equal(np.exp2(np.rint(np.log2(f))), f)
    feeds = feed(model, seed=9)
    for a, b in zip(run(model.to_bytes(), feeds), run(done.model.to_bytes(), feeds), strict=True):
        np.testing.assert_array_equal(a, b)
    again = equalize(
        done.model, balance=balance, maxima=_after(maxima, done.factors), power_of_two=True
    )
    assert not again.factors


@pytest.mark.parametrize("name", NETS)
def test_activations_are_divided_by_the_factors_that_it_tells(name):
    model = NETS[name][0]()
    done = equalize(model)
    old, new = (channel_maxima(m, _samples(m)) for m in (model, done.model))
    for tensor, f in done.factors.items():
        if tensor in old:
            np.testing.assert_allclose(new[tensor] * f, old[tensor], rtol=1e-3, atol=1e-5)


def _ranges(model, name):
    """max |W| of each output channel and of each input channel of an ordinary layer."""
    graph = model.graphs[0]
    w = np.abs(np.asarray(graph.constant(graph.by_name[f"{name}/w"])))
    return w.max(axis=tuple(range(1, w.ndim))), w.max(axis=tuple(range(w.ndim - 1)))


def test_a_triple_has_equal_ranges():
    model = equalize(NETS["triple"][0]()).model
    c = _ranges(model, "a")[0]
    np.testing.assert_allclose(_ranges(model, "b")[1], c, rtol=1e-6)
    np.testing.assert_allclose(_ranges(model, "c")[1], c, rtol=1e-6)
    flat = _ranges(model, "d")[1].reshape(-1, 6).max(axis=0)  # the image's channels
    np.testing.assert_allclose(flat, _ranges(model, "c")[0], rtol=1e-6)


def test_a_trunk_has_equal_geometric_means():
    model = equalize(NETS["trunk"][0]()).model
    written = [_ranges(model, n)[0] for n in ("a", "b2", "c2")]
    read = [_ranges(model, n)[1] for n in ("b1", "c1", "y")]
    means = [np.log(r).mean(axis=0) for r in (written, read)]
    np.testing.assert_allclose(*means, atol=1e-6)


def test_without_trunks_what_forks_stays():
    model = NETS["trunk"][0]()
    done = equalize(model, trunks=False)
    assert {link.writers for link in done.links} == {("b1/w",), ("c1/w",)}
    assert set(done.factors) == {"b1", "c1"}
    assert relative(model, done.model, feed(model)) < 1e-5
    assert any("3 layers write it, 3 read it" in note for note in done.notes)


def test_activations_reach_equally_far_afterwards():
    model = NETS["trunk"][0]()
    maxima = _maxima(model, "activations")
    done = equalize(model, balance="activations", maxima=maxima)
    after = channel_maxima(done.model, _samples(model))
    np.testing.assert_allclose(after["b1"], maxima["b1"].max(), rtol=1e-4)  # alone in its node
    tied = np.log([after[t] / after[t].max() for t in ("a", "b2", "s1", "c2", "s2", "m")]).mean(
        axis=0
    )
    np.testing.assert_allclose(tied, tied[0], atol=1e-3)


def test_both_is_smoothquant_where_one_layer_reads():
    model = NETS["trunk"][0]()
    maxima = _maxima(model, "both")
    for share in (0.25, 0.5):
        done = equalize(model, balance="both", maxima=maxima, share=share)
        read = _ranges(done.model, "b2")[1] / done.factors["b1"]  # before its own inputs moved
        wanted = maxima["b1"] ** share / read ** (1 - share)
        np.testing.assert_allclose(np.ptp(np.log(done.factors["b1"] / wanted)), 0, atol=1e-5)
        reach = (maxima["b1"] / done.factors["b1"]).max()
        np.testing.assert_allclose(reach, maxima["b1"].max(), rtol=1e-6)


def test_a_limit_is_kept():
    model = NETS["triple"][0]()
    done = equalize(model, limit=1.5)
    ends = [link.factors for link in done.links]
    assert min(low for low, _ in ends) == pytest.approx(1 / 1.5)
    assert max(high for _, high in ends) == pytest.approx(1.5)
    assert relative(model, done.model, feed(model)) < 1e-5


def test_what_is_missing_is_said():
    model = NETS["triple"][0]()
    with pytest.raises(DataError, match="channel_maxima"):
        equalize(model, balance="both")
    with pytest.raises(DataError, match="channel_maxima"):
        equalize(model, relu6="bound")
    with pytest.raises(DataError, match="a has 8 channels; maxima are of 3"):
        equalize(model, balance="both", maxima={"a": np.ones(3)})
    with pytest.raises(UnknownName, match="balance"):
        equalize(model, balance="weight")
    with pytest.raises(DataError, match="no sample"):
        channel_maxima(model, [])
