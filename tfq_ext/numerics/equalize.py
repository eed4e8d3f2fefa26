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
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.numerics.blocks import Block, Bounds, cap_bounds, limit_bounds, scaled
from tfq_ext.numerics.factors import SWEEPS, Layer, Network, balance

Link = tuple[str, str]  # (block whose outputs are divided by s, block whose inputs are multiplied)


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
    first = dict(zip(links, np.cumsum([1, *(blocks[a].outputs for a, _ in links)]), strict=False))
    network = _network(blocks, chains, bounds or {}, first)
    done = balance(network, powers_of_two=powers_of_two, sweeps=sweeps)
    scales = {link: done.values[k : k + blocks[link[0]].outputs] for link, k in first.items()}
    return Equalization(scales, done.sweeps, done.moved)


def _network(
    blocks: Mapping[str, Block],
    chains: Sequence[Sequence[str]],
    bounds: Mapping[Link, Bounds],
    first: Mapping[Link, int],
) -> Network:
    """The chains as variables: number 0 stays 1, then those of each link from `first` on."""
    sizes = {link: blocks[link[0]].outputs for link in first}
    nodes = np.repeat(np.arange(len(first) + 1), [1, *sizes.values()])
    low, high = np.ones((2, len(nodes)))
    low[1:], high[1:] = np.finfo(np.float32).tiny, np.inf
    for link, bound in bounds.items():
        where = slice(first[link], first[link] + sizes[link])
        low[where], high[where] = bound.low, bound.high
    for chain in chains:
        dead = np.flatnonzero(_dead([blocks[name] for name in chain]))
        for link in links_of(chain):
            low[first[link] + dead] = high[first[link] + dead] = 1.0
    entering, leaving = {link[1]: link for link in first}, {link[0]: link for link in first}

    def variables(link: Link | None, count: int) -> np.ndarray:
        return np.zeros(count, np.int64) if link is None else first[link] + np.arange(count)

    used = list(dict.fromkeys(name for chain in chains for name in chain))
    layers = [
        Layer(
            blocks[name],
            variables(entering.get(name), blocks[name].inputs),
            variables(leaving.get(name), blocks[name].outputs),
        )
        for name in used
    ]
    return Network(nodes, layers, Bounds(low, high))


def _dead(chain: Sequence[Block]) -> np.ndarray:
    """Channels in which a range of the chain is 0: there all scales stay 1; bool[C]."""
    ranges = [*(block.output_ranges() for block in chain[:-1]), chain[-1].input_ranges()]
    return np.asarray(np.min(ranges, axis=0) == 0)


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


__all__ = [
    "Block",
    "Bounds",
    "Equalization",
    "Link",
    "cap_bounds",
    "equalize_blocks",
    "limit_bounds",
    "links_of",
    "scaled",
]
