"""audit(): observe, compare, emit with either set of ranges, take the noise apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.emitters import emit, emitter_for
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.errors import DataError, ModelError, RecipeError
from tfq_ext.pipeline import Calibrated, calibrate, finish, input_specs
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.audit import waterfall
from tfq_ext.repair.audit.advice import EXACT
from tfq_ext.repair.audit.names import short_names
from tfq_ext.repair.audit.recorded import record
from tfq_ext.repair.audit.stored import facts, integer_file, plan_of
from tfq_ext.repair.audit.tensors import compare, shared_grids_of, true_ranges
from tfq_ext.repair.audit.values import Audit, Variant
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import make_plan, op_choices
from tfq_ext.repair.ranges import RangeChoice, choose_ranges
from tfq_ext.repair.weights import choose_weights, layers
from tfq_ext.samples import Preprocess, Samples, open_samples, progress
from tfq_ext.spec import Range
from tfq_ext.tflite.read import Model, describe
from tfq_ext.validate.accuracy import Accuracy, evaluate

JUDGES = 1 / 3  # share of the samples that calibrates nothing and measures everything
_CONVERTER = "TFLiteConverter's ranges"


@dataclass(frozen=True)
class Scene:
    """What both kinds of audit work on.

    Args:
        original: the float model as converted.
        base: rewritten model, statistics of part of the samples, the rest of them.
        stats: of all calibration samples.
        samples: those.
        judges: samples that calibrate nothing.
        exact: exact range of every grid.
        plan: with exact ranges and nearest weights.
    """

    original: Pivot
    base: Calibrated
    stats: Stats
    samples: Samples
    judges: Samples
    exact: Sequence[RangeChoice]
    plan: Plan

    @property
    def model(self) -> Model:
        """The float model that is emitted from."""
        return self.base.pivot.model


def audit(
    model: object,
    data: object = None,
    *,
    reference: object = None,
    evaluation: object = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    with_recipe: bool = True,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    verbose: bool = False,
    show_progress: bool | None = None,
) -> Audit:
    """Compare TFLiteConverter's ranges, or those of an integer .tflite, with the true ones.

    Args:
        model: a float model as `quantize` takes it, or a finished integer .tflite.
        data: representative samples as `quantize` takes them.
        reference: for an integer .tflite: the float model that it was made from.
        evaluation: samples that judge; None: a third of `data`, which then calibrates nothing.
        preprocess: what to do to images, for `data` and `evaluation`.
        limit: use at most so many samples of `data`.
        recipe: a static 8-bit recipe: weights for all variants, calibrator for our own.
        with_recipe: also make the file that `quantize` would give (the slowest part).
        custom_objects: for Keras files.
        threads: for LiteRT and the statistics.
        verbose: let TensorFlow's messages through.
        show_progress: None shows bars on a terminal only.

    Raises:
        ModelError: not convertible, or an integer file without `reference`.
        DataError: no samples, or too few to hold some back.
        RecipeError: the recipe is not static.
    """
    file = integer_file(model)
    source = _float_source(model, reference, file)
    wanted = _static(recipe)
    pivot = to_float(source, custom_objects=custom_objects, verbose=verbose)
    scene = _observe(
        pivot, data, evaluation, wanted, preprocess, limit, threads=threads, shown=show_progress
    )
    labels = short_names(scene.model)
    if file is None:
        watched = progress(
            scene.samples, label="TFLiteConverter's calibrator", enabled=show_progress
        )
        given = _given_ranges(scene, record(pivot.model, watched, verbose=verbose))
        found = _converter_audit(scene, given, labels)
    else:
        given = plan_of(scene.model, file)
        found = _file_audit(scene, given, file, labels)
    files = _files(scene, given, model if file is not None else None)
    if with_recipe:
        ours = finish(scene.base, _float_io(wanted), threads=threads, show_progress=show_progress)
        files[wanted.calibrator] = ours.content
    found = replace(
        found, model=_shown(source, "MODEL"), data=_shown(data, "DATA"), notes=_notes(scene, found)
    )
    return _judged(found, scene, given, files, threads, show_progress)


def _float_source(model: object, reference: object, file: Model | None) -> object:
    if file is None and reference is not None:
        raise ModelError(
            f"{describe(model)} is a float model, so it needs no reference. A reference goes with "
            "a finished integer .tflite."
        )
    if file is not None and reference is None:
        raise ModelError(
            f"{describe(model)} is an integer file: what ranges its tensors really have shows only "
            "in the float model that it was made from. Give that one as the reference "
            "(--reference MODEL)."
        )
    return model if file is None else reference


def _static(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    wanted = load_recipe(recipe)
    if wanted.mode != "static" or wanted.activations.bits != 8:
        raise RecipeError(
            f"An audit compares 8-bit activation ranges; the recipe has mode {wanted.mode!r} and "
            f"{wanted.activations.bits}-bit activations. Use 'int8' or another static 8-bit one."
        )
    return wanted


def _float_io(recipe: Recipe) -> Recipe:
    return recipe.changed(input_type="float32", output_type="float32")


def _observe(
    pivot: Pivot,
    data: object,
    evaluation: object,
    recipe: Recipe,
    preprocess: Preprocess | str | None,
    limit: int | None,
    *,
    threads: int,
    shown: bool | None,
) -> Scene:
    samples, judges = _samples(pivot.model, data, evaluation, recipe, preprocess, limit)
    once = recipe.changed(limit=None)
    base = calibrate(
        pivot, samples, once, preprocess=preprocess, threads=threads, show_progress=shown
    )
    stats = base.stats
    assert stats is not None  # a static recipe observes
    if base.held_back is not None:  # they judge `auto`; for exact ranges they are samples like any
        stats = stats.merge(observe(base.pivot.model, base.held_back, threads=threads))
    exact, plan = _exact(base, stats, recipe)
    return Scene(pivot, base, stats, samples, judges, exact, plan)


def _samples(
    model: Model,
    data: object,
    evaluation: object,
    recipe: Recipe,
    preprocess: Preprocess | str | None,
    limit: int | None,
) -> tuple[Samples, Samples]:
    """Calibration samples and judges."""
    if data is None:
        raise DataError("An audit observes real ranges, so it needs representative samples: data.")
    specs = input_specs(model)
    samples = open_samples(
        data,
        specs,
        limit=limit or recipe.limit,
        seed=recipe.seed,
        shuffle=True,
        preprocess=preprocess,
    ).reusable()
    if evaluation is not None:
        return samples, open_samples(evaluation, specs, preprocess=preprocess)
    return samples.split(JUDGES, recipe.seed)


def _exact(
    base: Calibrated, stats: Stats, recipe: Recipe
) -> tuple[Sequence[RangeChoice], Plan]:
    """Min-max ranges of every grid, and nearest weights."""
    model = base.pivot.model
    minmax = _float_io(recipe).changed(calibrator="minmax", output_calibrator="minmax")
    choices = op_choices(model, minmax)
    ranges, _ = choose_ranges(model, stats, minmax, fixed=base.fixed)
    by_name = {name: row.range for row in ranges for name in row.tensors}
    weights = choose_weights(layers(model, choices.ops), by_name, minmax)
    return ranges, make_plan(model, minmax, choices, ranges, weights)


def _given_ranges(scene: Scene, recorded: Mapping[str, Range]) -> Plan:
    """The exact plan with the recorded ranges; what was not recorded keeps its own."""
    known = {name: r for name, r in recorded.items() if name in scene.plan.ranges}
    return replace(scene.plan, ranges={**scene.plan.ranges, **known})


def _converter_audit(scene: Scene, given: Plan, labels: Mapping[str, str]) -> Audit:
    from importlib.metadata import version

    rows = compare(scene.model, scene.stats, given.ranges, labels, "converter", {})
    return _blank(scene, labels, "converter", f"TFLiteConverter {version('tensorflow')}", rows)


def _file_audit(scene: Scene, given: Plan, file: Model, labels: dict[str, str]) -> Audit:
    rows = compare(scene.model, scene.stats, given.ranges, labels, "file", scene.plan.ranges)
    found = _blank(scene, labels, "file", "This file", rows)
    return replace(found, file=facts(scene.model, file, given, labels))


def _blank(scene: Scene, labels: Mapping[str, str], subject: Any, who: str, rows: Any) -> Audit:
    return Audit(
        subject=subject,
        who=who,
        model="",
        data="",
        samples=scene.stats.samples,
        judges=0,
        tensors=rows,
        variants=(),
        shared=shared_grids_of(scene.exact, waterfall.copies(scene.model), labels),
    )


def _files(scene: Scene, given: Plan, finished: object) -> dict[str, Any]:
    """Integer files to judge, the subject's first."""
    exact = emit(emitter_for("static", scene.plan), scene.model, scene.plan).content
    if finished is not None:
        return {"this file": finished, EXACT: exact}
    return {_CONVERTER: emit(emitter_for("static", given), scene.model, given).content, EXACT: exact}


