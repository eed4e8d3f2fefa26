"""quantize(): the story, readable in one sitting."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.emitters import EMITTERS, emit, emitter_for
from tfq_ext.emit.islands import FloatOp, float_ops
from tfq_ext.emit.plan import Plan
from tfq_ext.emit.result import Emitted, Note
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.emit.verify import ReadBack, verify, verify_constants
from tfq_ext.errors import DataError, StrictError, TfqWarning
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.contradiction import contradiction
from tfq_ext.repair.layerwise import with_codes, with_constants
from tfq_ext.repair.observe import observe
from tfq_ext.repair.planning import Choices, make_plan, op_choices
from tfq_ext.repair.polish import JUDGES, polish
from tfq_ext.repair.ranges import RangeChoice, choose_ranges, releases
from tfq_ext.repair.rebuild import Rebuilt, rebuilder, wants_rebuild
from tfq_ext.repair.trained import (
    UNTRAINED,
    Trained,
    is_operand,
    trained_notes,
    trained_of,
    unranged,
)
from tfq_ext.repair.walks import Rebuild
from tfq_ext.repair.watch import Watch
from tfq_ext.repair.weights import Layer, WeightChoice, choose_weights, layers, worth_integers
from tfq_ext.report.collect import account_of
from tfq_ext.result import Provenance, Result
from tfq_ext.samples import Preprocess, Samples, open_samples, owned, progress
from tfq_ext.samples.spec import Sample
from tfq_ext.spec import Range
from tfq_ext.tflite import passes
from tfq_ext.tflite.inputs import input_specs, pixel_ranges
from tfq_ext.tflite.passes import PASSES
from tfq_ext.tflite.read import Model

ON_DISK = 32 << 30  # bytes that samples of a stream may take there
JUDGES_AT_LEAST = 8  # samples held back; two or three choose by chance
JUDGES_AT_MOST = 64  # they are kept in memory, and more of them decide nothing else


@dataclass(frozen=True)
class Calibrated:
    """A rewritten pivot with its statistics; several recipes may be finished from one.

    Args:
        pivot: float model after the passes.
        rewritten: pass -> tensors that it touched.
        stats: of all samples; None where the recipe needs none.
        judged: of the held-back samples alone.
        samples: those that are not held back.
        held_back: samples that judge `auto`'s candidates.
        fixed: input tensor -> range known from the preprocessing.
        trained: what fake quantization in the model prescribes; None without it.
    """

    pivot: Pivot
    rewritten: Mapping[str, Sequence[str]]
    stats: Stats | None = None
    judged: Stats | None = None
    samples: Samples | None = None
    held_back: Samples | None = None
    fixed: Mapping[str, Range] = field(default_factory=dict)
    trained: Trained | None = None


def quantize(
    model: object,
    data: object = None,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    verbose: bool = False,
    show_progress: bool | None = None,
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
        signatures: keep only these.
        batch: fix an open batch dimension.
        custom_objects: for Keras files, by name or import path.
        threads: for LiteRT and the statistics.
        checkpoint: path (without suffix) for statistics that an interrupted run resumes from.
        verbose: let the converter's messages through.
        show_progress: None shows bars on a terminal only.

    Returns:
        Result: `.content`, `.save(path)`, `.account`; printing it gives a summary.

    Raises:
        ModelError, DataError, RecipeError: what came cannot be used; the message says what to do.
        StrictError: `strict` and some op stayed float.
        EmissionError: the file read back is not what was chosen.
    """
    wanted = load_recipe(recipe)
    pivot = to_float(
        model, signatures=signatures, batch=batch, custom_objects=custom_objects, verbose=verbose
    )
    calibrated = calibrate(
        pivot,
        data,
        wanted,
        preprocess=preprocess,
        limit=limit,
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
    if not recipe.needs_data or (data is None and trained is not None):
        return Calibrated(pivot, rewritten, trained=trained)
    pre = Preprocess.parse(preprocess) if isinstance(preprocess, str) else preprocess
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
    known = pixel_ranges(model, pre)
    return Calibrated(pivot, rewritten, stats, judged, kept, held_back, known, trained)


def _open(
    model: Model, data: object, recipe: Recipe, preprocess: Preprocess | None, limit: int | None
) -> Samples:
    """Samples that can be read several times."""
    if data is None:
        raise DataError(
            f"Mode {recipe.mode!r} chooses activation ranges, so it needs representative samples: "
            "give data=..., 100 samples are usual. Without data use the recipe 'dynamic', "
            "'weight_only' or 'fp16'."
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

    Raises:
        StrictError, EmissionError: as `quantize`.
    """
    model = calibrated.pivot.model
    choices = op_choices(model, recipe)
    draft = _choose(calibrated, recipe, choices, threads, show_progress)
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
        notes=[*_notes(calibrated, recipe, draft.used | choices.used), *emitted.notes],
    )
    provenance = Provenance.of(
        calibrated.pivot, calibrated.stats, calibrated.held_back, seed=recipe.seed
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


@dataclass(frozen=True)
class _Draft:
    model: Model  # the pivot, with corrected biases
    plan: Plan
    ranges: Sequence[RangeChoice]
    weights: Mapping[str, WeightChoice]
    tried: Mapping[str, float]
    used: frozenset[int]


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


def _choose(
    calibrated: Calibrated,
    recipe: Recipe,
    choices: Choices,
    threads: int,
    show_progress: bool | None,
) -> _Draft:
    """Ranges, then weights on them, then a second look at the ranges on the emitted file."""
    model, held_back = calibrated.pivot.model, calibrated.held_back
    rows = layers(model, choices.ops, lookups=recipe.mode in ("dynamic", "weight_only"))
    rows = [row for row in rows if worth_integers(row, recipe.mode)]
    judges = [owned(sample) for sample in held_back or ()] if held_back is not None else []
    watch = partial(progress, enabled=show_progress)
    trained = calibrated.trained or Trained()
    rebuilt = Rebuilt()
    ranges, used = _ranges(calibrated, recipe, choices, rows, rebuilt, judges, threads, watch)
    if recipe.needs_data:
        ranges += trained.rows(model, ranges)
    by_name = {name: row.range for row in ranges for name in row.tensors}
    codes, done = trained.weights, rebuilt.weights
    rest = [row for row in rows if row.weight not in done]
    weights = {} if recipe.mode == "fp16" else choose_weights(rest, by_name, recipe, codes) | done
    plan = _planned(calibrated, recipe, choices, ranges, weights)
    repaired = with_constants(model, rebuilt.biases) if rebuilt.biases else model
    if not (judges and recipe.mode == "static" and any(row.noise for row in ranges)):
        return _Draft(repaired, plan, ranges, weights, {}, used)
    room = max(JUDGES - len(judges), 0)
    more = [owned(s) for s in islice(calibrated.samples or (), room)] if room else []
    final = polish(
        model, plan, ranges, judges, more=more, repaired=repaired, threads=threads, watch=watch
    )
    return _Draft(repaired, final.plan, final.ranges, weights, final.tried, used)


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
        more = [owned(sample) for sample in calibrated.samples or ()]
        rebuild = Rebuild(lambda g: rebuilder(g, rows, seen, recipe, rebuilt, codes), more)
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


def _split(samples: Samples, recipe: Recipe) -> tuple[Samples, Samples | None]:
    """Calibration samples, and those held back to judge `auto`'s choices (none otherwise)."""
    if not (recipe.uses_auto and recipe.hold_back) or recipe.activations.bits == 16:
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
        rows.append(Note("pass", "", f"{PASSES[name].doc}: {len(tensors)} times"))
    if calibrated.samples is not None:
        rows += [Note("samples", "", sentence) for sentence in calibrated.samples.notes]
    if calibrated.trained is not None:
        rows += trained_notes(calibrated.trained, recipe)
    rows += [Note("recipe", "", sentence) for sentence in recipe.unused(used)]
    return rows
