"""Samples: a source, what is taken from it, and the checks on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from tfq_ext.errors import DataError
from tfq_ext.samples.checks import Account, Watch, checked
from tfq_ext.samples.digest import Digest
from tfq_ext.samples.preprocess import Preprocess
from tfq_ext.samples.select import Stage, first, hash64, split_stages
from tfq_ext.samples.source import ONE_SHOT, Indexed, Source, through
from tfq_ext.samples.spec import InputSpec, Sample, by_signature
from tfq_ext.samples.spill import MAX_BYTES, spilled


class Samples:
    """Checked samples, streamed; iterate as often as the source allows (see `one_shot`).

    Memory is that of one sample, whatever their number. Every sample that comes out has passed
    `checks.checked`; remarks gather in `notes`, warnings are given once, at the end of a pass.
    """

    def __init__(
        self,
        source: Source,
        inputs: Sequence[InputSpec],
        *,
        preprocess: Preprocess | None = None,
        label: Callable[[int], object] | None = None,
        stages: tuple[Stage, ...] = (),
        account: Account | None = None,
    ):
        self.source = source
        self.inputs = tuple(inputs)
        self._preprocess = preprocess
        self._label = label  # by key, in place of the source's own
        self._stages = stages
        self._account = account or Account()
        self._memo: list[int] | None = None  # chosen keys, once the source's are known

    def __iter__(self) -> Iterator[Sample]:
        groups, watch = by_signature(self.inputs), Watch()
        values = None if self.source.preprocessed else self._preprocess
        for raw in self.source.pick(self._stages):
            sample = self._labelled(raw)
            sample = checked(sample, groups[sample.signature], values, self._account.note)
            watch.see(sample)
            yield sample
        if not watch.samples:
            raise DataError(
                f"{self.source.what}: no samples came. Representative data need at least one; "
                "check the path, the filter, or whether a generator was used up before."
            )
        watch.report(self._account)

    def __len__(self) -> int:
        if self.count is None:
            raise TypeError(f"{self.source.what}: the number of samples is unknown; see .count.")
        return self.count

    def __bool__(self) -> bool:
        return True

    @property
    def count(self) -> int | None:
        """Number of samples, None while unknown (streams, before a whole pass)."""
        chosen = self._chosen()
        return None if chosen is None else len(chosen)

    @property
    def labels(self) -> list[object] | None:
        """The label of every sample in order, without reading the samples; None if unknown."""
        label, chosen = self._label or getattr(self.source, "label", None), self._chosen()
        return None if label is None or chosen is None else [label(key) for key in chosen]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the labels where the source has them (class folders)."""
        return getattr(self.source, "classes", ())

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks gathered so far, for the report."""
        return tuple(self._account.notes)

    @property
    def one_shot(self) -> bool:
        """Whether a second pass is impossible; `reusable()` remedies it."""
        return self.source.one_shot

    def keys(self) -> Sequence[int]:
        """The key of every sample in order; a stream is counted by a pass that keeps nothing."""
        known = self._chosen()
        if known is None and self._memo is None:
            self._memo = [sample.key for sample in self.source.pick(self._stages)]
        return known if known is not None else self._memo or []

    def limit(self, n: int) -> Samples:
        """The first `n` samples."""
        return self.narrowed(first(n))

    def split(self, fraction: float, seed: int = 0) -> tuple[Samples, Samples]:
        """(keep, hold back): disjoint, together everything, each non-empty from two samples on.

        Args:
            fraction: share held back, over 0 and under 1, met within one or two samples.
            seed: which ones.
        """
        if self.one_shot:
            raise DataError(ONE_SHOT.format(what=self.source.what))
        if self.count == 1:
            raise DataError(f"{self.source.what}: one sample cannot be split; give two or more.")
        keep, hold = split_stages(fraction, seed)
        return self.narrowed(keep), self.narrowed(hold)

    def ahead(self, threads: int) -> Samples:
        """The same samples; image files are read and decoded by so many threads in advance."""
        if not isinstance(self.source, Indexed) or not self.source.names or threads < 2:
            return self
        return Samples(
            replace(self.source, threads=threads),
            self.inputs,
            preprocess=self._preprocess,
            label=self._label,
            stages=self._stages,
            account=self._account,
        )

    def permuted(self, seed: int = 0) -> Samples:
        """The same samples in an order drawn with the seed; itself where the source is a stream."""
        if not isinstance(self.source, Indexed):
            return self
        keys = np.asarray(self._kept(self.source.index), np.int64)
        order = keys[np.argsort(hash64(keys, seed), kind="stable")].tolist()
        return Samples(
            replace(self.source, index=order),
            self.inputs,
            preprocess=self._preprocess,
            label=self._label,
            account=self._account,
        )

    def digest(self, n: int | None = None) -> str:
        """sha256 of the first `n` samples (all by default); takes a pass, see `Digest`."""
        if self.one_shot:
            raise DataError(
                f"{self.source.what} can be read only once: add samples to a Digest during that "
                "pass, or call .reusable() first."
            )
        digest = Digest()
        for sample in islice(self, n):
            digest.add(sample)
        return digest.hexdigest()

    def materialise(self, limit: int | None = None, *, max_bytes: int = MAX_BYTES) -> Samples:
        """The samples on disk, preprocessed and checked; gone on `close()` or at exit."""
        chosen = self if limit is None else self.limit(limit)
        kept = spilled(chosen, what=self.source.what, max_bytes=max_bytes, classes=self.classes)
        return Samples(kept, self.inputs, account=self._account)

    def reusable(self, *, max_bytes: int = MAX_BYTES) -> Samples:
        """Samples that can be read again: itself, or for one pass only, kept on disk."""
        return self.materialise(max_bytes=max_bytes) if self.one_shot else self

    def close(self) -> None:
        """Remove what `materialise` put on disk (also of everything derived from it)."""
        if isinstance(self.source, Indexed):
            self.source.close()

    def __enter__(self) -> Samples:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def narrowed(self, stage: Stage) -> Samples:
        """Only the samples that one more stage lets through."""
        return Samples(
            self.source,
            self.inputs,
            preprocess=self._preprocess,
            label=self._label,
            stages=(*self._stages, stage),
            account=self._account,
        )

    def _labelled(self, sample: Sample) -> Sample:
        if self._label is None:
            return sample
        return Sample(sample.key, sample.inputs, sample.signature, self._label(sample.key))

    def _chosen(self) -> Sequence[int] | None:
        keys = self.source.keys()
        return None if keys is None else self._kept(keys)

    def _kept(self, keys: Sequence[int]) -> Sequence[int]:
        if not self._stages:
            return keys
        if self._memo is None:
            self._memo = list(through(self._stages, iter(keys)))
        return self._memo
