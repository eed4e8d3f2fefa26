r"""Equalization on any graph: one positive factor a channel, shared by all that must share it.

A variable v is a set of channels, of one tensor or of many, that only a common factor f may
divide: the channels that a pooling, a ReLU, a residual sum or a concatenation ties together. A
layer stands between its input variables and its output variables:
\( W_{oi} \gets W_{oi} \, f_i / f_o \). Variables whose factor must be 1 have bounds [1, 1].

Works on \( x = \log f \) and on \( \log |W| \), where a scaled range is a sum.

Source: Nagel et al. 1906.04721 section 4.1 for the pair; the graph is ours. Activations against
weights: Xiao et al. 2211.10438 (SmoothQuant) equation 4, whose s is our f.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import spsolve

from tfq_ext._table import Table
from tfq_ext.errors import SpecError
from tfq_ext.numerics.blocks import Block, Bounds

CONVERGED = 1e-9  # largest |log f| of a sweep that still counts as movement
SWEEPS = 500
ROUNDINGS = 20  # to powers of two, each time from the last ones, until none changes


def components(count: int, edges: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Which of `count` items belong together: int64[count], components in order of first items.

    Args:
        count: number of items.
        edges: (int64[n], int64[n]) pairs of arrays; a[k] belongs to b[k].
    """
    a, b = (np.concatenate([np.zeros(0, np.int64), *(edge[k] for edge in edges)]) for k in (0, 1))
    graph = coo_matrix((np.ones(len(a), np.int8), (a, b)), shape=(count, count))
    labels = connected_components(graph, directed=False)[1].astype(np.int64)
    _, first = np.unique(labels, return_index=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return order[labels]


@dataclass(frozen=True, eq=False)
class Layer:
    """A linear layer between variables.

    Args:
        block: its weights' magnitudes.
        inputs: int64[I], the variable of each input channel.
        outputs: int64[O], of each output channel.
    """

    block: Block
    inputs: np.ndarray
    outputs: np.ndarray

    def __post_init__(self) -> None:
        if len(self.inputs) != self.block.inputs or len(self.outputs) != self.block.outputs:
            raise SpecError(
                f"A layer of {self.block.inputs} inputs and {self.block.outputs} outputs got "
                f"{len(self.inputs)} and {len(self.outputs)} variables."
            )


@dataclass(frozen=True, eq=False)
class Extent:
    """How far the channels of one activation tensor reach.

    Args:
        variables: int64[C].
        largest: max |x| of each channel, float64[C]; 0 is a dead one.
    """

    variables: np.ndarray
    largest: np.ndarray


@dataclass(frozen=True, eq=False)
class Network:
    """Variables and what hangs on them.

    Args:
        nodes: int64[V], the node of each variable: those of the tensors that are tied together.
            All inputs of a layer, all its outputs, and an extent lie in one node each.
        layers: in order of execution.
        bounds: of every variable's factor.
        extents: of activation tensors; needed by the balances that look at activations.
    """

    nodes: np.ndarray
    layers: Sequence[Layer]
    bounds: Bounds
    extents: Sequence[Extent] = ()


@dataclass(frozen=True, eq=False)
class Factors:
    """What `balance` found.

    Args:
        values: f of every variable, float64[V].
        sweeps: how many were made.
        moved: largest |log f| of the last sweep.
    """

    values: np.ndarray
    sweeps: int
    moved: float


def balance(
    network: Network,
    by: str = "weights",
    *,
    share: float = 0.5,
    powers_of_two: bool = False,
    sweeps: int = SWEEPS,
) -> Factors:
    r"""The factors that make a network's ranges alike.

    Args:
        network: variables, layers, bounds.
        by: of BALANCES. "weights": the ranges of a channel in the layers that write it and in
            those that read it, \( f = \sqrt{r_1 / r_2} \), as geometric means over layers where
            there are several. "activations": the channels of a tensor, \( f = a / \max a \).
            "both": a channel's activations and the weights that read it,
            \( f = a^\alpha / r_2^{1 - \alpha} \), for grids with one scale a tensor on
            activations and one a channel on weights; nodes that diagonal layers alone read, as
            "activations", since those layers' grids follow any factor.
        share: alpha.
        powers_of_two: round factors to powers of two, so that float results stay the same bits.
        sweeps: at most so many.
    """
    state = _State(network, share)
    rule = BALANCES[by]
    done, moved = _settle(state, rule, sweeps)
    if not powers_of_two:
        return Factors(network.bounds.clip(np.exp(state.x)), done, moved)
    for _ in range(ROUNDINGS):
        rounded = _rounded(state, rule)
        state.x = rounded.copy()
        done += _settle(state, rule, sweeps)[0]
        if np.array_equal(_rounded(state, rule), rounded):
            break
    return Factors(np.exp2(np.rint(rounded / np.log(2))), done, 0.0)


def _settle(state: _State, rule: Rule, sweeps: int) -> tuple[int, float]:
    """Sweep until nothing moves, with a Newton step before each sweep once the ranges are near."""
    moved = before = np.inf
    for k in range(sweeps):
        moved = state.sweep(rule)
        if moved < CONVERGED:
            return k + 1, moved
        if rule.newton and moved < before:
            state.newton()
        before = moved
    return sweeps, moved


def _rounded(state: _State, rule: Rule) -> np.ndarray:
    """Logarithms of powers of two; upwards where a channel's activations must not grow."""
    exponents = state.x / np.log(2)
    rounded = np.ceil(exponents - 1e-6) if rule.upwards else np.rint(exponents)
    return np.asarray(state.network.bounds.clip_exponents(rounded) * np.log(2))


class _State:
    """Logarithms of the factors so far, and the ranges under them."""

    def __init__(self, network: Network, share: float) -> None:
        self.network, self.share = network, share
        count = len(network.nodes)
        self.x = np.zeros(count)
        with np.errstate(divide="ignore"):
            self.sizes = [np.log(layer.block.size) for layer in network.layers]
            self.low, self.high = np.log(network.bounds.low), np.log(network.bounds.high)
        self.members = _members(network.nodes)
        self.place = np.empty(count, np.int64)  # of a variable within its node
        for members in self.members:
            self.place[members] = np.arange(len(members))
        self.writers: list[list[int]] = [[] for _ in self.members]
        self.readers: list[list[int]] = [[] for _ in self.members]
        self.loops = [  # where the factor cancels
            layer.block.is_diagonal and np.array_equal(layer.inputs, layer.outputs)
            for layer in network.layers
        ]
        for k, layer in enumerate(network.layers):
            if not self.loops[k]:
                self.writers[network.nodes[layer.outputs[0]]].append(k)
                self.readers[network.nodes[layer.inputs[0]]].append(k)
        self.extents = self._extents()
        self.active = [
            n for n, members in enumerate(self.members) if (self.low < self.high)[members].any()
        ]

    def _extents(self) -> list[list[tuple[np.ndarray, np.ndarray]]]:
        """node -> (places of variables, log of the greatest |x| of their channels) a tensor."""
        found: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in self.members]
        for extent in self.network.extents:
            largest = np.zeros(len(self.x))
            np.maximum.at(largest, extent.variables, extent.largest)
            alive = np.flatnonzero(largest)
            if alive.size:
                node = int(self.network.nodes[alive[0]])
                found[node].append((self.place[alive], np.log(largest[alive])))
        return found

    def reach(self, n: int) -> np.ndarray:
        """log of how far each channel would reach at f = 1, over how far its tensor reaches now.

        Mean over tensors; NaN: unknown, or no activation at all.
        """
        x = self.x[self.members[n]]
        total, seen = np.zeros((2, len(x)))
        for places, logs in self.extents[n]:
            total[places] += logs - (logs - x[places]).max()
            seen[places] += 1
        return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)

    def sweep(self, rule: Rule) -> float:
        """Move every node once, the last first; the largest movement."""
        moved = 0.0
        for n in reversed(self.active):
            members = self.members[n]
            new = np.clip(rule.target(self, n), self.low[members], self.high[members])
            moved = max(moved, float(np.abs(new - self.x[members]).max()))
            self.x[members] = new
        return moved

    def written(self, n: int) -> np.ndarray:
        """log of the weights' range that writes each variable of a node; NaN: none."""
        return self._mean(n, [(self._out(k), self._layer(k).outputs) for k in self.writers[n]])

    def read(self, n: int, *, diagonal: bool = True) -> np.ndarray:
        """log of the weights' range that reads each variable of a node; NaN: none."""
        chosen = [k for k in self.readers[n] if diagonal or not self._layer(k).block.is_diagonal]
        return self._mean(n, [(self._in(k), self._layer(k).inputs) for k in chosen])

    def newton(self) -> None:
        r"""Solve \( r_1 = r_2 \) for all variables at once, with the greatest weights of now.

        Sweeps alone need thousands where a network is deep: a factor common to all channels
        travels one layer a sweep.
        """
        count = len(self.x)
        every = np.arange(count)
        rows, columns, shares = [every], [every], [np.full(count, 2.0)]
        gap, sides = np.zeros(count), np.zeros((2, count), bool)
        for side, pick in enumerate((self._greatest_in, self._greatest_out)):
            found = [pick(k) for k in range(len(self.sizes)) if not self.loops[k]]
            layers = np.bincount(np.concatenate([own for own, _, _ in found]), minlength=count)
            for own, partner, value in found:
                gap[own] += (2 * side - 1) * value / layers[own]
                rows.append(own)
                columns.append(partner)
                shares.append(-1 / layers[own])
            sides[side] = layers > 0
        free = sides.all(axis=0) & (self.low < self.high)
        free &= ~((self.x <= self.low) & (gap < 0)) & ~((self.x >= self.high) & (gap > 0))
        entries = np.concatenate(shares), (np.concatenate(rows), np.concatenate(columns))
        matrix = coo_matrix(entries, shape=(count, count)).tocsr()[free][:, free]
        step = spsolve(matrix.tocsc(), gap[free])
        if np.isfinite(step).all():
            self.x[free] = np.clip(self.x[free] + step, self.low[free], self.high[free])

    def _greatest_out(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(output variables, the input variable of the greatest weight to each, its log)."""
        layer, (i, g, _) = self._layer(k), self.sizes[k].shape
        weights = self.sizes[k] + self.x[layer.inputs].reshape(g, i).T[:, :, None]
        at = weights.argmax(axis=0)
        partner = layer.inputs.reshape(g, i)[np.arange(g)[:, None], at].reshape(-1)
        values = np.take_along_axis(weights, at[None], 0).reshape(-1) - self.x[layer.outputs]
        return _greatest(layer.outputs, partner, values)

    def _greatest_in(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(input variables, the output variable of the greatest weight from each, its log)."""
        layer, (_, g, o) = self._layer(k), self.sizes[k].shape
        weights = self.sizes[k] - self.x[layer.outputs].reshape(1, g, o)
        at = weights.argmax(axis=2)
        partner = layer.outputs.reshape(g, o)[np.arange(g)[None, :], at].T.reshape(-1)
        values = np.take_along_axis(weights, at[:, :, None], 2)[..., 0].T.reshape(-1)
        return _greatest(layer.inputs, partner, values + self.x[layer.inputs])

    def _layer(self, k: int) -> Layer:
        return self.network.layers[k]

    def _out(self, k: int) -> np.ndarray:
        size, layer = self.sizes[k], self._layer(k)
        i, g, _ = size.shape
        entering = self.x[layer.inputs].reshape(g, i).T[:, :, None]
        return np.asarray((size + entering).max(axis=0).reshape(-1) - self.x[layer.outputs])

    def _in(self, k: int) -> np.ndarray:
        size, layer = self.sizes[k], self._layer(k)
        _, g, o = size.shape
        leaving = self.x[layer.outputs].reshape(1, g, o)
        return np.asarray((size - leaving).max(axis=2).T.reshape(-1) + self.x[layer.inputs])

    def _mean(self, n: int, found: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """Mean over layers of the greatest value at each variable, where that is finite."""
        total, seen = np.zeros(len(self.members[n])), np.zeros(len(self.members[n]))
        for values, variables in found:
            each = np.full(len(total), -np.inf)
            np.maximum.at(each, self.place[variables], values)
            alive = np.isfinite(each)
            total[alive] += each[alive]
            seen += alive
        return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def _greatest(
    own: np.ndarray, partner: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of several channels of one variable the one of the greatest finite value."""
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    own, last = np.unique(own[order][::-1], return_index=True)
    chosen = order[::-1][last]
    return own, partner[chosen], values[chosen]


def _members(nodes: np.ndarray) -> list[np.ndarray]:
    """The variables of each node."""
    order = np.argsort(nodes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(nodes))[:-1]) if len(nodes) else []


def _by_weights(state: _State, n: int) -> np.ndarray:
    x = state.x[state.members[n]]
    step = (state.written(n) - state.read(n)) / 2
    return np.where(np.isnan(step), x, x + step)


def _by_activations(state: _State, n: int) -> np.ndarray:
    """Every channel as far as the farthest one reaches now."""
    x, reach = state.x[state.members[n]], state.reach(n)
    known = np.isfinite(reach)
    return np.where(known, reach - (reach - x)[known].max(initial=-np.inf), x)


def _by_both(state: _State, n: int) -> np.ndarray:
    """As `_by_activations` where only diagonal layers read; the farthest channel stays there."""
    x, reach = state.x[state.members[n]], state.reach(n)
    weights = state.read(n, diagonal=False) - x
    known = np.isfinite(reach) & np.isfinite(weights)
    if not known.any():
        return _by_activations(state, n)
    wanted = state.share * reach - (1 - state.share) * weights
    shift = (reach - wanted)[known].max() - (reach - x)[known].max()
    return np.where(known, wanted + shift, x)


@dataclass(frozen=True)
class Rule:
    """Where a node's variables should go.

    Args:
        target: (state, node) -> log f of its variables.
        upwards: whether rounding a factor down would let activations reach farther.
        needs_extents: whether it looks at activations.
        newton: whether a Newton step on equal ranges helps.
    """

    target: Callable[[_State, int], np.ndarray]
    upwards: bool
    needs_extents: bool
    newton: bool


BALANCES: Table[Rule] = Table(
    "balance",
    {
        "weights": Rule(_by_weights, False, False, True),
        "activations": Rule(_by_activations, True, True, False),
        "both": Rule(_by_both, True, True, False),
    },
)
