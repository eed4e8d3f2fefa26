"""Statistics and recipe to the range of every activation grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tfq_ext.calibrate.choosers import AUTO, AUTO_CANDIDATES, parse
from tfq_ext.calibrate.stats import Stats
from tfq_ext.recipe import Recipe
from tfq_ext.repair.auto import Trial, judge
from tfq_ext.repair.drafts import Draft, producer_code
from tfq_ext.repair.ends import ends
from tfq_ext.repair.layerwise import walkable
from tfq_ext.repair.pooled import Pooled
from tfq_ext.repair.walks import Rebuild, Walks
from tfq_ext.repair.watch import Watch, unwatched
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, NO_RANGE, QSpec, Range
from tfq_ext.tflite.facts import FIXED_OUTPUT
from tfq_ext.tflite.grids import Grid, shared_grids
from tfq_ext.tflite.read import Graph, Model

FLOAT = "float"  # as a calibrator: no range, so that the tensor is not quantized
TRAINED = "trained"  # as a calibrator: by quantization-aware training
MARGIN_16 = 4.0  # 16 bits resolve 2 bits more than needed; new images reach past the calibrated max
CAP = 6.02  # 6 lies at the lower edge of a histogram bin whose center is 6.016


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
        candidates: the ranges that `auto` compared, by name; empty otherwise.
        tightest: what every candidate must contain, see `Pooled.tightest`.
        joined: op codes that force tensors with values of their own onto this grid.
    """

    tensors: tuple[str, ...]
    sources: Mapping[str, Range]
    range: Range
    calibrator: str
    observed: Range
    outside: float
    noise: Mapping[str, float] = field(default_factory=dict)
    candidates: Mapping[str, Range] = field(default_factory=dict)
    tightest: Range = NO_RANGE
    joined: tuple[str, ...] = ()

    @property
    def widest(self) -> Range:
        """The min-max candidate of `auto`; the observed range otherwise."""
        return self.candidates.get("minmax", self.observed)

    @property
    def spread(self) -> float:
        """Width of the shared range over that of the narrowest source: bits lost = log2 of it."""
        narrowest = min((r.width for r in self.sources.values()), default=0.0)
        return self.range.width / narrowest if narrowest > 0 else 1.0


@dataclass(frozen=True)
class Release:
    """What dropping the cap of ReLU6 released: share of values above 6 in one tensor, 0..1."""

    tensor: str
    share: float


def by_name(rows: Iterable[RangeChoice]) -> dict[str, Range]:
    """Tensor name -> range."""
    return {name: row.range for row in rows for name in row.tensors}


def choose_ranges(
    pivot: Model,
    stats: Stats,
    recipe: Recipe,
    *,
    held_back: Sequence[Sample] = (),
    judged: Stats | None = None,
    int16: frozenset[str] | None = None,
    rounded: Model | None = None,
    fixed: Mapping[str, Range] | None = None,
    trained: Mapping[str, Range] | None = None,
    rebuild: Rebuild | None = None,
    threads: int = 2,
    watch: Watch = unwatched,
) -> tuple[list[RangeChoice], frozenset[int]]:
    """The range of every grid that has statistics.

    Args:
        pivot: float model.
        stats: of all samples.
        recipe: calibrators, overrides, 8 or 16 bits.
        held_back: samples that judge `auto`'s candidates.
        judged: statistics of those alone.
        int16: ops (by first output) with 16-bit activations; None: as the recipe says throughout.
        rounded: the pivot with rounded weights, for the quantized prefix.
        fixed: tensor name -> range that is known (exact input quantization).
        trained: tensor name -> range from quantization-aware training; no rule overrides it.
        rebuild: rounds weights on the way, see `Rebuild`; it changes `rounded`.
        threads: for LiteRT.
        watch: wraps loops over samples and grids, for a progress bar.

    Returns:
        choices in graph order, and the indices of the recipe's rules that were used.
    """
    known = _Known(fixed or {}, trained or {})
    drafts, used = _drafts(pivot, stats, recipe, known, judged, int16)
    open_ = [d for d in drafts if d.trial is not None]
    on_prefix = [d for d in open_ if len(d.grid.sources) == 1 and walkable(d.graph)]
    _judge_apart(pivot, [d for d in open_ if d not in on_prefix], held_back, threads, watch)
    here = on_prefix if held_back else []
    _settle([d for d in drafts if d not in here])
    if here or rebuild:
        walks = Walks(pivot, rounded or pivot, held_back, rebuild, threads, watch)
        walks.judge(drafts, here)
    _settle(drafts)
    return [_choice(d, stats) for d in drafts], used


