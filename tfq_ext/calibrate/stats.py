"""What calibration remembers of a tensor and of a model: frozen, merges bit for bit, storable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np

from tfq_ext.errors import StatsError
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.numerics.moments import Moments, merge_moments

NO_SAMPLES = "0" * 64  # sample hash of nothing, the neutral element of `combine_hashes`


@dataclass(frozen=True, eq=False)
class TensorStats:
    """Everything that is kept of one activation tensor; `init` state is `TensorStats.empty()`.

    Args:
        count: values seen, NaN and inf among them.
        nan, inf: how many were NaN, and +inf or -inf. All other fields leave them out.
        min, max: exact extremes (inf, -inf if there is no finite value); -0.0 is held as 0.0.
        histogram: all finite values, in 0.8 % bins.
        sample_keys: int64[N], strictly ascending: which samples these statistics contain.
        sample_min, sample_max: float32[N], extremes per sample, in the order of the keys.
        channels: mean and variance along the last axis; None where that axis varies from sample to
            sample or is longer than the observer follows.

    Raises:
        StatsError: fields that contradict each other.
    """

    count: int
    nan: int
    inf: int
    min: float
    max: float
    histogram: Histogram
    sample_keys: np.ndarray
    sample_min: np.ndarray
    sample_max: np.ndarray
    channels: Moments | None

    def __post_init__(self) -> None:
        arrays = {"sample_keys": np.int64, "sample_min": np.float32, "sample_max": np.float32}
        for name, dtype in arrays.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != self.sample_keys.shape or array.ndim != 1:
                raise StatsError(f"{name} must be {np.dtype(dtype)}[N], got {array!r}.")
            array.flags.writeable = False
        if np.any(self.sample_keys[1:] <= self.sample_keys[:-1]):  # np.diff would overflow
            raise StatsError("sample_keys must ascend strictly.")
        finite = self.histogram.total
        if self.count != finite + self.nan + self.inf:
            raise StatsError(
                f"{self.count} values are not {finite} in the histogram, {self.nan} NaN and "
                f"{self.inf} inf."
            )
        ends = (self.sample_min.min(initial=np.inf), self.sample_max.max(initial=-np.inf))
        if (self.min, self.max) != ends or (self.min <= self.max) != (finite > 0):
            raise StatsError(
                f"The extremes [{self.min}, {self.max}] contradict those of the samples, "
                f"[{ends[0]}, {ends[1]}], or the {finite} finite values."
            )

    @classmethod
    def empty(cls) -> TensorStats:
        """Nothing seen; the neutral element of `merge`."""
        keys, ends = np.zeros(0, np.int64), np.zeros(0, np.float32)
        none = Histogram.empty()
        return cls(0, 0, 0, np.inf, -np.inf, none, keys, ends, ends.copy(), Moments.empty())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorStats):
            return NotImplemented
        return all(_same(getattr(self, f), getattr(other, f)) for f in self.__dataclass_fields__)

    __hash__ = None  # type: ignore[assignment]

    def merge(self, other: TensorStats) -> TensorStats:
        """Both together; associative, commutative, exact.

        Raises:
            StatsError: a sample that is in both (a shard counted twice).
        """
        keys, lows, highs = merge_sample_ranges(
            (self.sample_keys, self.sample_min, self.sample_max),
            (other.sample_keys, other.sample_min, other.sample_max),
        )
        return TensorStats(
            count=self.count + other.count,
            nan=self.nan + other.nan,
            inf=self.inf + other.inf,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
            histogram=self.histogram + other.histogram,
            sample_keys=keys,
            sample_min=lows,
            sample_max=highs,
            channels=merge_moments(self.channels, other.channels),
        )


SampleRanges = tuple[np.ndarray, np.ndarray, np.ndarray]  # keys, min, max; all [N]


def merge_sample_ranges(a: SampleRanges, b: SampleRanges) -> SampleRanges:
    """Per-sample extremes of both, by ascending key.

    Raises:
        StatsError: a sample that is in both, or twice in one of them.
    """
    keys, lows, highs = (np.concatenate(pair) for pair in zip(a, b, strict=True))
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    refuse_repeats(keys)
    return keys, lows[order], highs[order]


def refuse_repeats(ascending: np.ndarray) -> None:
    """Raise StatsError if a key of int64[N], ascending, stands there twice."""
    twice = ascending[1:][ascending[1:] == ascending[:-1]]
    if twice.size:
        shown = ", ".join(map(str, twice[:5])) + (", ..." if twice.size > 5 else "")
        raise StatsError(
            f"{twice.size} samples would be counted twice, keys {shown}. Every sample needs a key "
            "of its own, and a shard may be merged only once."
        )


@dataclass(frozen=True, eq=False, repr=False)
class Stats(Mapping[str, TensorStats]):
    """Statistics of the activations of one model over a set of samples.

    Args:
        tensors: by tensor name.
        model: hash of the model that was run; statistics of two models do not merge.
        sample_hash: 64 hex digits, `combine_hashes` of the `hash_sample` of every sample.
    """

    tensors: Mapping[str, TensorStats]
    model: str
    sample_hash: str = NO_SAMPLES

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", dict(self.tensors))
        combine_hashes(self.sample_hash)

    def __getitem__(self, name: str) -> TensorStats:
        try:
            return self.tensors[name]
        except KeyError:
            raise StatsError(
                f"No statistics of a tensor named {name!r}; there are {len(self)}: "
                f"{', '.join(list(self)[:5])}{', ...' if len(self) > 5 else ''}."
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def __repr__(self) -> str:
        return f"Stats({len(self)} tensors, {self.samples} samples, model {self.model[:12]})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stats):
            return NotImplemented
        heads = (self.model, self.sample_hash) == (other.model, other.sample_hash)
        return heads and self.tensors == other.tensors

    __hash__ = None  # type: ignore[assignment]

    @property
    def sample_keys(self) -> np.ndarray:
        """Keys of all samples, int64[N] ascending: those of the tensors together."""
        keys = [t.sample_keys for t in self.tensors.values()]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *keys]))

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.sample_keys)

    def merge(self, other: Stats) -> Stats:
        """Both together; associative, commutative, exact. Tensors of one side only are kept.

        Raises:
            StatsError: another model, or a sample that is in both.
        """
        if self.model != other.model:
            raise StatsError(
                f"Statistics of model {self.model[:12]} and of model {other.model[:12]} do not "
                "merge: observe the samples again with one of them."
            )
        refuse_repeats(np.sort(np.concatenate([self.sample_keys, other.sample_keys])))
        merged = {**self.tensors, **other.tensors}
        for name in self.tensors.keys() & other.tensors.keys():
            merged[name] = self[name].merge(other[name])
        hashes = combine_hashes(self.sample_hash, other.sample_hash)
        return Stats(merged, self.model, hashes)

    def save(self, path: str | PathLike[str]) -> Path:
        """Write `path`.npz and `path`.json; see `stats_file.save`."""
        from tfq_ext.calibrate import stats_file

        return stats_file.save(self, path)

    @staticmethod
    def load(path: str | PathLike[str], *, model: str | None = None) -> Stats:
        """Read what `save` wrote; see `stats_file.load`."""
        from tfq_ext.calibrate import stats_file

        return stats_file.load(path, model=model)


def hash_sample(key: int, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of one sample, 64 hex digits: its key; name, type, shape and bytes of its inputs."""
    digest = hashlib.sha256(str(key).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        digest.update(f"\n{name}\n{array.dtype}\n{array.shape}\n".encode())
        if array.dtype.hasobject:  # strings: the array holds pointers
            digest.update(repr(array.tolist()).encode())
        else:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def combine_hashes(*hashes: str) -> str:
    """Hash of a set of samples: the sum of theirs modulo 2^256, so that no order matters.

    Raises:
        StatsError: something other than 64 hex digits.
    """
    if any(len(h) != 64 or set(h) - set("0123456789abcdef") for h in hashes):
        raise StatsError(f"A sample hash has 64 lower-case hex digits, got {hashes}.")
    return f"{sum(int(h, 16) for h in hashes) % (1 << 256):064x}"


def _same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))  # type: ignore[arg-type]
    return bool(a == b)
