"""The observation run: samples through the float pivot, statistics of every tensor, one pass."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfq_ext.calibrate.accumulator import Accumulator, observe_many
from tfq_ext.calibrate.stats import NO_SAMPLES, Stats, combine_hashes, hash_sample
from tfq_ext.errors import DataError
from tfq_ext.samples.spec import Sample
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Model, digest
from tfq_ext.tflite.run import Keeper

CHECKPOINT_EVERY = 200  # samples


def observe(
    pivot: Model,
    samples: Iterable[Sample],
    *,
    threads: int = 2,
    checkpoint: Path | None = None,
) -> Stats:
    """Run all samples and gather statistics of every float activation.

    Args:
        pivot: float model, tensor names unique.
        samples: checked samples, each with a key of its own.
        threads: for LiteRT and for the statistics.
        checkpoint: where partial statistics are kept (.npz + .json): read when it exists, so that
            the samples in it are skipped; written every 200 samples and on interruption.

    Returns:
        Stats by tensor name; derived tensors (PAD, RESHAPE, ...) have none of their own.

    Raises:
        DataError: there was no sample.
        StatsError: the checkpoint is of another model.
    """
    model_hash = digest(pivot.to_bytes())
    stats = _resume(checkpoint, model_hash)
    seen = set(stats.sample_keys.tolist())
    run = _Run(pivot, threads)
    try:
        for sample in samples:
            if sample.key in seen:
                continue
            run.add(sample)
            if checkpoint and run.count % CHECKPOINT_EVERY == 0:
                stats.merge(run.freeze(model_hash)).save(checkpoint)
    except KeyboardInterrupt:
        if checkpoint and run.count:
            stats.merge(run.freeze(model_hash)).save(checkpoint)
        raise
    stats = stats.merge(run.freeze(model_hash))
    if not stats.samples:
        raise DataError("There was no sample to calibrate on. Give at least one; 100 is usual.")
    if checkpoint and run.count:
        stats.save(checkpoint)
    return stats


def _resume(checkpoint: Path | None, model_hash: str) -> Stats:
    if checkpoint is not None and Path(f"{checkpoint}.json").exists():
        return Stats.load(checkpoint, model=model_hash)
    return Stats({}, model_hash)


class _Run:
    """Interpreters by signature and accumulators by tensor, while the samples pass."""

    def __init__(self, pivot: Model, threads: int):
        self._pivot, self._threads = pivot, threads
        self._keepers: dict[str, Keeper] = {}
        self._watched: dict[str, list[tuple[int, str]]] = {}
        self._accumulators: dict[str, Accumulator] = {}
        self._hash = NO_SAMPLES
        self.count = 0

    def add(self, sample: Sample) -> None:
        """One sample through its signature."""
        keeper = self._keeper(sample.signature)
        read = keeper.invoke(sample.inputs)
        views = {name: read(i) for i, name in self._watched[sample.signature]}
        observe_many(self._accumulators, views, sample.key, threads=self._threads)
        self._hash = combine_hashes(self._hash, hash_sample(sample.key, sample.inputs))
        self.count += 1

    def _keeper(self, signature: str) -> Keeper:
        if signature not in self._keepers:
            keeper = Keeper(self._pivot, signature=signature or None, threads=self._threads)
            self._keepers[signature] = keeper
            graph = keeper.graph
            self._watched[signature] = [(i, graph.name(i)) for i in observed(graph)]
        return self._keepers[signature]

    def freeze(self, model_hash: str) -> Stats:
        """Statistics so far."""
        tensors = {name: a.freeze() for name, a in self._accumulators.items()}
        return Stats(tensors, model_hash, self._hash)
