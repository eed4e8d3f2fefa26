"""Which samples of a source are used: a limit, a seeded subset, a split. All work on keys.

A stage maps an iterator of keys to an iterator over some of them, in the same order and without
looking ahead, so that one stage serves random access and streams alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count, islice

import numpy as np

from tfq_ext.errors import DataError

Stage = Callable[[Iterator[int]], Iterator[int]]
_BLOCK = 1 << 16


def first(n: int) -> Stage:
    """The first `n` keys."""
    if n < 1:
        raise DataError(f"limit must be 1 or more, got {n}. Leave it out to use every sample.")
    return lambda keys: islice(keys, n)


def among(chosen: Callable[[], frozenset[int]]) -> Stage:
    """The keys in `chosen()`, which is asked once, at the first pass."""
    chosen = cache(chosen)

    def stage(keys: Iterator[int]) -> Iterator[int]:
        wanted = chosen()
        return islice((key for key in keys if key in wanted), len(wanted))

    return stage


def subset(keys: Sequence[int], n: int, seed: int) -> frozenset[int]:
    """The `n` keys with the smallest hash: a uniform subset that depends on keys and seed only.

    Blocks keep memory at O(n) however many keys there are.
    """
    best = np.empty(0, np.int64)
    for start in range(0, len(keys), _BLOCK):
        block = np.asarray(keys[start : start + _BLOCK], np.int64)
        best = np.concatenate([best, block])
        if best.size > n:
            best = best[np.argsort(hash64(best, seed), kind="stable")[:n]]
    return frozenset(best.tolist())


def split_stages(fraction: float, seed: int) -> tuple[Stage, Stage]:
    """Two complementary stages (keep, hold back); either gets a sample once there are two.

    The i-th pick of the smaller side lies at rank floor((i + u_i) / fraction), u_i uniform in
    [0, 1): stratified, so after n samples the smaller side has fraction * n, give or take one or
    two, without knowing n, and no period of the data (ten classes in turn) can line up with it.
    Pick 0 is one of the ranks 0 and 1, which is what makes both sides non-empty.
    """
    if not 0.0 < fraction < 1.0:
        raise DataError(f"split holds back a fraction between 0 and 1, got {fraction}.")
    minor = min(fraction, 1.0 - fraction)
    rare, rest = _side(minor, seed, True), _side(minor, seed, False)
    return (rest, rare) if fraction <= 0.5 else (rare, rest)


def hash64(values: np.ndarray, seed: int) -> np.ndarray:
    """splitmix64 of `seed` and each value: uint64[N].

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014, figure 17.
    """
    z = np.asarray(values).astype(np.uint64) + np.uint64(1)
    z = z * np.uint64(0x9E3779B97F4A7C15) + np.full_like(z, seed % (1 << 64))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(31))


def _side(minor: float, seed: int, rare: bool) -> Stage:
    def stage(keys: Iterator[int]) -> Iterator[int]:
        picks = _picks(minor, seed)
        pick = next(picks)
        for rank, key in enumerate(keys):
            while pick < rank:
                pick = next(picks)
            if (rank == pick) == rare:
                yield key

    return stage


def _picks(minor: float, seed: int) -> Iterator[int]:
    last = -1
    for start in count(0, 1024):
        index = np.arange(start, start + 1024)
        uniform = hash64(index, seed) / 2.0**64
        ranks: np.ndarray = np.floor((index + uniform) / minor).astype(np.int64)
        if start == 0:
            ranks[0] = int(uniform[0] >= 0.5)
        for rank in ranks.tolist():
            last = max(rank, last + 1)  # two may share a rank: 1 / minor is no integer
            yield last