def _settle(drafts: Iterable[Draft]) -> None:
    """Where there is nothing to choose or nobody to judge, the calibrator alone decides."""
    for draft in drafts:
        if draft.range is None:
            name = "minmax" if draft.calibrator == AUTO else draft.calibrator
            draft.settle(name, parse(name).choose(draft.dist, draft.spec))


def _judge_apart(
    pivot: Model,
    drafts: Sequence[Draft],
    samples: Sequence[Sample],
    threads: int,
    watch: Watch,
) -> None:
    """Grids of several sources (concat): each source alone, on float inputs."""
    trials = [d.trial for d in drafts if d.trial is not None]
    if not trials or not samples:
        return
    shown = watch(samples, label="comparing shared ranges", total=len(samples))
    judge(pivot, trials, shown, threads=threads)
    for draft in drafts:
        trial = draft.trial
        assert trial is not None
        draft.noise = dict(zip(trial.names, trial.noise.tolist(), strict=True))
        draft.settle(trial.names[trial.best], trial.ranges[trial.best])


@dataclass(frozen=True)
class _Known:
    """Ranges that nobody has to choose."""

    fixed: Mapping[str, Range]
    trained: Mapping[str, Range]


def _drafts(
    pivot: Model,
    stats: Stats,
    recipe: Recipe,
    known: _Known,
    judged: Stats | None = None,
    int16: frozenset[str] | None = None,
) -> tuple[list[Draft], frozenset[int]]:
    drafts, used = [], frozenset[int]()
    positions = ends(pivot)
    for graph in pivot.graphs:
        for grid in shared_grids(graph):
            dist = _pooled(stats, graph, grid)
            if dist is None:
                continue
            names = list(_names(graph, grid.tensors))
            calibrator, chosen, rules = _settled(graph, grid, recipe, positions, known)
            used |= rules
            if calibrator == FLOAT:
                continue
            spec = _spec(graph, grid, recipe, int16)
            draft = Draft(graph, grid, dist, calibrator, chosen, names, spec)
            _open_question(draft, _pooled(judged, graph, grid))
            drafts.append(draft)
    return drafts, used


def _pooled(stats: Stats | None, graph: Graph, grid: Grid) -> Pooled | None:
    """What was observed of a grid's sources together; None for nothing."""
    names = [n for n in _names(graph, grid.sources) if stats is not None and n in stats]
    parts = [stats[n] for n in names if stats is not None and stats[n].histogram.total]
    return Pooled.of(parts) if parts else None


def _open_question(draft: Draft, judged: Pooled | None) -> None:
    """Give `auto` its candidates; 16 bits need none."""
    if draft.range is not None or draft.calibrator != AUTO:
        return
    if draft.spec.bits == 16:
        bound = Range.of(draft.dist.min, draft.dist.max).scaled(MARGIN_16)
        draft.settle(f"minmax x {MARGIN_16:g}", bound)
    else:
        draft.trial = _trial(draft, judged)


def _spec(graph: Graph, grid: Grid, recipe: Recipe, int16: frozenset[str] | None) -> QSpec:
    """The codes of a grid: 16 bits where an op that makes one of its tensors has 16."""
    makers = {graph.producer[t] for t in grid.tensors if t in graph.producer}
    if int16 is None or not makers or recipe.mode != "static":
        return recipe.activations.spec
    names = {graph.name(graph.ops[k].outputs[0]) for k in makers}
    return INT16_ACTIVATION if names & int16 else INT8_ACTIVATION


