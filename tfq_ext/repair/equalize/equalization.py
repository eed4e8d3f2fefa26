"""Cross-layer equalization of a float flatbuffer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.numerics.factors import BALANCES, Factors, balance
from tfq_ext.repair.equalize.absorption import Extremes, absorb
from tfq_ext.repair.equalize.apply import Constants, scale_graph
from tfq_ext.repair.equalize.chains import TREATMENTS, Found, Maxima, find
from tfq_ext.tflite.read import Model

STILL = 1e-7  # |log f| below which a factor is 1: float32 weights could not tell


@dataclass(frozen=True, eq=False)
class Link:
    """Layers that use their common channels alike now.

    Args:
        writers, readers: names of their weights.
        channels: how many share a factor one by one.
        factors: least and greatest.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    channels: int
    factors: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Equalized:
    """What `equalize` did.

    Args:
        model: the new model; the old one is as it was.
        links: groups of layers that were free to move.
        notes: one sentence for each layer whose output keeps its scale, and why.
        factors: activation tensor -> what its channels were divided by, float64[C]; without
            those that stayed.
        absorbed: activation tensor -> what was then subtracted from its channels, float64[C].
        freed: tensors whose ReLU6 became ReLU: the float output may differ where they exceed 6.
        sweeps: at most so many over a subgraph.
    """

    model: Model
    links: tuple[Link, ...]
    notes: tuple[str, ...]
    factors: Mapping[str, np.ndarray]
    absorbed: Mapping[str, np.ndarray]
    freed: tuple[str, ...]
    sweeps: int


def equalize(
    model: Model,
    *,
    relu6: str = "skip",
    maxima: Maxima | None = None,
    balance: str = "weights",
    share: float = 0.5,
    power_of_two: bool = False,
    trunks: bool = True,
    limit: float | None = None,
    extremes: Extremes | None = None,
) -> Equalized:
    r"""Scale the channels between layers so that what quantizes them is used alike.

    A channel of an activation is divided by f; the layers that write it, with their biases, by f
    too, and those that read it multiplied by f. The float outputs stay (to rounding; bit for bit
    with `power_of_two`), unless `relu6="relu"` lets activations exceed 6.

    Args:
        model: float; not changed.
        relu6: of TREATMENTS.
        maxima: activation tensor -> max |x| of each channel (see `channel_maxima`). Needed by
            relu6 "bound" and "up", and by the balances "activations" and "both". Channels under a
            cap may grow until these reach 6: samples beyond them are cut then (on the demo network
            58 dB of float SQNR on new images), so make them greater for a margin.
        balance: of numerics.factors.BALANCES.
        share: of activations in the balance "both".
        power_of_two: factors that are powers of two.
        trunks: also equalize tensors that several layers write or read (residual sums, branches).
        limit: factors lie between 1 / limit and limit; None: free, and only then is a second
            application certain to change nothing. With the balance "weights"
            channels of weights near 0 otherwise get activations far greater than before.
        extremes: of channels, as they are before; where given, high biases are absorbed as the
            last step (see `absorb`).

    Raises:
        DataError: maxima are needed and absent, or of other channels.

    Source: Nagel et al. 1906.04721 section 4.1; see numerics/factors.py.
    """
    treatment, rule = TREATMENTS[relu6], BALANCES[balance]
    if maxima is None and (treatment.bound or rule.needs_extents):
        raise DataError(f"relu6={relu6!r}, balance={balance!r} need maxima: see channel_maxima.")
    model = model.copy()
    found = [find(graph, treatment, maxima or {}, trunks=trunks) for graph in model.graphs]
    constants, links, freed, sweeps = Constants(), [], [], 0
    moved: dict[str, np.ndarray] = {}
    for each in found:
        solved = _factors(each, maxima or {}, balance, share, power_of_two, limit)
        freed += scale_graph(each, solved.values, constants)
        links += _links(each, solved.values)
        moved |= _moved(each, solved.values)
        sweeps = max(sweeps, solved.sweeps)
    notes = tuple(note for each in found for note in _notes(each))
    done = absorb(model, _divided(extremes or {}, moved))
    return Equalized(
        done.model, tuple(links), notes + done.notes, moved, done.amounts, tuple(freed), sweeps
    )


def _divided(extremes: Extremes, factors: Mapping[str, np.ndarray]) -> Extremes:
    return {
        name: (low / factors.get(name, 1.0), high / factors.get(name, 1.0))
        for name, (low, high) in extremes.items()
    }


def _factors(
    found: Found, maxima: Maxima, by: str, share: float, power_of_two: bool, limit: float | None
) -> Factors:
    """The factors of one subgraph; those that hardly differ from 1 are 1."""
    network = found.network(maxima, limit)
    done = balance(network, by, share=share, powers_of_two=power_of_two)
    still = np.abs(np.log(done.values)) < STILL
    return Factors(np.where(still, 1.0, done.values), done.sweeps, done.moved)


def _links(found: Found, factors: np.ndarray) -> list[Link]:
    """One for each node that layers write and read and that is free."""
    nodes, variables = found.settled.nodes, found.settled.variables
    free = found.bounds.low < found.bounds.high
    sides: list[dict[int, list[str]]] = [{}, {}]
    for layer in found.layers:
        for side, ids in zip(sides, (layer.outputs, layer.inputs), strict=True):
            side.setdefault(int(nodes[variables[ids[0]]]), []).append(layer.name)
    links = []
    for node in sorted(sides[0].keys() & sides[1].keys()):
        f = factors[(nodes == node) & free]
        if f.size:
            ends = float(f.min()), float(f.max())
            links.append(Link(tuple(sides[0][node]), tuple(sides[1][node]), f.size, ends))
    return links


def _moved(found: Found, factors: np.ndarray) -> dict[str, np.ndarray]:
    graph, ties = found.graph, found.settled.ties
    every = {graph.name(t): factors[found.settled.of(t)] for t in ties.live()}
    return {name: f for name, f in every.items() if (f != 1).any()}


def _notes(found: Found) -> list[str]:
    """Why layers, or their outputs, keep their scale."""
    notes = [f"{name} is not scaled: {why}." for name, why in found.why.items()]
    for layer in found.layers:
        if why := found.settled.why(found.settled.of(layer.out)):
            notes.append(f"The output of {layer.name} keeps its scale: {why}.")
    return notes
