"""Recipe and ranges to the integers of every weight."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfq_ext.emit.patched.kernels import KERNELS
from tfq_ext.emit.plan import WeightCodes
from tfq_ext.errors import SpecError
from tfq_ext.numerics.clusters import clusters
from tfq_ext.recipe import OpChoice, Recipe
from tfq_ext.rounding import (
    ROUNDERS,
    Job,
    LayerData,
    Learning,
    Rounder,
    better_than_nearest,
    from_rows,
    nearest,
    parse_rounder,
    to_rows,
    weight_params,
)
from tfq_ext.rounding.kept import Kept
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.facts import LOOKUPS, WEIGHTS, WeightFact
from tfq_ext.tflite.read import Graph, Model

HYBRID_ELEMENTS = 1024  # TFLiteConverter's limit too; on the demo network 42 dB against 36
BIAS_CODES = 2.0**30  # headroom of one bit below int32's end


@dataclass(frozen=True)
class Layer:
    """One op with a constant float weight.

    Args:
        graph, op: where.
        fact: weight position and axis.
        code, output: op code and name of its first output tensor.
        weight: name of its weight constant.
        choice: what the recipe says.
    """

    graph: Graph
    op: Any
    fact: WeightFact
    code: str
    output: str
    weight: str
    choice: OpChoice

    @property
    def taps(self) -> int:
        """Kernel positions: a row of the weight is taps x input channels."""
        shape = self.graph.shape(int(self.op.inputs[self.fact.weight]))
        channels, axis = self.fact.channels, self.fact.axis
        inputs = shape[channels] if channels is not None and channels < len(shape) else 1
        return math.prod(shape) // (shape[axis] * inputs)


@dataclass(frozen=True)
class WeightChoice:
    """A weight's codes with the account of how they came about; `learned` where they were."""

    layer: Layer
    codes: WeightCodes
    notes: tuple[str, ...] = ()
    learned: Learning | None = None


def layers(pivot: Model, choices: Mapping[str, OpChoice], *, lookups: bool = False) -> list[Layer]:
    """Every op with a constant float weight, in execution order.

    Args:
        pivot: float model.
        choices: what the recipe says, by name of the op's first output.
        lookups: embedding tables too (for files with float activations).
    """
    facts = {**WEIGHTS, **(LOOKUPS if lookups else {})}
    rows = []
    for graph, _, op, code in pivot.walk():
        if code not in facts or len(op.inputs) <= facts[code].weight:
            continue
        fact = facts[code]
        weight = int(op.inputs[fact.weight])
        values = graph.constant(weight) if graph.dtype(weight) == "float32" else None
        if values is not None and values.ndim > fact.axis:
            output = graph.name(op.outputs[0])
            name = graph.name(weight)
            rows.append(Layer(graph, op, fact, code, output, name, choices[output]))
    return rows


def worth_integers(layer: Layer, mode: str) -> bool:
    """Whether codes for this weight help: not in loops and branches, which stay float, nor where
    a hybrid kernel would round activations for the sake of a few bytes."""
    if mode == "static":
        return layer.graph.is_entry and layer.code in KERNELS
    weight = layer.graph.constant(layer.op.inputs[layer.fact.weight])
    return mode != "dynamic" or (weight is not None and weight.size >= HYBRID_ELEMENTS)


def choose_weights(
    rows: list[Layer],
    ranges: Mapping[str, Range],
    recipe: Recipe,
    trained: Mapping[str, WeightCodes] | None = None,
) -> dict[str, WeightChoice]:
    """Codes by constant name, for the layers that are not kept float.

    Args:
        rows: from `layers`; those that share a constant share the first one's choice.
        ranges: activation ranges, for the floor that keeps the int32 bias from saturating.
        recipe: seed for rounders that draw; asymmetric weights when it simulates.
        trained: constant -> codes from quantization-aware training, taken as they are.
    """
    chosen: dict[str, WeightChoice] = {}
    for layer in rows:
        if layer.choice.keep_float or layer.weight in chosen:
            continue
        if trained and layer.weight in trained:
            chosen[layer.weight] = _as_trained(layer, trained[layer.weight])
        else:
            chosen[layer.weight] = choose_weight(layer, ranges, recipe)
    return chosen


def _as_trained(layer: Layer, codes: WeightCodes) -> WeightChoice:
    """The trained codes, stored so that the op's kernel takes them."""
    notes = ["integers as trained"]
    if codes.stored == "int4" and not layer.fact.int4:
        codes = replace(codes, stored="int8")
        notes.append(f"LiteRT's {layer.code} takes no 4-bit weights: stored in 8 bits")
    return WeightChoice(layer, codes, tuple(notes))


