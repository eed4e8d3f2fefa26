"""The fast, mutable way to gather `TensorStats`: one pass over the data, nothing allocated."""

from __future__ import annotations

import os
from array import array
from collections.abc import Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache

import numpy as np

from tfq_ext.calibrate.stats import TensorStats, refuse_repeats
from tfq_ext.errors import StatsError
from tfq_ext.numerics.exact import SQUARES, SUMS, Adder
from tfq_ext.numerics.histogram import BINS, Histogram, nonfinite_bins
from tfq_ext.numerics.moments import Moments

MAX_CHANNELS = 16384  # 264 bytes of exact sums a channel: 4.3 MB; beyond it channels is None
_COUNTER = 1 << 32  # the counters of the hot loop are uint32


class Accumulator:
    """Statistics of one tensor in the making: `add` every sample, then `freeze`.

    It equals folding `OBSERVERS["full"].update` over the samples, bit for bit, in any order. Not
    safe for two threads at once.
    """

    def __init__(self) -> None:
        from tfq_ext.numerics import scan  # numba

        self._scan = scan.scan
        self._counts = np.zeros((scan.LANES, scan.STRIDE), np.uint32)
        self._pending = 0  # values in _counts, which must not wrap
        self._flushed: np.ndarray | None = None
        self._keys, self._lows, self._highs = array("q"), array("f"), array("f")
        self._count = self._nan = self._inf = 0
        self._channels: int | None = 0  # 0: nothing seen yet; None: they vary
        self._resize(1)

    def _resize(self, channels: int) -> None:
        self._n = np.zeros(channels, np.int64)
        self._sums, self._squares = np.zeros(channels), np.zeros(channels)
        self._exact = Adder(channels, SUMS), Adder(channels, SQUARES)

    def add(self, key: int, x: np.ndarray) -> None:
        """Take in one sample.

        Args:
            key: identifies the sample, -2^63 <= key < 2^63. Repeats are found out by `freeze`.
            x: the tensor's values, any shape, channels last. C-contiguous aligned float32 is read
                in place; other layouts, other floats, integers and bool are copied to it (float64
                beyond its range counts as inf, integers beyond 2^24 are rounded).

        Raises:
            StatsError: x has another dtype, or 2^32 elements or more.
        """
        values = as_float32(x)
        self._keys.append(key)
        flat = values.reshape(-1)
        self._open(values)
        lo, hi, bad = self._scan(flat, self._counts, self._sums, self._squares)
        if bad:
            lo, hi = self._scan_again(flat)
        elif flat.size:
            self._n += flat.size // self._n.size
        self._lows.append(lo + 0.0)  # -0.0 becomes 0.0
        self._highs.append(hi + 0.0)
        self._count += flat.size
        if flat.size and self._channels:
            self._exact[0].add(self._sums)
            self._exact[1].add(self._squares)

    def _open(self, values: np.ndarray) -> None:
        """Make room for the sample: counters that cannot wrap, sums for its channels."""
        if self._pending + values.size >= _COUNTER:
            self._flushed, self._pending = self._totals(), 0
            self._counts[:] = 0
        self._pending += values.size
        channels = values.shape[-1] if values.ndim else 1
        if values.size == 0 or channels == self._channels or self._channels is None:
            return
        follow = self._channels == 0 and channels <= MAX_CHANNELS
        self._channels = channels if follow else None
        self._resize(channels if follow else 1)

    def _scan_again(self, flat: np.ndarray) -> tuple[float, float]:
        """The pass for a sample with NaN or inf: count those, clear their bins, redo the rest."""
        finite, nan = np.isfinite(flat), int(np.isnan(flat).sum())
        self._nan += nan
        self._inf += flat.size - nan - int(finite.sum())
        self._counts[:, nonfinite_bins()] = 0
        self._n += finite.reshape(-1, self._n.size).sum(axis=0)
        clean = np.where(finite, flat, np.float32(0))
        self._scan(clean, np.zeros_like(self._counts), self._sums, self._squares)
        real = flat[finite]
        return real.min(initial=np.inf), real.max(initial=-np.inf)

    def _totals(self) -> np.ndarray:
        counts = np.zeros(BINS, np.int64) if self._flushed is None else self._flushed.copy()
        for lane in self._counts:
            counts += lane[:BINS]
        return counts

    def freeze(self) -> TensorStats:
        """What has been added so far; the accumulator may go on.

        Raises:
            StatsError: a key was added twice.
        """
        keys = np.array(self._keys, np.int64)
        order = np.argsort(keys, kind="stable")
        refuse_repeats(keys[order])
        lows, highs = np.array(self._lows, np.float32), np.array(self._highs, np.float32)
        return TensorStats(
            count=self._count,
            nan=self._nan,
            inf=self._inf,
            min=float(lows.min(initial=np.inf)),
            max=float(highs.max(initial=-np.inf)),
            histogram=Histogram(self._totals()),
            sample_keys=keys[order],
            sample_min=lows[order],
            sample_max=highs[order],
            channels=self._moments(),
        )

    def _moments(self) -> Moments | None:
        if self._channels is None:
            return None
        if self._channels == 0:
            return Moments.empty()
        sums, squares = self._exact
        return Moments(self._n.copy(), sums.freeze(), squares.freeze())


def as_float32(x: np.ndarray) -> np.ndarray:
    """`x` itself if it is C-contiguous aligned float32, else a copy that is.

    Raises:
        StatsError: x is not real numbers, or has 2^32 elements or more.
    """
    x = np.asarray(x)
    plain = x.dtype == np.float32 and x.flags.c_contiguous and x.flags.aligned
    if plain and x.size < _COUNTER:
        return x
    if x.dtype.kind not in "fiub" or x.size >= _COUNTER:
        raise StatsError(
            f"Statistics are taken of real numbers, fewer than 2^32 a sample, got {x.dtype}"
            f"{list(x.shape)}."
        )
    with np.errstate(over="ignore"):
        return np.require(x, np.float32, ["C", "A"])


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="tfq-observe")


if hasattr(os, "register_at_fork"):  # a forked child inherits the pool but not its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def observe_many(
    accumulators: MutableMapping[str, Accumulator],
    views: Mapping[str, np.ndarray],
    key: int,
    *,
    threads: int = 2,
) -> None:
    """Add one sample of many tensors; the result does not depend on `threads`.

    Args:
        accumulators: by tensor name; those that are missing are made.
        views: by tensor name, as `Accumulator.add` takes them. None is held after the return.
        key: identifies the sample.
        threads: how many work at once (the pass holds no GIL).
    """
    for name in views.keys() - accumulators.keys():
        accumulators[name] = Accumulator()
    work = [(accumulators[name], x) for name, x in views.items()]
    if threads == 1:
        return _add_all(work, key)
    work.sort(key=lambda pair: -pair[1].size)
    shares: list[list[tuple[Accumulator, np.ndarray]]] = [[] for _ in range(threads)]
    loads = [0] * threads
    for pair in work:  # largest first, each to the least loaded thread
        least = loads.index(min(loads))
        shares[least].append(pair)
        loads[least] += pair[1].size + 4096  # a call costs about as much as 4096 elements
    others = [_pool(threads - 1).submit(_add_all, share, key) for share in shares[1:]]
    try:
        _add_all(shares[0], key)
    finally:  # nobody may still read a view when the caller runs the model again
        wait(others)
    for other in others:
        other.result()
    return None


def _add_all(pairs: list[tuple[Accumulator, np.ndarray]], key: int) -> None:
    for accumulator, x in pairs:
        accumulator.add(key, x)
