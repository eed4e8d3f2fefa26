"""Recipe and observations to the plan: ranges, weights on them, a second look on the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Note
from tfq_ext.recipe import Recipe
from tfq_ext.repair.beliefs import corrected_biases
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.data_free import believed
from tfq_ext.repair.layerwise import with_codes, with_constants
from tfq_ext.repair.planning import Choices, make_plan
from tfq_ext.repair.polish import JUDGES, polish
from tfq_ext.repair.ranges import RangeChoice, by_name, choose_ranges
from tfq_ext.repair.rebuild import Rebuilt, rebuilder, wants_rebuild
from tfq_ext.repair.trained import Trained, is_operand
from tfq_ext.repair.walks import Rebuild
from tfq_ext.repair.watch import Watch
from tfq_ext.repair.weights import (
    Layer,
    WeightChoice,
    choose_weights,
    layers,
    refloored,
    worth_integers,
)
from tfq_ext.rounding.kept import Kept
from tfq_ext.samples import owned, progress
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite.read import Model


@dataclass(frozen=True)
class Draft:
    """Everything that will be emitted, and how it was chosen.

    Args:
        model: the pivot, with corrected biases.
        plan: integers and ranges.
        ranges, weights: with their accounts.
        tried: variant of the ranges -> output SQNR on the held-back samples, dB.
        used: indices of the recipe's rules that spoke of ranges.
        notes: what was left undone.
    """

    model: Model
    plan: Plan
    ranges: Sequence[RangeChoice]
    weights: Mapping[str, WeightChoice]
    tried: Mapping[str, float]
    used: frozenset[int]
    notes: tuple[Note, ...] = ()


def _planned(
    calibrated: Calibrated,
    recipe: Recipe,
    choices: Choices,
    ranges: Sequence[RangeChoice],
    weights: Mapping[str, WeightChoice],
) -> Plan:
    """The plan, with trained operands that belong to no layer (constants of ADD and MUL)."""
    plan = make_plan(calibrated.pivot.model, recipe, choices, ranges, weights)
    trained = calibrated.trained
    if trained is None or recipe.mode != "static":
        return plan
    graphs = [g for g in calibrated.pivot.model.graphs if g.is_entry]
    operands = {n: c for n, c in trained.weights.items() if any(is_operand(g, n) for g in graphs)}
    return replace(plan, weights={**operands, **plan.weights}, int16=plan.int16 | trained.int16)


def choose(
    calibrated: Calibrated,
    recipe: Recipe,
    choices: Choices,
    threads: int,
    show_progress: bool | None,
) -> Draft:
    """Ranges, then weights on them, then a second look at the ranges on the emitted file."""
    model, held_back = calibrated.pivot.model, calibrated.held_back
    rows = layers(model, choices.ops, lookups=recipe.mode in ("dynamic", "weight_only"))
    rows = [row for row in rows if worth_integers(row, recipe.mode)]
    judges = [owned(sample) for sample in held_back or ()] if held_back is not None else []
    watch = partial(progress, enabled=show_progress)
    trained = calibrated.trained or Trained()
    rebuilt = Rebuilt()
    ranges, used = _ranges(calibrated, recipe, choices, rows, rebuilt, judges, threads, watch)
    if recipe.needs_ranges:
        ranges += trained.rows(model, ranges)
    chosen = by_name(ranges)
    codes = trained.weights
    done = {name: refloored(choice, chosen) for name, choice in rebuilt.weights.items()}
    rest = [row for row in rows if row.weight not in done]
    weights = {} if recipe.mode == "fp16" else choose_weights(rest, chosen, recipe, codes) | done
    plan = _planned(calibrated, recipe, choices, ranges, weights)
    biases, notes = _biases(calibrated, recipe, rebuilt, weights)
    repaired = with_constants(model, biases) if biases else model
    if not (judges and recipe.mode == "static" and any(row.noise for row in ranges)):
        return Draft(repaired, plan, ranges, weights, {}, used, notes)
    room = max(JUDGES - len(judges), 0)
    more = [owned(s) for s in islice(calibrated.samples or (), room)] if room else []
    final = polish(
        model, plan, ranges, judges, more=more, repaired=repaired, threads=threads, watch=watch
    )
    chosen = by_name(final.ranges)
    weights = {n: w if n in codes else refloored(w, chosen) for n, w in weights.items()}
    plan = _planned(calibrated, recipe, choices, final.ranges, weights)
    return Draft(repaired, plan, final.ranges, weights, final.tried, used, notes)


def _biases(
    calibrated: Calibrated,
    recipe: Recipe,
    rebuilt: Rebuilt,
    weights: Mapping[str, WeightChoice],
) -> tuple[dict[str, np.ndarray], tuple[Note, ...]]:
    """Corrected biases by constant, and what is to be said of those that stay."""
    unasked = recipe.bias != "analytic" or not recipe.needs_ranges
    if unasked or calibrated.trained is not None:
        return rebuilt.biases, ()
    # A rounding on data has paid back what it shifts: on MobileNetV2 GPTQ would lose 1.2 dB.
    plain = {name: w for name, w in weights.items() if name not in rebuilt.weights}
    if not plain:
        return rebuilt.biases, ()
    found, left = corrected_biases(plain, believed(calibrated))
    said = f"{len(found)} of {len(plain)} biases corrected for the mean of the rounded weights"
    reasons = Counter(left.values())
    more = [f"{n} not: {reason}" for reason, n in reasons.most_common()]
    return rebuilt.biases | found, (Note("bias", "", "; ".join([said, *more])),)


def _ranges(
    calibrated: Calibrated,
    recipe: Recipe,
    choices: Choices,
    rows: list[Layer],
    rebuilt: Rebuilt,
    judges: Sequence[Sample],
    threads: int,
    watch: Watch,
) -> tuple[list[RangeChoice], frozenset[int]]:
    """The range of every grid that was observed, on weights that are rounded already.

    Weights whose rounding needs the quantized prefix are rounded on the way, into `rebuilt`.
    """
    if calibrated.stats is None:
        return [], frozenset()
    model, trained = calibrated.pivot.model, calibrated.trained or Trained()
    seen = _observed(calibrated.stats)
    first_guess = choose_weights(rows, seen, recipe, trained.weights)
    rebuild = None
    if wants_rebuild(recipe, rows):
        codes = trained.weights
        kept = Kept(calibrated.kept) if calibrated.kept else None
        rebuild = Rebuild(
            lambda g: rebuilder(g, rows, seen, recipe, rebuilt, codes, kept),
            calibrated.samples or (),
        )
    return choose_ranges(
        model,
        calibrated.stats,
        recipe,
        held_back=judges,
        judged=calibrated.judged,
        int16=choices.int16 | trained.int16,
        rounded=with_codes(model, {n: w.codes for n, w in first_guess.items()}),
        fixed=calibrated.fixed,
        trained=trained.ranges,
        rebuild=rebuild,
        threads=threads,
        watch=watch,
    )


def _observed(stats: Stats) -> dict[str, Range]:
    return {n: Range.of(t.min, t.max) for n, t in stats.items() if t.histogram.total}
