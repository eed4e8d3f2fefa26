"""Statistics and recipe to the range of every activation grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tfq_ext.calibrate.choosers import AUTO, AUTO_CANDIDATES, parse
from tfq_ext.calibrate.stats import Stats, TensorStats
from tfq_ext.numerics.histogram import Histogram
from tfq_ext.recipe import Recipe
from tfq_ext.repair.auto import Trial, judge
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QSpec, Range
from tfq_ext.tflite.facts import FIXED_OUTPUT
from tfq_ext.tflite.grids import Grid, shared_grids
from tfq_ext.tflite.read import Graph, Model


@dataclass(frozen=True)
class RangeChoice:
    """The range of one grid, and where it came from.

    Args:
        tensors: names of all tensors that share it.
        sources: those whose values made it, with their own observed ranges.
        range: what was chosen, in units of the tensor.
        calibrator: which rule; "auto" is resolved to the candidate that won.
        observed: exact min and max over the sources.
        outside: share of observed values beyond the range, 0..1.
        noise: relative squared error at the consumers, by candidate (auto only).
        joined: op codes that force tensors with values of their own onto this grid.
    """

    tensors: tuple[str, ...]
    sources: Mapping[str, Range]
    range: Range
    calibrator: str
    observed: Range
    outside: float
    noise: Mapping[str, float]
    joined: tuple[str, ...] = ()

    @property
    def spread(self) -> float:
        """Width of the shared range over that of the narrowest source: bits lost = log2 of it."""
        narrowest = min((r.width for r in self.sources.values()), default=0.0)
        return self.range.width / narrowest if narrowest > 0 else 1.0


@dataclass(frozen=True)
class Pooled:
    """Several tensors' values as one distribution."""

    min: float
    max: float
    histogram: Histogram
    sample_min: np.ndarray
    sample_max: np.ndarray

    @classmethod
    def of(cls, parts: list[TensorStats]) -> Pooled:
        """Histograms add; per-sample extremes pair up where the samples are the same."""
        histogram = parts[0].histogram
        for part in parts[1:]:
            histogram = histogram + part.histogram
        same = all(np.array_equal(p.sample_keys, parts[0].sample_keys) for p in parts)
        mins = [p.sample_min for p in parts]
        maxs = [p.sample_max for p in parts]
        return cls(
            min(p.min for p in parts),
            max(p.max for p in parts),
            histogram,
            np.minimum.reduce(mins) if same else np.concatenate(mins),
            np.maximum.reduce(maxs) if same else np.concatenate(maxs),
        )

    def outside(self, r: Range) -> float:
        """Share of the values beyond `r` (bin resolution, 0.8 %)."""
        centers, counts = self.histogram.values()
        beyond = (centers > r.max * 1.004) | (centers < r.min * 1.004)
        return float(counts[beyond].sum() / max(counts.sum(), 1))


@dataclass
class _Draft:
    graph: Graph
    grid: Grid
    dist: Pooled
    spec: QSpec
    calibrator: str
    range: Range | None
    names: list[str]
    trial: Trial | None = None


def choose_ranges(
    pivot: Model,
    stats: Stats,
    recipe: Recipe,
    held_back: Iterable[Sample],
    *,
    fixed: Mapping[str, Range] | None = None,
    threads: int = 2,
) -> tuple[list[RangeChoice], frozenset[int]]:
    """The range of every grid that has statistics.

    Args:
        pivot: float model.
        stats: of the calibration samples.
        recipe: calibrators, overrides, 8 or 16 bits.
        held_back: samples that judge `auto`'s candidates; not part of `stats`.
        fixed: tensor name -> range that is known (exact input quantization).
        threads: for LiteRT.

    Returns:
        choices in graph order, and the indices of the recipe's rules that were used.
    """
    drafts, used = _drafts(pivot, stats, recipe, fixed or {})
    trials = [d.trial for d in drafts if d.trial is not None]
    if trials:
        judge(pivot, trials, held_back, threads=threads)
    return [_settle(d, stats) for d in drafts], used


