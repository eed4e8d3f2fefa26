"""Without any sample: BatchNormalization statistics in the place of observations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from tfq_ext.emit.result import Note
from tfq_ext.emit.to_float import Pivot
from tfq_ext.emit.to_float.norms import PIXELS
from tfq_ext.errors import DataError, ModelError
from tfq_ext.recipe import Recipe
from tfq_ext.repair.beliefs import Attached, Belief, Beliefs, attach_norms, propagate, synthetic
from tfq_ext.repair.beliefs.belief import from_moments
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.samples import Preprocess
from tfq_ext.spec import Range
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.inputs import pixel_ranges
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.run import input_tensors

Ends = tuple[float, float]
InputRange = Ends | Mapping[str, Ends]


def without_data(
    pivot: Pivot,
    rewritten: Mapping[str, Sequence[str]],
    recipe: Recipe,
    *,
    input_range: InputRange | None = None,
    preprocess: Preprocess | None = None,
) -> Calibrated:
    """What `calibrate` gives where nothing is observed.

    Args:
        pivot: float model after the passes, with what its Keras model remembered.
        rewritten: pass -> tensors that it touched.
        recipe: rules may fix the range of an input.
        input_range: of the float inputs, all or by name.
        preprocess: of images, whose pixels 0..255 tell the range too.

    Raises:
        ModelError: no BatchNormalization to take statistics from.
        DataError: the range of an input is not known.
    """
    attached = attach_norms(pivot.model, pivot.remembered)
    if not attached.beliefs:
        raise ModelError(_no_statistics(pivot))
    fixed = input_ranges(pivot, recipe, input_range, preprocess)
    start = Calibrated(pivot, rewritten, fixed=fixed, norms=attached.beliefs)
    beliefs = believed(start)
    remarks = tuple(_remarks(pivot.model, attached, beliefs))
    return replace(start, stats=synthetic(pivot.model, beliefs), remarks=remarks)


def believed(calibrated: Calibrated) -> Beliefs:
    """What is believed of every activation: from norms, from samples where there are some, and
    what follows from both."""
    known = dict(calibrated.norms)
    if calibrated.samples is not None and calibrated.stats is not None:
        known = _seen(calibrated) | known
    model = calibrated.pivot.model
    uniform = {name: _uniform(model, name, r) for name, r in calibrated.fixed.items()}
    inputs = {name: belief for name, belief in uniform.items() if belief is not None}
    seen = {name: belief for name, belief in known.items() if belief.source == "samples"}
    return propagate(model, known, inputs | seen)


def _seen(calibrated: Calibrated) -> dict[str, Belief]:
    """Observed moments of each channel, after the activation."""
    assert calibrated.stats is not None
    found = {}
    for name, stats in calibrated.stats.items():
        channels = stats.channels
        if channels is None or not channels.channels or not np.all(channels.n):
            continue
        ends = np.array([[stats.min], [stats.max]], np.float64)
        made = from_moments(channels.mean, channels.variance, *ends)
        found[name] = replace(made, source="samples")
    return found


def _uniform(model: Model, name: str, r: Range) -> Belief | None:
    """An input that is anywhere in its range, equally likely."""
    for graph in model.graphs:
        tensor = graph.by_name.get(name)
        if tensor is not None and tensor in graph.inputs:
            shape = graph.shape(tensor)
            middle, deviation = (r.min + r.max) / 2, r.width / math.sqrt(12.0)
            one = Belief.of(middle, deviation, ends=(r.min, r.max), source="input", alpha=np.inf)
            return one.pick(np.zeros(max(shape[-1] if shape else 1, 1), np.int64))
    return None


def input_ranges(
    pivot: Pivot,
    recipe: Recipe,
    given: InputRange | None = None,
    preprocess: Preprocess | None = None,
) -> dict[str, Range]:
    """Input tensor -> range: given, ruled, from the preprocessing, or of pixels that the model
    scales itself.

    Raises:
        DataError: an input without any of these, or a range that is none.
    """
    model = pivot.model
    pixels = pixel_ranges(model, preprocess)
    found: dict[str, Range] = {}
    asked = given_ranges(model, given)
    for tensor, (name, rank) in _inputs(model):
        ruled = recipe.for_tensor(tensor).range
        own = Range(*PIXELS) if pivot.remembered.pixels and rank == 4 else None
        r = asked.get(tensor) or ruled or pixels.get(tensor) or own
        if r is None:
            raise DataError(
                f"Without data the range of input {name!r} must be given: input_range=(-1, 1) "
                "(--input-range=-1,1), or the preprocessing of its images "
                "(--preprocess scale=1/127.5,mean=1)."
            )
        found[tensor] = r
    return found


def _inputs(model: Model) -> Iterator[tuple[str, tuple[str, int]]]:
    """(tensor, (name in the signature, rank)) of every float input that callers give."""
    keys: list[str | None] = [*model.signatures] or [None]
    for key in keys:
        graph = model.graph_of(key)
        for name, tensor in input_tensors(model, key).items():
            if graph.dtype(tensor) == "float32":
                yield graph.name(tensor), (name, len(graph.shape(tensor)))


def given_ranges(model: Model, given: InputRange | None) -> dict[str, Range]:
    """The ranges that a person gave, by tensor.

    Args:
        model: the pivot.
        given: (least, greatest) of all float inputs, or by name, of the signature or the tensor.

    Raises:
        DataError: a name that is no float input, or ends that make no range.
    """
    if given is None:
        return {}
    names = dict(_inputs(model))
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, _range(given))
    known = {name: tensor for tensor, (name, _) in names.items()} | {t: t for t in names}
    for name in given:
        if name not in known:
            listed = ", ".join(sorted(name for name, _ in names.values())) or "none"
            raise DataError(f"input_range names {name!r}; the float inputs are: {listed}.")
    return {known[name]: _range(ends) for name, ends in given.items()}


def _range(ends: Ends) -> Range:
    try:
        low, high = (float(end) for end in ends)
    except (TypeError, ValueError):
        raise DataError(f"input_range is (least, greatest), got {ends!r}.") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise DataError(f"input_range is (least, greatest), both finite, got ({low:g}, {high:g}).")
    return Range.of(low, high)


def _no_statistics(pivot: Pivot) -> str:
    keras = pivot.source in ("keras", "tf_keras")
    lost = len(pivot.remembered.norms)
    none = f"none of this model's {lost} is found in the converted file"
    why = (
        (none if lost else "this model has no trained BatchNormalization")
        if keras
        else f"a {pivot.source} source holds none any more"
    )
    return (
        "Ranges without data come from the BatchNormalization layers of a Keras model, and "
        f"{why}. Give "
        + ("" if keras else "the .keras file it was made of, or ")
        + "samples (data=..., --data; 100 are usual), or use the recipe 'dynamic'."
    )


def _remarks(model: Model, attached: Attached, beliefs: Beliefs) -> Iterator[Note]:
    """What a person should know of ranges that nobody observed."""
    layers = [
        graph.name(int(op.outputs[0]))
        for graph in model.graphs
        for op in graph.ops
        if graph.code(op) in WEIGHTS
    ]
    known = sum(name in attached.beliefs for name in layers)
    yield Note(
        "statistics",
        "",
        f"{known} of {len(layers)} layers have theirs from BatchNormalization; those of all other "
        "tensors follow from these and the weights",
    )
    if known < len(layers) / 2:
        yield Note("statistics", "", "most layers have none: expect less than with a few samples")
    for name in attached.ambiguous:
        yield Note(
            "statistics", name, "fits several BatchNormalization layers: statistics propagated"
        )
    if attached.lost:
        listed = ", ".join(attached.lost[:3]) + (", ..." if len(attached.lost) > 3 else "")
        yield Note("statistics", "", f"BatchNormalization not found in the file: {listed}")
    for name, why in beliefs.unknown.items():
        yield Note("statistics", name, f"no range without data: {why}")