def choose_weight(
    layer: Layer,
    ranges: Mapping[str, Range],
    recipe: Recipe,
    data: LayerData | None = None,
    kept: Kept | None = None,
) -> WeightChoice:
    """Grid and codes of one weight.

    Args:
        layer: of the pivot.
        ranges: activation ranges, for the floor that keeps the int32 bias from saturating.
        recipe: seed, symmetry.
        data: of the layer's inputs; without it a rounder that needs some rounds to nearest.
        kept: where codes found on data are looked up first, and put.
    """
    weight = layer.graph.constant(layer.op.inputs[layer.fact.weight])
    assert weight is not None
    notes: list[str] = []
    rounder = parse_rounder(layer.choice.rounding)
    if rounder.needs_data and data is None:
        notes.append(f"rounded to nearest: {layer.choice.rounding} needs the layer's inputs")
        rounder = ROUNDERS["nearest"]
    spec = _weight_spec(layer, weight, recipe, rounder.bits, notes)
    rows, by_row = to_rows(weight, layer.fact.axis), spec.on(None if spec.axis is None else 0)
    try:
        params = weight_params(rows, by_row, scale=layer.choice.weight_scale, data=data)
    except SpecError as error:
        raise SpecError(f"{layer.code} {layer.output}, weight {layer.weight}: {error}") from None
    job = Job(rows, params, data, recipe.seed, rounder.argument, layer.taps)
    if rounder.grid is not None:
        params = rounder.grid(job)
    params, floored = _floor_for_bias(layer, params, ranges)
    if floored:
        notes.append(f"{floored} near-dead channels: scale raised so that the int32 bias fits")
    told: list[Learning] = []
    job = replace(job, params=params, tell=told.append)
    chosen = _zeros_kept(job, _rounded(layer.choice.rounding, rounder, job, kept))
    if rounder.note is not None and (said := rounder.note(job, chosen)):
        notes.append(said)
    codes = from_rows(chosen, weight.shape, layer.fact.axis)
    params = QParams(spec, params.scale, params.zero_point)
    stored = "int4" if spec.bits <= 4 else "int8"
    learned = told[-1] if told else None
    return WeightChoice(layer, WeightCodes(codes, params, stored), tuple(notes), learned)


def _rounded(name: str, rounder: Rounder, job: Job, kept: Kept | None) -> np.ndarray:
    """Codes; those that data decided are worth keeping."""
    if kept is None or job.data is None:
        return rounder.round(job)
    return kept.round(name, rounder, job)


def refloored(choice: WeightChoice, ranges: Mapping[str, Range]) -> WeightChoice:
    """The choice on ranges that were settled after it: a narrower input needs a larger scale where
    a channel's weights are small beside its bias; such channels are rounded to nearest again."""
    layer, chosen = choice.layer, choice.codes
    params, floored = _floor_for_bias(layer, chosen.params, ranges)
    if not floored:
        return choice
    weight = layer.graph.constant(layer.op.inputs[layer.fact.weight])
    assert weight is not None
    anew = nearest(weight, params)
    raised = np.asarray(params.scale) != np.asarray(chosen.params.scale)
    shape = [-1 if k == params.spec.axis else 1 for k in range(weight.ndim)]
    codes = np.where(raised.reshape(shape if raised.ndim else ()), anew, chosen.codes)
    note = f"{floored} near-dead channels: scale raised for the range chosen since"
    return replace(
        choice, codes=replace(chosen, codes=codes, params=params), notes=(*choice.notes, note)
    )


def _zeros_kept(job: Job, codes: np.ndarray) -> np.ndarray:
    """Weights that are exactly 0 (pruned) stay so, whatever a rounder paid back there."""
    zero = np.asarray(job.params.zero_point, np.int8).reshape(-1, 1)
    moved = (job.weight == 0) & (codes != zero)
    if not moved.any():
        return codes
    forced = np.where(moved, np.broadcast_to(zero, codes.shape), codes)
    if job.data is None:
        return forced
    return better_than_nearest(job.weight, job.params, job.data, forced)


def _weight_spec(
    layer: Layer, weight: np.ndarray, recipe: Recipe, bits: int | None, notes: list[str]
) -> QSpec:
    """The codes of one weight; what differs from the recipe is noted."""
    bits = layer.choice.weight_bits if bits is None else bits
    if bits < 8 and not layer.fact.int4 and recipe.mode != "simulate":
        bits = 8
        notes.append(f"LiteRT's {layer.code} takes no 4-bit weights: 8 bits")
    symmetric = recipe.weights.symmetric
    axis = layer.fact.axis if layer.choice.per_channel else None
    spec = QSpec(bits, symmetric=symmetric, narrow=symmetric, axis=axis)
    if axis is not None and (count := _told_apart(weight, spec)):
        spec = spec.on(None)
        notes.append(f"{count} distinct values: one scale, so that they stay that few")
    return spec


def _told_apart(weight: np.ndarray, spec: QSpec) -> int:
    """How many values a clustered weight has, if one scale gives each a code of its own; else 0.

    With a scale per channel one value has as many codes as there are scales, and the file no
    longer compresses.
    """
    values = clusters(weight)
    if values is None or not np.any(values):
        return 0
    codes = weight_params(values, spec.on(None)).encode(values)
    return values.size if np.unique(codes).size == values.size else 0


def _floor_for_bias(
    layer: Layer, params: QParams, ranges: Mapping[str, Range]
) -> tuple[QParams, int]:
    """Raise scales so that |b| / (s_x s_w) stays below 2^30: dead channels have huge quotients."""
    graph, fact, op = layer.graph, layer.fact, layer.op
    data = ranges.get(graph.name(op.inputs[fact.data]))
    if data is None or fact.bias is None or len(op.inputs) <= fact.bias:
        return params, 0
    bias = graph.constant(int(op.inputs[fact.bias])) if op.inputs[fact.bias] >= 0 else None
    if bias is None or not np.all(np.isfinite(bias)):
        return params, 0
    s_x = float(QParams.from_range(INT8_ACTIVATION, data).scale)
    needed = (np.abs(bias.astype(np.float64)) / (s_x * BIAS_CODES)).astype(np.float32)
    floor = needed if params.spec.axis is not None else needed.max(initial=0.0)
    if np.shape(floor) != np.shape(params.scale):
        return params, 0
    low = params.scale < floor
    if not np.any(low):
        return params, 0
    scale = np.maximum(params.scale, floor)
    return QParams(params.spec, scale, params.zero_point), int(np.sum(low))