def _drafts(
    pivot: Model, stats: Stats, recipe: Recipe, fixed: Mapping[str, Range]
) -> tuple[list[_Draft], frozenset[int]]:
    drafts, used = [], frozenset[int]()
    for graph in pivot.graphs:
        for grid in shared_grids(graph):
            parts = [stats[n] for n in _names(graph, grid.sources) if n in stats]
            parts = [p for p in parts if p.histogram.total]
            if not parts:
                continue
            draft, rules = _draft(graph, grid, Pooled.of(parts), recipe, fixed)
            used |= rules
            drafts.append(draft)
    return drafts, used


def _draft(
    graph: Graph, grid: Grid, dist: Pooled, recipe: Recipe, fixed: Mapping[str, Range]
) -> tuple[_Draft, frozenset[int]]:
    names = list(_names(graph, grid.tensors))
    calibrator, chosen, rules = _asked(graph, grid, recipe)
    spec = INT16_ACTIVATION if recipe.activations.bits == 16 else INT8_ACTIVATION
    for name in names:
        if name in fixed:
            calibrator, chosen = "exact input", fixed[name]
    draft = _Draft(graph, grid, dist, spec, calibrator, chosen, names)
    if chosen is None and calibrator == AUTO:
        draft.trial = _trial(draft)
    return draft, rules


def _asked(
    graph: Graph, grid: Grid, recipe: Recipe
) -> tuple[str, Range | None, frozenset[int]]:
    """What the recipe wants for a grid: the member that a rule names speaks for all."""
    outputs = set(graph.outputs)
    choices = [
        recipe.for_tensor(
            graph.name(t), _producer_code(graph, t), is_output=t in outputs
        )
        for t in grid.tensors
    ]
    rules = frozenset[int]().union(*(c.rules for c in choices))
    speaker = next((c for c in choices if c.rules), choices[0])
    return speaker.calibrator, speaker.range, rules


def _producer_code(graph: Graph, tensor: int) -> str:
    k = graph.producer.get(tensor)
    return "" if k is None else graph.code(graph.ops[k])


def _trial(draft: _Draft) -> Trial | None:
    """Distinct candidates; None where there is nothing to choose (one value, prescribed grid)."""
    if _producer_code(draft.graph, draft.grid.tensors[0]) in FIXED_OUTPUT:
        return None
    found: dict[tuple[float, float], tuple[str, Range]] = {}
    for text in ("minmax", *AUTO_CANDIDATES):
        r = parse(text).choose(draft.dist, draft.spec)
        found.setdefault((round(r.min, 6), round(r.max, 6)), (text, r))
    if len(found) < 2:
        return None
    names, ranges = zip(*found.values(), strict=True)
    return Trial(draft.graph, draft.grid, draft.spec, ranges, names)


def _settle(draft: _Draft, stats: Stats) -> RangeChoice:
    calibrator, chosen, noise = draft.calibrator, draft.range, {}
    if chosen is None and draft.trial is not None:
        best = draft.trial.best
        calibrator, chosen = draft.trial.names[best], draft.trial.ranges[best]
        noise = dict(zip(draft.trial.names, draft.trial.noise.tolist(), strict=True))
    elif chosen is None:
        calibrator = "minmax" if calibrator == AUTO else calibrator
        chosen = parse(calibrator).choose(draft.dist, draft.spec)
    graph = draft.graph
    own = {n: Range.of(stats[n].min, stats[n].max) for n in _names(graph, draft.grid.sources)
           if n in stats and stats[n].histogram.total}
    return RangeChoice(
        tensors=tuple(draft.names),
        sources=own,
        range=_wide_enough(chosen),
        calibrator=calibrator,
        observed=Range.of(draft.dist.min, draft.dist.max),
        outside=draft.dist.outside(chosen),
        noise=noise,
        joined=tuple(dict.fromkeys(graph.code(graph.ops[k]) for k in draft.grid.joined)),
    )


def _wide_enough(r: Range) -> Range:
    """TensorFlow's quantizer widens ranges up to 1e-6 by 1e-6 at both ends: so do we, first."""
    return r if r.width > 1e-6 else Range(r.min - 1e-6, r.max + 1e-6)


def _names(graph: Graph, tensors: Iterable[int]) -> Iterator[str]:
    return (graph.name(t) for t in tensors)
