"""quantize(): the story, readable in one sitting."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tfq_ext.emit.emitters import EMITTERS, emit, emitter_for
from tfq_ext.emit.islands import FloatOp, float_ops
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Emitted, Note
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.emit.verify import ReadBack, verify, verify_constants
from tfq_ext.errors import DataError, EmissionError, StrictError, TfqWarning
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.beliefs import attach_norms
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.choosing import choose
from tfq_ext.repair.contradiction import contradiction
from tfq_ext.repair.data_free import InputRange, given_ranges, without_data
from tfq_ext.repair.distill import distilled
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import op_choices
from tfq_ext.repair.ranges import releases
from tfq_ext.repair.reference import Reference
from tfq_ext.repair.trained import (
    UNTRAINED,
    trained_notes,
    trained_of,
    unranged,
)
from tfq_ext.repair.variants import variants
from tfq_ext.report.collect import account_of
from tfq_ext.result import Provenance, Result
from tfq_ext.samples import Preprocess, Samples, open_samples, owned, progress
from tfq_ext.tflite import passes
from tfq_ext.tflite.inputs import input_specs, pixel_ranges
from tfq_ext.tflite.passes import PASSES
from tfq_ext.tflite.read import Model

ON_DISK = 32 << 30  # bytes that samples of a stream may take there
REPAIRS = {
    "equalize": "channels of a tensor scaled between the layers before and after it",
    "absorb": "high biases of a tensor's channels moved into the layers behind it",
}
UNREAD_DATA = 'statistics = "norms" looks at no sample: data is not read.'
JUDGES_AT_LEAST = 8  # samples held back; two or three choose by chance
JUDGES_AT_MOST = 64  # they are kept in memory, and more of them decide nothing else


def quantize(
    model: object,
    data: object = None,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    input_range: InputRange | None = None,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    verbose: bool = False,
    show_progress: bool | None = None,
    **fields: Any,
) -> Result:
    """Quantize a model into a verified .tflite.

    Fake quantization in the model (Keras layers that call tf.quantization, TFMOT) is obeyed: its
    ranges and integers are those of the file, and samples serve only tensors without any.

    Args:
        model: Keras 3 or tf_keras model, .keras/.h5 path, SavedModel folder, tf.function, or a
            float .tflite (path or bytes).
        data: representative samples: arrays, .npy/.npz, image folder, tf.data, PyDataset,
            TFRecord, or a callable as TFLiteConverter takes it. Not needed by the recipes
            "fp16", "dynamic" and "weight_only", nor by a model trained with quantization.
        recipe: preset name, path of a TOML or JSON file, mapping, or Recipe.
        preprocess: what to do to images, for example "scale=1/255,mean=0.485,std=0.229".
        limit: use at most so many samples, drawn with the recipe's seed.
        input_range: (least, greatest) of the float inputs, all or by name, in their own units.
            Needed where no sample is looked at (statistics = "norms"); else it is fixed, not
            observed.
        signatures: keep only these.
        batch: fix an open batch dimension.
        custom_objects: for Keras files, by name or import path.
        threads: for LiteRT and the statistics.
        checkpoint: path (without suffix) for statistics, and for a folder of weights rounded on
            data, from which an interrupted run resumes.
        verbose: let the converter's messages through.
        show_progress: None shows bars on a terminal only.
        **fields: of the recipe, laid over it: calibrator="mse", input_type="uint8", seed=1,
            weights={"rounding": "gptq"}; what a recipe may say, `tfq recipes NAME` prints.

    Returns:
        Result: `.content`, `.save(path)`, `.account`; printing it gives a summary.

    Raises:
        ModelError, DataError, RecipeError: what came cannot be used; the message says what to do.
        StrictError: `strict` and some op stayed float.
        EmissionError: the file read back is not what was chosen.
    """
    wanted = load_recipe(recipe)
    wanted = load_recipe({"base": wanted, **fields}) if fields else wanted
    pivot = to_float(
        model, signatures=signatures, batch=batch, custom_objects=custom_objects, verbose=verbose
    )
    calibrated = calibrate(
        pivot,
        data,
        wanted,
        preprocess=preprocess,
        limit=limit,
        input_range=input_range,
        threads=threads,
        checkpoint=checkpoint,
        show_progress=show_progress,
    )
    return finish(calibrated, wanted, threads=threads, show_progress=show_progress)


def calibrate(
    pivot: Pivot,
    data: object,
    recipe: Recipe,
    *,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    input_range: InputRange | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    show_progress: bool | None = None,
) -> Calibrated:
    """Rewrite the pivot and observe the samples; arguments as for `quantize`."""
    model, trained = trained_of(pivot.model)
    relu6 = ("relu6_to_relu",) if recipe.relu6 == "relu" and trained is None else ()
    exact = passes.exact(bits=recipe.activations.bits if recipe.mode == "static" else 8)
    model, rewritten = passes.apply(model, (*exact, *relu6))
    trained = trained and trained.on(model)
    pivot = replace(pivot, model=model)
    pre = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
    if recipe.is_unseen and trained is None:
        if data is not None:
            warnings.warn(UNREAD_DATA, TfqWarning, stacklevel=3)
        return without_data(pivot, rewritten, recipe, input_range=input_range, preprocess=pre)
    if not recipe.needs_data or (data is None and trained is not None):
        return Calibrated(pivot, rewritten, trained=trained)
    samples = _open(model, data, recipe, pre, limit)
    kept, held_back = _split(samples, recipe)
    watch = partial(progress, label="observing", enabled=show_progress)
    stats = observe(model, watch(kept), threads=threads, checkpoint=checkpoint)
    judged = None
    if held_back is not None:
        beside = checkpoint and Path(checkpoint).with_name(f"{Path(checkpoint).name}-held-back")
        judged = observe(model, watch(held_back), threads=threads, checkpoint=beside)
        stats = stats.merge(judged)
    if (sentence := contradiction(pivot, kept, stats)) is not None:
        warnings.warn(sentence, TfqWarning, stacklevel=3)
    known = pixel_ranges(model, pre) | given_ranges(model, input_range)
    codes = checkpoint and Path(checkpoint).with_name(f"{Path(checkpoint).name}-codes")
    norms = attach_norms(model, pivot.remembered).beliefs
    seen = (stats, judged, kept, held_back)
    return Calibrated(pivot, rewritten, *seen, known, trained, codes, norms)


def _open(
    model: Model, data: object, recipe: Recipe, preprocess: Preprocess | None, limit: int | None
) -> Samples:
    """Samples that can be read several times."""
    if data is None:
        raise DataError(
            f"Mode {recipe.mode!r} chooses activation ranges, so it needs representative samples: "
            "give data=..., 100 samples are usual. Without data use the recipe 'data-free' (Keras "
            "models with BatchNormalization), 'dynamic', 'weight_only' or 'fp16'."
        )
    specs = input_specs(model)
    samples = open_samples(
        data,
        specs,
        limit=recipe.limit if limit is None else limit,
        seed=recipe.seed,
        shuffle=True,
        preprocess=preprocess,
    )
    if recipe.uses_auto and samples.count is None and not any(spec.is_text for spec in specs):
        # A function that shuffles would put a sample on both sides: it is asked once.
        return samples.materialise(max_bytes=ON_DISK)
    return samples.reusable()


def finish(
    calibrated: Calibrated,
    recipe: Recipe,
    *,
    threads: int = 2,
    show_progress: bool | None = None,
) -> Result:
    """Choose, emit, read back, account: everything after observation.

    Where the recipe has budgets (`search`), the widths of the layers are chosen first. Where it
    asks for several ways (`equalize`, `at_least`), all are made and the one whose outputs on the
    held-back samples are nearest to float is returned.

    Raises:
        StrictError, EmissionError: as `quantize`.
    """
    if recipe.search is not None:
        from tfq_ext.search.settle import settled  # it makes and measures files as users do

        return settled(calibrated, recipe, threads=threads, show_progress=show_progress)
    watch = partial(progress, enabled=show_progress)
    judge = _judge(calibrated, recipe, threads)
    ways = list(variants(calibrated, recipe, judge, threads=threads, watch=watch))
    if judge is None or len(ways) == 1:
        _, start, one = ways[0]
        made = finish_one(start(), one, threads=threads, show_progress=show_progress)
        return replace(made, recipe=recipe)
    results: dict[str, Result] = {}
    scores: dict[str, float] = {}
    failed: list[EmissionError] = []
    for name, start, one in ways:
        try:
            made = finish_one(start(), one, threads=threads, show_progress=show_progress)
        except EmissionError as error:
            failed.append(error)
            continue
        results[name], scores[name] = made, judge(made.content)
    if not results:
        raise failed[0]
    return _winner(results, scores, recipe, failed)


def _judge(calibrated: Calibrated, recipe: Recipe, threads: int) -> Callable[[bytes], float] | None:
    """SQNR of a file's outputs on the held-back samples, dB; None where nothing is to compare."""
    compares = recipe.equalize == "try" or recipe.at_least is not None
    if calibrated.held_back is None or not compares:
        return None
    judges = [owned(sample) for sample in calibrated.held_back]
    return Reference(calibrated.pivot.model.to_bytes(), judges, threads=threads).sqnr


