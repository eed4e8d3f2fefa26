r"""Cross-layer equalization: a factor a channel between two layers, so that both use it alike.

Between layers \( h = f(W_1 x + b_1), \; y = W_2 h + b_2 \) with f positive-homogeneous,
\( f(s x) = s f(x) \), any \( s > 0 \) a channel leaves y as it is:
\( W_1 / s, \; b_1 / s, \; W_2 s \). The s that makes the ranges of both equal is
\( s = \sqrt{r_1 / r_2} \), with \( r_1 = \max |W_1| \) of the channel as output, \( r_2 \) as
input.

Framework-free: weights come as `Block`s, from whatever layout.

Source: Nagel et al. 1906.04721 section 4.1; the chain of any length is the white paper's 2106.08295
triple (section 3.2) written for n layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from tfq_ext.errors import SpecError

Link = tuple[str, str]  # (block whose outputs are divided by s, block whose inputs are multiplied)
CONVERGED = 1e-9  # largest |log s| of a sweep that still counts as movement
SWEEPS = 500
ROUNDINGS = 20  # to powers of two, each time from the last ones, until none changes


@dataclass(frozen=True, eq=False)
class Block:
    """The greatest weight between each input and output channel of a linear layer.

    Args:
        size: float64[I/G, G, O/G], not negative: G groups; input channel g I/G + i, output channel
            g O/G + o. A dense layer or ordinary conv has G = 1, a depthwise conv I/G = 1.
    """

    size: np.ndarray

    def __post_init__(self) -> None:
        if self.size.ndim != 3 or not self.size.size or not (self.size >= 0).all():
            raise SpecError(
                f"A block is float[I/G, G, O/G] of magnitudes >= 0, got {list(self.size.shape)}, "
                f"{'NaN or negative values' if self.size.size else 'empty'}."
            )

    @classmethod
    def of(cls, weights: np.ndarray) -> Block:
        """From weights float[taps, I/G, G, O/G]."""
        return cls(np.abs(np.asarray(weights, np.float64)).max(axis=0))

    @property
    def inputs(self) -> int:
        """Number of input channels."""
        return self.size.shape[0] * self.size.shape[1]

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return self.size.shape[1] * self.size.shape[2]

    @property
    def is_diagonal(self) -> bool:
        """Whether each channel goes to itself alone: depthwise with multiplier 1."""
        return self.size.shape[0] == self.size.shape[2] == 1

    def output_ranges(self) -> np.ndarray:
        """max |W| of each output channel, float64[O]."""
        return np.asarray(self.size.max(axis=0).reshape(-1))

    def input_ranges(self) -> np.ndarray:
        """max |W| of each input channel, float64[I]."""
        return np.asarray(self.size.max(axis=2).T.reshape(-1))

    def scaled(self, before: np.ndarray | None, after: np.ndarray | None) -> Block:
        """With inputs multiplied by `before`, float64[I], and outputs divided by `after`, [O]."""
        return Block(scaled(self.size[None], before, after)[0])


def scaled(weights: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> np.ndarray:
    """Weights with their inputs multiplied and their outputs divided.

    Args:
        weights: float[taps, I/G, G, O/G].
        before: s of the inputs, float64[I]; None is 1.
        after: s of the outputs, float64[O]; None is 1.

    Returns:
        float64[taps, I/G, G, O/G].
    """
    _, i, g, o = weights.shape
    result = np.asarray(weights, np.float64)
    if before is not None:
        result = result * before.reshape(g, i).T[None, :, :, None]
    if after is not None:
        result = result / after.reshape(1, 1, g, o)
    return result


def chain_scales(ranges: Sequence[np.ndarray]) -> list[np.ndarray]:
    r"""The scales between n layers in a row that make all their ranges equal, channel by channel.

    \( c = (r_1 \cdots r_n)^{1/n}, \quad s_1 = r_1 / c, \quad s_{k} = s_{k-1} r_k / c \)

    Two layers: \( s = \sqrt{r_1 / r_2} \). Conv, depthwise, conv: \( s_1 = r_1 / c, s_2 = c / r_3
    \). A channel in which any range is 0 is dead and gets 1.

    Args:
        ranges: n arrays float64[C], n >= 2; those between the first and the last are of layers in
            which channel c goes to channel c alone.

    Returns:
        n - 1 arrays float64[C].
    """
    r = np.asarray(ranges, np.float64)
    alive = (r > 0).all(axis=0)
    logs = np.log(np.where(alive, r, 1.0))
    steps = np.cumsum(logs - logs.mean(axis=0), axis=0)[:-1]
    return [np.where(alive, np.exp(step), 1.0) for step in steps]


@dataclass(frozen=True, eq=False)
class Bounds:
    """Between what a link's scales must lie.

    Args:
        low, high: float64[C], 0 < low <= high; low <= 1 <= high, so that doing nothing is allowed.
    """

    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        if not ((self.low > 0) & (self.low <= 1) & (self.high >= 1)).all():
            raise SpecError("Bounds of scales must satisfy 0 < low <= 1 <= high.")

    def clip(self, s: np.ndarray) -> np.ndarray:
        """The nearest allowed scales."""
        return np.clip(s, self.low, self.high)

    def clip_exponents(self, exponents: np.ndarray) -> np.ndarray:
        """The nearest allowed powers of two."""
        with np.errstate(divide="ignore"):
            low, high = np.ceil(np.log2(self.low)), np.floor(np.log2(self.high))
        return np.clip(exponents, low, high)


def cap_bounds(largest: np.ndarray, cap: float = 6.0) -> Bounds:
    """Scales under which min(x, cap) stays as inactive, or as active, as it was.

    x / s <= cap wherever x <= cap was seen: s >= largest / cap; a channel that was seen above the
    cap keeps s = 1.

    Args:
        largest: greatest value of each channel before the cap, float64[C].
        cap: 6.
    """
    over = largest > cap
    low = np.where(over, 1.0, np.maximum(largest / cap, np.finfo(np.float32).tiny))
    return Bounds(low, np.where(over, 1.0, np.inf))


def limit_bounds(channels: int, limit: float) -> Bounds:
    """Scales from 1 / limit to limit."""
    if not limit >= 1:
        raise SpecError(f"limit must be 1 or more, got {limit}.")
    return Bounds(np.full(channels, 1 / limit), np.full(channels, limit))


@dataclass(frozen=True, eq=False)
class Equalization:
    """The scales of every link.

    Args:
        scales: link -> float64[C].
        sweeps: how many were made.
        moved: largest |log s| of the last sweep; under CONVERGED unless sweeps ran out.
    """

    scales: Mapping[Link, np.ndarray]
    sweeps: int
    moved: float


@dataclass
class _State:
    """Blocks under the scales so far."""

    blocks: Mapping[str, Block]
    chains: Sequence[Sequence[str]]
    bounds: Mapping[Link, Bounds]
    scales: dict[Link, np.ndarray]
    entering: dict[str, Link] = field(default_factory=dict)
    leaving: dict[str, Link] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.entering = {link[1]: link for link in self.scales}
        self.leaving = {link[0]: link for link in self.scales}

    def block(self, name: str) -> Block:
        before, after = self.entering.get(name), self.leaving.get(name)
        return self.blocks[name].scaled(
            None if before is None else self.scales[before],
            None if after is None else self.scales[after],
        )

    def sweep(self) -> float:
        """Equalize every chain once; the largest |log s| of the movement."""
        moved = 0.0
        for chain in self.chains:
            blocks = [self.block(name) for name in chain]
            inner = [block.output_ranges() for block in blocks[:-1]]
            steps = chain_scales([*inner, blocks[-1].input_ranges()])
            for link, step in zip(links_of(chain), steps, strict=True):
                old = self.scales[link]
                new = old * step
                self.scales[link] = self.bounds[link].clip(new) if link in self.bounds else new
                moved = max(moved, float(np.abs(np.log(self.scales[link] / old)).max()))
        return moved


def links_of(chain: Sequence[str]) -> list[Link]:
    """The links between the blocks of a chain."""
    return list(pairwise(chain))


def equalize_blocks(
    blocks: Mapping[str, Block],
    chains: Sequence[Sequence[str]],
    *,
    bounds: Mapping[Link, Bounds] | None = None,
    powers_of_two: bool = False,
    sweeps: int = SWEEPS,
) -> Equalization:
    """Equalize chains that may share their ends, sweep after sweep until nothing moves.

    Args:
        blocks: name -> weights' magnitudes.
        chains: names of two or more blocks in a row; those inside are diagonal. A block ends at
            most one chain and begins at most one.
        bounds: of links; without an entry a scale is free.
        powers_of_two: round each scale to one, so that float outputs stay the same bit for bit.
        sweeps: at most so many.

    Raises:
        SpecError: blocks that do not fit each other.
    """
    links = [link for chain in chains for link in links_of(chain)]
    _check(blocks, chains, links)
    ones = {link: np.ones(blocks[link[0]].outputs) for link in links}
    state = _State(blocks, chains, bounds or {}, ones)
    done, moved = _settle(state, sweeps)
    if not powers_of_two:
        return Equalization(state.scales, done, moved)
    for _ in range(ROUNDINGS):
        rounded = {link: _rounded(s, state.bounds.get(link)) for link, s in state.scales.items()}
        state.scales = dict(rounded)
        done += _settle(state, sweeps)[0]
        again = {link: _rounded(s, state.bounds.get(link)) for link, s in state.scales.items()}
        if all(np.array_equal(again[link], rounded[link]) for link in links):
            break
    return Equalization(rounded, done, 0.0)


def _settle(state: _State, sweeps: int) -> tuple[int, float]:
    moved = 0.0
    for k in range(sweeps):
        moved = state.sweep()
        if moved < CONVERGED:
            return k + 1, moved
    return sweeps, moved


def _rounded(s: np.ndarray, bounds: Bounds | None) -> np.ndarray:
    exponents = np.rint(np.log2(s))
    return np.asarray(np.exp2(exponents if bounds is None else bounds.clip_exponents(exponents)))


def _check(
    blocks: Mapping[str, Block], chains: Sequence[Sequence[str]], links: Sequence[Link]
) -> None:
    for before, after in links:
        if blocks[before].outputs != blocks[after].inputs:
            raise SpecError(
                f"{before} has {blocks[before].outputs} outputs, {after} takes "
                f"{blocks[after].inputs}."
            )
    inner = [name for chain in chains for name in chain[1:-1]]
    if any(not blocks[name].is_diagonal for name in inner):
        raise SpecError("Only diagonal blocks (depthwise, multiplier 1) may stand inside a chain.")
    if len({a for a, _ in links}) < len(links) or len({b for _, b in links}) < len(links):
        raise SpecError("A block's outputs and inputs may each belong to one link only.")
