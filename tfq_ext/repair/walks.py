"""Walks along the quantized prefix, one a subgraph: ranges are judged, weights rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from tfq_ext.emit.patched.kernels import fixed_grid
from tfq_ext.repair.auto import Trial
from tfq_ext.repair.drafts import Draft, producer_code
from tfq_ext.repair.layerwise import Values, walkable
from tfq_ext.repair.prefix import PrefixJudge, judges_that_fit
from tfq_ext.repair.rebuild import Rebuilder
from tfq_ext.repair.watch import Watch
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import QParams, Range
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import input_tensors

REBUILD_BYTES = 4 * 2**30  # what the live tensors of all samples may take


@dataclass(frozen=True)
class Rebuild:
    """What happens to the weights while the prefix is walked.

    Args:
        of: subgraph -> what to call before each op; None: nothing to do there.
        samples: further ones that the weights see and that judge no range.
    """

    of: Callable[[Graph], Rebuilder | None]
    samples: Iterable[Sample] = ()


@dataclass(frozen=True)
class Walks:
    """One walk a subgraph: ranges are judged, weights rebuilt."""

    pivot: Model
    rounded: Model
    held_back: Sequence[Sample]
    rebuild: Rebuild | None
    threads: int
    watch: Watch

    def judge(self, drafts: Sequence[Draft], open_: Sequence[Draft]) -> None:
        """Settle the open drafts."""
        by_trial = {id(d.trial): d for d in open_}
        for graph in self.pivot.graphs:
            before = self.rebuild.of(graph) if self.rebuild and walkable(graph) else None
            mine = [d for d in drafts if d.graph is graph]
            trials = {d.grid.sources[0]: d.trial for d in mine if id(d.trial) in by_trial}
            if not (trials or before):
                continue
            for trial, name, chosen, noise in self._walk(graph, mine, trials, before):
                draft = by_trial[id(trial)]
                draft.noise = {name: noise}
                draft.settle(name, chosen)

    def _walk(
        self,
        graph: Graph,
        drafts: Sequence[Draft],
        trials: Mapping[int, Trial | None],
        before: Rebuilder | None,
    ) -> Iterable[tuple[Trial, str, Range, float]]:
        judges = list(islice(feeds_of(self.pivot, graph, self.held_back), judges_that_fit(graph)))
        feeds = judges
        if self.rebuild and before:
            more = feeds_of(self.pivot, graph, self.rebuild.samples)
            room = judges_that_fit(graph, REBUILD_BYTES) - len(judges)
            feeds = [*judges, *islice(more, max(room, 0))]
        if not feeds:
            return ()
        grids = {t: g for d in drafts if d.grid.sources[0] not in trials for t, g in _decided(d)}
        walk = PrefixJudge(
            graph,
            self.rounded.graphs[graph.index],
            feeds,
            {t: trial for t, trial in trials.items() if trial is not None},
            grids,
            judges=len(judges),
            between=before,
            threads=self.threads,
        )
        walk.walk.kept |= before.kept if before else set()
        if before:  # weights take longer than ranges, and there may be none of these to choose
            return walk.run(self.watch)
        return self.watch(walk.run(), label="choosing ranges", total=len(trials))


def _decided(draft: Draft) -> Iterator[tuple[int, QParams]]:
    """Grids that the prefix must honour: prescribed, fixed by a rule, or judged apart."""
    code = producer_code(draft.graph, draft.grid.tensors[0])
    grid = fixed_grid(code, "int8")
    if grid is None:
        grid = QParams.from_range(
            draft.spec, draft.range or Range.of(draft.dist.min, draft.dist.max)
        )
    return ((t, grid) for t in draft.grid.tensors)


def feeds_of(pivot: Model, graph: Graph, samples: Iterable[Sample]) -> Iterator[Values]:
    """The subgraph's inputs, one mapping a sample; copies, for samples may share their memory."""
    for sample in samples:
        if pivot.graph_of(sample.signature or None) is graph:
            names = input_tensors(pivot, sample.signature or None)
            yield {t: np.array(sample.inputs[n]) for n, t in names.items()}