def _winner(
    results: Mapping[str, Result],
    scores: Mapping[str, float],
    recipe: Recipe,
    failed: Sequence[EmissionError],
) -> Result:
    """The result nearest to float, with the scores of all in its account."""
    name = max(scores, key=lambda each: scores[each])
    best = results[name]
    notes = [Note("variant", "", f"one way gave no file: {error}") for error in failed]
    others = {each: score for each, score in scores.items() if each != name}
    tried = {**others, **best.account.end_to_end, name: scores[name]}  # the file's comes last
    account = replace(best.account, end_to_end=tried, notes=(*best.account.notes, *notes))
    return replace(best, recipe=recipe, account=account)


def finish_one(
    calibrated: Calibrated,
    recipe: Recipe,
    *,
    threads: int = 2,
    show_progress: bool | None = None,
) -> Result:
    """One file, whatever else the recipe wants to compare."""
    model = calibrated.pivot.model
    choices = op_choices(model, recipe)
    draft = choose(calibrated, recipe, choices, threads, show_progress)
    draft = distilled(draft, calibrated, recipe, choices, threads, show_progress)
    name = emitter_for(recipe.mode, draft.plan)
    options = {"activation": recipe.activations.spec} if name == "simulate" else {}
    emitted = emit(name, draft.model, draft.plan, **options)
    read_back = _read_back(name, emitted, draft.model, draft.plan)
    stayed = _float_ops(emitted, draft.plan, calibrated) if EMITTERS[name].static else []
    if recipe.strict and stayed:
        raise StrictError(_too_much_float(stayed))
    account = account_of(
        model,
        emitted.content,
        ranges=draft.ranges,
        weights=draft.weights,
        float_ops=stayed,
        released=releases(calibrated.stats, calibrated.rewritten.get("relu6_to_relu", ())),
        read_back=read_back,
        end_to_end=draft.tried,
        notes=[
            *_notes(calibrated, recipe, draft.used | choices.used),
            *draft.notes,
            *emitted.notes,
        ],
    )
    provenance = Provenance.of(
        calibrated.pivot, calibrated.observed, calibrated.held_back, seed=recipe.seed
    )
    return Result(emitted.content, recipe, provenance, account)


