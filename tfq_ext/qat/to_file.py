"""export(): a trained QAT model becomes an integer .tflite with exactly the trained integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tfq_ext._optional import need
from tfq_ext.emit.absorb import absorb_fake_quant
from tfq_ext.emit.emitters import emit, emitter_for
from tfq_ext.emit.islands import float_ops
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.emit.verify import verify
from tfq_ext.errors import EmissionError, ModelError
from tfq_ext.qat.deploy import Deployed, TrainedRange, TrainedWeight, deploy
from tfq_ext.qat.elsewhere import converted_elsewhere
from tfq_ext.qat.layers import qat_layers
from tfq_ext.qat.match import exact_ranges, match_weights, weighted_ops
from tfq_ext.recipe import Recipe, load_recipe
from tfq_ext.repair.observe import observe
from tfq_ext.repair.ranges import RangeChoice
from tfq_ext.report.collect import account_of
from tfq_ext.result import Account, Provenance, Result, WeightRow
from tfq_ext.samples import open_samples, progress
from tfq_ext.spec import Range
from tfq_ext.tflite import passes
from tfq_ext.tflite.facts import FLOAT_ONLY
from tfq_ext.tflite.grids import observed, shared_grids
from tfq_ext.tflite.inputs import input_specs
from tfq_ext.tflite.read import Model

keras = need("keras", why="Exporting a QAT model")
UNTRAINED = "no range was trained for it; give export(model, data) to choose one"


def export(
    model: Any,
    data: object = None,
    *,
    input_type: str = "float32",
    output_type: str = "float32",
    threads: int = 2,
    verbose: bool = False,
    show_progress: bool | None = None,
) -> Result:
    """Write a QAT model's integers into a .tflite, and read them back.

    Args:
        model: from `quantize_aware`, trained; any Keras backend.
        data: samples as for `quantize`, only for results inside a layer that training does not
            see (GroupNormalization, gelu); without it those ops stay float.
        input_type, output_type: "float32", "int8", "uint8" or "int16".
        threads: for LiteRT.
        verbose: let the converter's messages through.
        show_progress: None shows bars on a terminal only.

    Returns:
        Result, as of `quantize`: `.content`, `.save(path)`, `.account`.

    Raises:
        ModelError: no QAT model, or one that has not been trained past its delay.
        EmissionError: an integer in the file is not the trained one.
    """
    if next(qat_layers(model), None) is None:
        raise ModelError(f"Model {model.name!r} has no quantizers: quantize_aware makes them.")
    pivot, deployed = _converted(model, verbose)
    absorbed = absorb_fake_quant(pivot.model)
    graph, _ = passes.apply(absorbed.model, passes.exact())
    trained = _Trained.of(graph, deployed, dict(absorbed.ranges))
    watch = partial(progress, label="observing", enabled=show_progress)
    ranges = trained.ranges | _observed(graph, trained, data, threads, watch)
    plan = Plan(
        ranges={name: row.range for name, row in ranges.items()},
        weights={name: codes for name, (_, codes) in trained.weights.items()},
        keep_float=trained.keep_float,
        int16=trained.int16,
        input_type=input_type,
        output_type=output_type,
    )
    recipe = load_recipe({"input_type": input_type, "output_type": output_type})
    return _finish(replace(pivot, model=graph), plan, trained, ranges, recipe)


def _converted(model: Any, verbose: bool) -> tuple[Pivot, Deployed]:
    if keras.backend.backend() != "tensorflow":
        return converted_elsewhere(model)
    deployed = deploy(model)
    return to_float(deployed.model, verbose=verbose), deployed


@dataclass(frozen=True)
class _Range:
    range: Range
    source: str  # name of the quantizer, or "minmax"
    bits: int = 8


@dataclass(frozen=True)
class _Trained:
    """What was trained, by the pivot's names."""

    ranges: dict[str, _Range]
    weights: Mapping[str, tuple[TrainedWeight, WeightCodes]]
    keep_float: Mapping[str, str]
    int16: frozenset[str]

    @classmethod
    def of(cls, pivot: Model, deployed: Deployed, absorbed: dict[str, Range]) -> _Trained:
        weights = match_weights(pivot, deployed.weights)
        there = {id(row) for row, _ in weights.values()}
        if lost := [
            w.layer for w in deployed.weights if id(w) not in there and not _same(w, weights)
        ]:
            raise EmissionError(
                f"The converter changed the weights of {', '.join(lost[:5])}, so the trained "
                "integers are not in its model. Please report this with the model."
            )
        exact = exact_ranges(absorbed, deployed.ranges)
        ranges = {name: _range(row, r) for name, (row, r) in exact.items()}
        return cls(ranges, weights, _keep_float(pivot, weights), _int16(pivot, ranges))


