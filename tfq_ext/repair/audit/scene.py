"""What both kinds of audit work on: samples apart, statistics, exact ranges, nearest weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.to_float import Pivot
from tfq_ext.errors import DataError
from tfq_ext.pipeline import Calibrated, calibrate
from tfq_ext.recipe import Recipe
from tfq_ext.repair.planning import make_plan, op_choices
from tfq_ext.repair.ranges import RangeChoice, by_name, choose_ranges
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.samples import Preprocess, Samples, open_samples
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model

JUDGES = 1 / 3  # share of the samples that calibrates nothing and measures everything


@dataclass(frozen=True)
class Options:
    """How to get and treat the samples.

    Args:
        preprocess, limit: as `open_samples` takes them.
        threads: for LiteRT and the statistics.
        shown: progress bars; None: on a terminal only.
    """

    preprocess: Preprocess | str | None = None
    limit: int | None = None
    threads: int = 2
    shown: bool | None = None


@dataclass(frozen=True)
class Scene:
    """The float model, observed.

    Args:
        original: as converted; what TFLiteConverter's calibrator sees.
        base: rewritten model, statistics of the samples that calibrate, and those held back.
        recipe: float inputs and outputs, no limit.
        stats: of all calibration samples.
        samples: those.
        judges: samples that no range has seen.
        exact: min-max range of every grid.
        plan: with these ranges and nearest weights.
    """

    original: Pivot
    base: Calibrated
    recipe: Recipe
    stats: Stats
    samples: Samples
    judges: Samples
    exact: Sequence[RangeChoice]
    plan: Plan

    @property
    def model(self) -> Model:
        """The float model that every file is emitted from."""
        return self.base.pivot.model


def observe_scene(
    pivot: Pivot, data: object, evaluation: object, recipe: Recipe, options: Options
) -> Scene:
    """Open the samples, set the judges apart, observe the rest, and plan with exact ranges.

    Raises:
        DataError: no samples, or one only.
    """
    samples, judges = _samples(pivot.model, data, evaluation, recipe, options)
    once = recipe.changed(input_type="float32", output_type="float32", limit=None)
    base = calibrate(
        pivot,
        samples,
        once,
        preprocess=options.preprocess,
        threads=options.threads,
        show_progress=options.shown,
    )
    stats = base.stats
    assert stats is not None  # a static recipe observes, the held-back samples too
    exact, plan = _exact(base, stats, once)
    return Scene(pivot, base, once, stats, samples, judges, exact, plan)


def _samples(
    model: Model, data: object, evaluation: object, recipe: Recipe, options: Options
) -> tuple[Samples, Samples]:
    """Calibration samples and judges, disjoint."""
    if data is None:
        raise DataError(
            "An audit compares with the ranges that real samples give: pass data (--data), 100 "
            "samples or more."
        )
    specs, preprocess = input_specs(model), options.preprocess
    samples = open_samples(
        data,
        specs,
        limit=options.limit or recipe.limit,
        seed=recipe.seed,
        shuffle=True,
        preprocess=preprocess,
    ).reusable()
    if evaluation is not None:
        return samples, open_samples(evaluation, specs, preprocess=preprocess)
    return samples.split(JUDGES, recipe.seed)


def _exact(base: Calibrated, stats: Stats, recipe: Recipe) -> tuple[Sequence[RangeChoice], Plan]:
    model = base.pivot.model
    minmax = recipe.changed(calibrator="minmax", output_calibrator="minmax")
    choices = op_choices(model, minmax)
    ranges, _ = choose_ranges(model, stats, minmax, fixed=base.fixed)
    weights = choose_weights(layers(model, choices.ops), by_name(ranges), minmax)
    return ranges, make_plan(model, minmax, choices, ranges, weights)