def _settled(
    graph: Graph,
    grid: Grid,
    recipe: Recipe,
    positions: Mapping[str, frozenset[str]],
    known: _Known,
) -> tuple[str, Range | None, frozenset[int]]:
    """What training decided, else what the recipe wants, else what is known of the input."""
    names = list(_names(graph, grid.tensors))
    calibrator, chosen, rules = _asked(graph, grid, recipe, positions)
    trained = next((known.trained[n] for n in names if n in known.trained), None)
    if calibrator != FLOAT and trained is not None:
        return TRAINED, trained, frozenset()
    fixed = next((known.fixed[n] for n in names if n in known.fixed), None)
    if fixed is not None and chosen is None and calibrator != FLOAT:
        return "exact input", fixed, rules
    return calibrator, chosen, rules


def _asked(
    graph: Graph, grid: Grid, recipe: Recipe, positions: Mapping[str, frozenset[str]]
) -> tuple[str, Range | None, frozenset[int]]:
    """What the recipe wants for a grid: the member that a rule names speaks for all."""
    outputs = set(graph.outputs)
    choices = [
        recipe.for_tensor(
            graph.name(t),
            producer_code(graph, t),
            positions.get(graph.name(t), frozenset()),
            is_output=t in outputs,
        )
        for t in grid.tensors
    ]
    rules = frozenset[int]().union(*(c.rules for c in choices))
    choices = [c for c in choices if c.calibrator != FLOAT] or choices
    speaker = next((c for c in choices if c.rules), choices[0])
    return speaker.calibrator, speaker.range, rules


def _trial(draft: Draft, judged: Pooled | None) -> Trial | None:
    """Distinct candidates; None where there is nothing to choose (one value, prescribed grid)."""
    if producer_code(draft.graph, draft.grid.tensors[0]) in FIXED_OUTPUT:
        return None
    found: dict[tuple[float, float], tuple[str, Range]] = {}
    spec = draft.spec
    tightest = draft.dist.tightest(judged, spec)
    for text in ("minmax", *AUTO_CANDIDATES):
        r = parse(text).choose(draft.dist, spec) | tightest
        found.setdefault((round(r.min, 6), round(r.max, 6)), (text, r))
    if len(found) < 2:
        return None
    names, ranges = zip(*found.values(), strict=True)
    return Trial(draft.graph, draft.grid, spec, ranges, names, tightest)


def _choice(draft: Draft, stats: Stats) -> RangeChoice:
    graph, trial = draft.graph, draft.trial
    assert draft.range is not None
    own = {
        n: Range.of(stats[n].min, stats[n].max)
        for n in _names(graph, draft.grid.sources)
        if n in stats and stats[n].histogram.total
    }
    return RangeChoice(
        tensors=tuple(draft.names),
        sources=own,
        range=draft.range if draft.calibrator == TRAINED else _wide_enough(draft.range),
        calibrator=draft.calibrator,
        observed=Range.of(draft.dist.min, draft.dist.max),
        outside=draft.dist.outside(draft.range),
        noise=draft.noise,
        candidates=dict(zip(trial.names, trial.ranges, strict=True)) if trial else {},
        tightest=trial.tightest if trial else draft.range,
        joined=tuple(dict.fromkeys(graph.code(graph.ops[k]) for k in draft.grid.joined)),
    )


def _wide_enough(r: Range) -> Range:
    """TensorFlow's quantizer widens ranges up to 1e-6 by 1e-6 at both ends: so do we, first."""
    return r if r.width > 1e-6 else Range(r.min - 1e-6, r.max + 1e-6)


def _names(graph: Graph, tensors: Iterable[int]) -> Iterator[str]:
    return (graph.name(t) for t in tensors)


def releases(stats: Stats | None, tensors: Iterable[str]) -> list[Release]:
    """For each tensor that lost its cap of 6: the share of its values that are above it now."""
    rows = []
    for name in tensors:
        if stats is not None and name in stats:
            centers, counts = stats[name].histogram.values()
            share = counts[centers > CAP].sum() / max(counts.sum(), 1)
            rows.append(Release(name, float(share)))
    return rows