def _same(weight: TrainedWeight, found: Mapping[str, tuple[TrainedWeight, WeightCodes]]) -> bool:
    """Whether another layer's equal weight stands for this one."""
    real = weight.real
    return any(w.real.shape == real.shape and (w.real == real).all() for w, _ in found.values())


def _range(row: TrainedRange | None, r: Range) -> _Range:
    return _Range(r, "trained") if row is None else _Range(r, row.name, row.bits)


def _keep_float(pivot: Model, weights: Mapping[str, object]) -> dict[str, str]:
    keep = {
        g.name(op.outputs[0]): FLOAT_ONLY[code]
        for g, _, op, code in pivot.walk()
        if code in FLOAT_ONLY
    }
    for graph, op, fact in weighted_ops(pivot):
        if graph.name(int(op.inputs[fact.weight])) not in weights:
            keep[graph.name(op.outputs[0])] = "its weights were trained as floats"
    return keep


def _int16(pivot: Model, ranges: Mapping[str, _Range]) -> frozenset[str]:
    """Ops whose results were trained on 16 bits."""
    wide = {name for name, row in ranges.items() if row.bits == 16}
    if not wide:
        return frozenset()
    return frozenset(
        g.name(op.outputs[0]) for g, _, op, _ in pivot.walk() if g.name(op.outputs[0]) in wide
    )


def _observed(
    pivot: Model, trained: _Trained, data: object, threads: int, watch: Any
) -> dict[str, _Range]:
    """Ranges by min and max for what training did not see, where there is data."""
    names = [g.name(t) for g in pivot.graphs if g.is_entry for t in observed(g)]
    missing = [name for name in names if name not in trained.ranges]
    if data is None or not missing:
        return {}
    samples = open_samples(data, input_specs(pivot)).reusable()
    stats = observe(pivot, watch(samples), threads=threads)
    return {
        n: _Range(Range.of(stats[n].min, stats[n].max), "minmax") for n in missing if n in stats
    }


def _finish(
    pivot: Pivot,
    plan: Plan,
    trained: _Trained,
    ranges: Mapping[str, _Range],
    recipe: Recipe,
) -> Result:
    """Emit, read back, account."""
    emitted = emit(emitter_for("static", plan), pivot.model, plan)
    read_back = verify(emitted.content, pivot.model, plan)
    reasons = dict.fromkeys(_unranged(pivot.model, plan), UNTRAINED)
    stayed = float_ops(Model.parse(emitted.content), {**reasons, **plan.keep_float}, plan.ranges)
    account = account_of(
        pivot.model,
        emitted.content,
        ranges=_rows(pivot.model, ranges),
        weights={},
        float_ops=stayed,
        released=(),
        read_back=read_back,
        end_to_end={},
        notes=emitted.notes,
    )
    account = _with_weights(account, pivot.model, trained)
    return Result(emitted.content, recipe, Provenance.of(pivot, None, None, seed=0), account)


def _unranged(pivot: Model, plan: Plan) -> list[str]:
    return [g.name(t) for g in pivot.graphs for t in observed(g) if g.name(t) not in plan.ranges]


def _rows(pivot: Model, ranges: Mapping[str, _Range]) -> list[RangeChoice]:
    rows = []
    for graph in pivot.graphs:
        for grid in shared_grids(graph):
            names = tuple(graph.name(t) for t in grid.tensors)
            known = [ranges[name] for name in names if name in ranges]
            if known:
                first = known[0]
                source = "minmax" if first.source == "minmax" else "trained"
                sources = {graph.name(t): first.range for t in grid.sources}
                rows.append(RangeChoice(names, sources, first.range, source, first.range, 0.0))
    return rows


def _with_weights(account: Account, pivot: Model, trained: _Trained) -> Account:
    rows = []
    for graph, op, fact in weighted_ops(pivot):
        found = trained.weights.get(graph.name(int(op.inputs[fact.weight])))
        if found is not None:
            weight, codes = found
            name = graph.name(op.outputs[0])
            channels = int(codes.params.scale.size)
            rows.append(
                WeightRow(graph.code(op), name, weight.bits, channels, weight.sqnr_db, ("trained",))
            )
    return replace(account, weights=tuple(rows))
