"""The observation run: samples through the float pivot, statistics of every tensor, one pass."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from math import prod
from pathlib import Path
from queue import SimpleQueue

from tfq_ext.calibrate.accumulator import Accumulator, observe_many
from tfq_ext.calibrate.stats import (
    NO_SAMPLES,
    Stats,
    TensorStats,
    combine_hashes,
    hash_sample,
)
from tfq_ext.errors import DataError, StatsError
from tfq_ext.samples.spec import Sample, owned
from tfq_ext.tflite.grids import observed
from tfq_ext.tflite.read import Model, digest
from tfq_ext.tflite.run import Keeper, is_stateful

CHECKPOINT_EVERY = 200  # samples
_KEPT_BYTES = 1 << 30  # of activations in all workers together; a larger model gets fewer of them


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
        threads: samples that are worked on at once, each by an interpreter of its own as long as
            their activations stay below 1 GiB together; the result does not depend on it.
        checkpoint: where partial statistics are kept (.npz + .json): read when it exists, so that
            the samples in it are skipped; written every 200 samples and on interruption.

    Returns:
        Stats by tensor name; derived tensors (PAD, RESHAPE, ...) have none of their own.

    Raises:
        DataError: there was no sample.
        StatsError: the checkpoint is of another model or of other samples.
    """
    content = pivot.to_bytes()
    model_hash = digest(content)
    stats = _resume(checkpoint, model_hash)
    seen = set(stats.sample_keys.tolist())
    again = NO_SAMPLES
    crew = _Crew(pivot, content, threads)
    try:
        for sample in samples:
            if sample.key in seen:
                again = combine_hashes(again, hash_sample(sample.key, sample.inputs))
                continue
            crew.add(sample)
            if checkpoint and crew.count % CHECKPOINT_EVERY == 0:
                stats.merge(crew.freeze(model_hash)).save(checkpoint)
        _check_same(again, stats, checkpoint)
        stats = stats.merge(crew.freeze(model_hash))
    except KeyboardInterrupt:
        if checkpoint and crew.whole:
            stats.merge(crew.freeze(model_hash)).save(checkpoint)
        raise
    finally:
        crew.close()
    if not stats.samples:
        raise DataError("There was no sample to calibrate on. Give at least one; 100 is usual.")
    if checkpoint and crew.count:
        stats.save(checkpoint)
    return stats


def _check_same(again: str, stats: Stats, checkpoint: Path | None) -> None:
    """Raise StatsError unless the samples that were skipped are those of the checkpoint."""
    if again != stats.sample_hash:
        raise StatsError(
            f"The checkpoint {checkpoint} holds statistics of other samples than these (other "
            "data, preprocessing, limit, seed or calibrator). Delete it, or name another."
        )


def _resume(checkpoint: Path | None, model_hash: str) -> Stats:
    if checkpoint is not None and Path(f"{checkpoint}.json").exists():
        return Stats.load(checkpoint, model=model_hash)
    return Stats({}, model_hash)


class _Crew:
    """Workers that take whole samples: each runs one on its own thread, then reads it while it is
    warm in that core's cache. A third faster on two cores than two threads for one sample, as
    statistics need not wait for LiteRT's threads to go to sleep.
    """

    def __init__(self, pivot: Model, content: bytes, threads: int):
        workers = _workers(pivot, threads)
        self._runs = [_Run(pivot, content, threads // workers) for _ in range(workers)]
        self._idle: SimpleQueue[_Run] = SimpleQueue()
        for run in self._runs:
            self._idle.put(run)
        self._pool = ThreadPoolExecutor(workers, "tfq-worker") if workers > 1 else None
        self._pending: deque[Future[None]] = deque()
        self.count = 0
        self.whole = True  # no sample is half taken in

    def add(self, sample: Sample) -> None:
        """Take in one sample; errors of earlier ones are raised here or by `freeze`."""
        self.count += 1
        if self._pool is None:
            self.whole = False
            self._runs[0].add(sample)
            self.whole = True
            return
        for run in self._runs:  # here, as opening silences warnings, which no other thread may do
            run.keeper(sample.signature)
        if len(self._pending) == 2 * len(self._runs):
            self._pending.popleft().result()
        # A generator may fill the same array again before its values have been read.
        self._pending.append(self._pool.submit(self._work, owned(sample)))
        return

    def _work(self, sample: Sample) -> None:
        run = self._idle.get()
        try:
            run.add(sample)
        finally:
            self._idle.put(run)

    def freeze(self, model_hash: str) -> Stats:
        """Statistics of all samples so far."""
        while self._pending:
            self._pending.popleft().result()
        tensors: dict[str, TensorStats] = {}
        for run in self._runs:
            for name, accumulator in run.accumulators.items():
                mine = accumulator.freeze()
                tensors[name] = tensors[name].merge(mine) if name in tensors else mine
        hashes = combine_hashes(*(run.hash for run in self._runs))
        return Stats(tensors, model_hash, hashes)

    def close(self) -> None:
        """Wait for what is under way and end the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


def _workers(pivot: Model, threads: int) -> int:
    """How many samples may be worked on at once, each on its own interpreter."""
    if is_stateful(pivot):  # a new interpreter for every sample, opened by the calling thread
        return 1
    kept = sum(4 * prod(graph.shape(i)) for graph in pivot.graphs for i in observed(graph))
    return max(1, min(threads, _KEPT_BYTES // max(abs(kept), 1)))


class _Run:
    """Interpreters by signature and accumulators by tensor, while the samples pass."""

    def __init__(self, pivot: Model, content: bytes, threads: int):
        self._pivot, self._content, self._threads = pivot, content, threads
        self._keepers: dict[str, Keeper] = {}
        self._watched: dict[str, list[tuple[int, str]]] = {}
        self.accumulators: dict[str, Accumulator] = {}
        self.hash = NO_SAMPLES

    def add(self, sample: Sample) -> None:
        """One sample through its signature."""
        read = self.keeper(sample.signature).invoke(sample.inputs)
        views = {name: read(i) for i, name in self._watched[sample.signature]}
        observe_many(self.accumulators, views, sample.key, threads=self._threads)
        self.hash = combine_hashes(self.hash, hash_sample(sample.key, sample.inputs))

    def keeper(self, signature: str) -> Keeper:
        """The interpreter of one signature, opened on first use."""
        if signature not in self._keepers:
            keeper = Keeper(
                self._pivot,
                signature=signature or None,
                threads=self._threads,
                content=self._content,
            )
            graph = keeper.graph
            self._watched[signature] = [(i, graph.name(i)) for i in observed(graph)]
            self._keepers[signature] = keeper
        return self._keepers[signature]