def _judged(
    found: Audit,
    scene: Scene,
    given: Plan,
    files: Mapping[str, Any],
    threads: int,
    shown: bool | None,
) -> Audit:
    """Run every file on the judges, in one pass."""
    own = true_ranges(scene.stats) | dict(scene.base.fixed)
    parts = waterfall.trials(scene.model, given, scene.plan.ranges, own)
    subject = next(iter(files))
    keyed = {f"trial {name}": content for name, content in parts.items()}
    key = scene.model.signatures and next(iter(scene.model.signatures))
    watched = progress(scene.judges, label="measuring", enabled=shown)
    samples = ((s.inputs, None) for s in watched if not key or s.signature in ("", key))
    scores = evaluate({"float": scene.model.to_bytes(), **files, **keyed}, samples, threads=threads)
    sqnr = {name: scores[f"trial {name}"].sqnr_db for name in parts}
    return replace(
        found,
        judges=scores["float"].n,
        variants=tuple(_variant(name, scores[name]) for name in files),
        waterfall=waterfall.waterfall(subject, sqnr, found.shared, scores[subject].sqnr_db),
    )


def _variant(name: str, score: Accuracy) -> Variant:
    return Variant(name, score.sqnr_db, score.agreement, score.agreement_interval)


def _notes(scene: Scene, found: Audit) -> tuple[str, ...]:
    notes = [*scene.original.notes, *scene.samples.notes]
    if len(scene.model.signatures) > 1:
        notes.append("Several signatures: output figures are those of the first one.")
    if found.file is not None and found.file.unmatched:
        count = len(found.file.unmatched)
        notes.append(f"{count} tensors of the float model have no counterpart in the file.")
    return tuple(dict.fromkeys(notes))


def _shown(source: object, otherwise: str) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else otherwise  # type: ignore[return-value]
