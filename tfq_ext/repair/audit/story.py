"""audit(): observe, compare, emit with either set of ranges, take the noise apart."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfq_ext.emit.emitters import emit, emitter_for
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.to_float import to_float
from tfq_ext.errors import ModelError, RecipeError
from tfq_ext.pipeline import finish
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.audit import waterfall
from tfq_ext.repair.audit.judge import judged
from tfq_ext.repair.audit.names import short_names
from tfq_ext.repair.audit.recorded import converter_version, record
from tfq_ext.repair.audit.scene import Options, Scene, observe_scene
from tfq_ext.repair.audit.stored import facts, integer_file, plan_of
from tfq_ext.repair.audit.tensors import compare, shared_grids_of
from tfq_ext.repair.audit.values import CONVERTER, EXACT, FILE, Audit, Subject, TensorRow
from tfq_ext.samples import Preprocess, progress
from tfq_ext.tflite.read import Model, describe


def audit(
    model: object,
    data: object = None,
    *,
    reference: object = None,
    evaluation: object = None,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    fast: bool = False,
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
        fast: leave out the file that `quantize` would give, the slowest part.
        custom_objects: for Keras files.
        threads: for LiteRT and the statistics.
        verbose: let TensorFlow's messages through.
        show_progress: None shows bars on a terminal only.

    Returns:
        Audit: print it, or see `.headline`, `.wide`, `.to_dict()`.

    Raises:
        ModelError: not convertible, or an integer file without `reference`.
        DataError: no samples, or too few to hold some back.
        RecipeError: the recipe is not a static one of 8 bits.
    """
    wanted = _static(recipe)
    file = integer_file(model)
    source = _float_source(model, reference, file)
    options = Options(preprocess, limit, threads, show_progress)
    pivot = to_float(source, custom_objects=custom_objects, verbose=verbose)
    scene = observe_scene(pivot, data, evaluation, wanted, options)
    if file is None:
        found, given = _converter_audit(scene, options, verbose)
        files = _files(scene, CONVERTER, _emitted(scene, given), options, fast)
    else:
        found, given = _file_audit(scene, file, describe(model))
        files = _files(scene, FILE, model, options, fast)
    found = replace(
        found,
        model=_shown(source, "MODEL"),
        data=_shown(data, "DATA"),
        preprocess=str(preprocess or ""),
    )
    return judged(found, scene, given, files, options)


def _static(recipe: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    wanted = load_recipe(recipe)
    if wanted.mode != "static" or wanted.activations.bits != 8:
        raise RecipeError(
            f"An audit compares 8-bit activation ranges; the recipe has mode {wanted.mode!r} and "
            f"{wanted.activations.bits}-bit activations. Use 'int8' or another static 8-bit one."
        )
    return wanted


def _float_source(model: object, reference: object, file: Model | None) -> object:
    if file is None and reference is not None:
        raise ModelError(
            f"{describe(model)} is a float model, so it needs no reference. A reference goes with "
            "a finished integer .tflite."
        )
    if file is not None and reference is None:
        raise ModelError(
            f"{describe(model)} is an integer file; which ranges its tensors need shows only in "
            "the float model that it was made from: give that one too (--reference, reference=)."
        )
    return model if file is None else reference


def _converter_audit(scene: Scene, options: Options, verbose: bool) -> tuple[Audit, Plan]:
    """TFLiteConverter's calibrator on the same samples."""
    watched = progress(scene.samples, label="TFLiteConverter", enabled=options.shown)
    recorded = record(scene.original.model, watched, verbose=verbose)
    known = {name: r for name, r in recorded.items() if name in scene.plan.ranges}
    given = replace(scene.plan, ranges={**scene.plan.ranges, **known})
    labels = short_names(scene.model)
    rows = compare(scene.model, scene.stats, known, labels, "converter")
    who = f"TFLiteConverter {converter_version()}"
    return _found(scene, labels, "converter", who, rows), given


def _file_audit(scene: Scene, file: Model, name: str) -> tuple[Audit, Plan]:
    """The grids of a finished file, each against what all its tensors need together."""
    given, labels = plan_of(scene.model, file), short_names(scene.model)
    rows = compare(scene.model, scene.stats, given.ranges, labels, "file", needed=scene.plan.ranges)
    found = _found(scene, labels, "file", Path(name).name, rows)
    built = facts(scene.model, file, given, labels)
    count = len(built.unmatched)
    notes = (f"{count} tensors of the float model have no counterpart in the file.",) * bool(count)
    return replace(found, file=built, notes=(*found.notes, *notes)), given


def _found(
    scene: Scene,
    labels: Mapping[str, str],
    subject: Subject,
    who: str,
    rows: tuple[TensorRow, ...],
) -> Audit:
    notes = [*scene.original.notes, *scene.samples.notes]
    if len(scene.model.signatures) > 1:
        notes.append("Several signatures: figures of the output are those of the first one.")
    return Audit(
        subject=subject,
        who=who,
        model="",
        data="",
        preprocess="",
        samples=scene.stats.samples,
        judges=0,
        tensors=rows,
        variants=(),
        shared=shared_grids_of(scene.exact, waterfall.copies(scene.model), labels),
        notes=tuple(dict.fromkeys(notes)),
    )


def _files(
    scene: Scene, subject: str, content: Any, options: Options, fast: bool
) -> dict[str, Any]:
    """Integer files to judge: the subject's, with exact ranges, and what quantize() gives."""
    files = {subject: content, EXACT: _emitted(scene, scene.plan)}
    if not fast and scene.recipe.calibrator != "minmax":
        ours = finish(
            scene.base, scene.recipe, threads=options.threads, show_progress=options.shown
        )
        files[scene.recipe.calibrator] = ours.content
    return files


def _emitted(scene: Scene, plan: Plan) -> bytes:
    return emit(emitter_for("static", plan), scene.model, plan).content


def _shown(source: object, otherwise: str) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else otherwise