def _read_back(name: str, emitted: Emitted, model: Model, plan: Plan) -> ReadBack:
    """Compare the file with the plan; a simulation holds no integers."""
    if EMITTERS[name].static:
        return verify(emitted.content, model, plan)
    if name == "simulate":
        return ReadBack()
    unused = {note.tensor for note in emitted.notes if note.op == "constant"}
    return verify_constants(emitted.content, plan, unused)


def _split(samples: Samples, recipe: Recipe) -> tuple[Samples, Samples | None]:
    """Calibration samples, and those held back to judge what chooses and learns (else none)."""
    chooses = recipe.uses_auto and recipe.activations.bits != 16
    if not ((chooses or recipe.distill) and recipe.hold_back):
        return samples, None
    count = len(samples.keys())
    if count < 2:
        return samples, None
    few, many = min(JUDGES_AT_LEAST, count // 2) / count, JUDGES_AT_MOST / count
    return samples.split(min(max(recipe.hold_back, few), many), recipe.seed)


def _float_ops(emitted: Emitted, plan: Plan, calibrated: Calibrated) -> list[FloatOp]:
    given = {note.tensor: note.reason for note in emitted.notes}
    if calibrated.trained is not None and calibrated.stats is None:
        given = dict.fromkeys(unranged(calibrated.pivot.model, plan.ranges), UNTRAINED) | given
    return float_ops(Model.parse(emitted.content), {**given, **plan.keep_float}, plan.ranges)


def _too_much_float(stayed: Sequence[FloatOp]) -> str:
    rows = "; ".join(f"{row.op} {row.tensor}: {row.reason}" for row in stayed[:5])
    return (
        f"strict: {len(stayed)} ops stayed float. {rows}. Allow them with strict = false, or "
        "rewrite them in the model."
    )


def _notes(calibrated: Calibrated, recipe: Recipe, used: frozenset[int]) -> list[Note]:
    """What happened on the way that a person should read."""
    rows = [Note("model", "", sentence) for sentence in calibrated.pivot.notes]
    for name, tensors in calibrated.rewritten.items():
        what = REPAIRS.get(name) or PASSES[name].doc
        rows.append(Note("pass", "", f"{what}: {len(tensors)} times"))
    rows += calibrated.remarks
    if calibrated.samples is not None:
        rows += [Note("samples", "", sentence) for sentence in calibrated.samples.notes]
    if calibrated.trained is not None:
        rows += trained_notes(calibrated.trained, recipe)
    rows += [Note("recipe", "", sentence) for sentence in recipe.unused(used)]
    return rows
