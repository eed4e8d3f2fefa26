"""tfq_ext.sensitivity: what each layer costs, quantized alone, and what it saves, left alone."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tfq_ext.errors import DataError
from tfq_ext.recipe import Recipe
from tfq_ext.repair.watch import Watch
from tfq_ext.samples import Preprocess, progress
from tfq_ext.search.meter import Reading
from tfq_ext.search.study import MEASURED_ON, Study, open_study
from tfq_ext.search.units import FLOAT, Unit

ONLY, ALL_BUT, ALL = "only", "all but", "all"
SCOPES = (ONLY, ALL_BUT)


@dataclass(frozen=True)
class SensitivityRow:
    """One measurement.

    Args:
        layer: name of the op's output tensor; "" for the whole network.
        op: its code.
        scope: "only" this layer is quantized; "all but" this layer; "all".
        weights: bits of the weights that are quantized; 0 where none are.
        activations: bits of the activations that are rounded; 0 where none are.
        sqnr_db: of the outputs, signal over noise, dB; inf without noise.
        kl: of the class probabilities from the float model's, nats; None where the output cannot
            be logits.
        agreement: share of samples with the float model's argmax; None where nothing is ranked.
        metrics: of the task, with labels only.
    """

    layer: str
    op: str
    scope: str
    weights: int
    activations: int
    sqnr_db: float
    kl: float | None
    agreement: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Sensitivity:
    """Every layer, in execution order.

    Args:
        rows: measurements; those of scope "all" first.
        samples: how many measured.
        float_metrics: the task's metrics of the float model.
        elements: layer -> weight values, 0 without.
    """

    rows: tuple[SensitivityRow, ...]
    samples: int
    float_metrics: Mapping[str, float]
    elements: Mapping[str, int]

    @property
    def layers(self) -> tuple[str, ...]:
        """Names in execution order."""
        return tuple(dict.fromkeys(row.layer for row in self.rows if row.layer))

    def find(
        self, layer: str, scope: str, *, weights: int = 0, activations: int = 0
    ) -> SensitivityRow | None:
        """One measurement, if it was made."""
        key = (layer, scope, weights, activations)
        return self._index.get(key)

    @property
    def _index(self) -> dict[tuple[str, str, int, int], SensitivityRow]:
        return {(r.layer, r.scope, r.weights, r.activations): r for r in self.rows}

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as text; null stands for infinite levels."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        from tfq_ext.report.search_text import sensitivity_text

        return sensitivity_text(self)

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw it: a .png, .svg or .pdf.

        Raises:
            OutputError: it cannot be written.
        """
        from tfq_ext.report.search_text import plot_sensitivity

        return plot_sensitivity(self, path)


def sensitivity(
    model: object,
    data: object,
    *,
    recipe: str | Path | Mapping[str, Any] | Recipe = "int8",
    bits: Sequence[int] = (8, 4),
    activations: Sequence[int] = (8,),
    scopes: Sequence[str] = SCOPES,
    evaluation: object = None,
    labels: Any = None,
    task: str | None = None,
    output: str | None = None,
    label_offset: int = 0,
    preprocess: Preprocess | str | None = None,
    limit: int | None = None,
    measure_on: int | None = MEASURED_ON,
    signatures: Sequence[str] | None = None,
    batch: int | None = None,
    custom_objects: Mapping[str, object] | Sequence[str] | None = None,
    threads: int = 2,
    checkpoint: Path | None = None,
    verbose: bool = False,
    show_progress: bool | None = None,
) -> Sensitivity:
    """Measure what quantizing each layer does to the outputs.

    "only": weights become the reals that their codes stand for, activations pass a FAKE_QUANT
    op, one thing at a time in the float model. "all but": the integer file with this layer's ops
    float (16-bit activations: simulated in float, for their kernels are slow).

    Args:
        model, data, recipe: as `quantize` takes them; so preprocess, limit, signatures, batch,
            custom_objects, threads, verbose, show_progress. The recipe (static, 8-bit
            activations) decides ranges and rounding.
        bits: of weights: 8, 4 or both.
        activations: 8, 16 or both.
        scopes: "only", "all but" or both.
        evaluation: samples that measure, labelled or not; None: some of `data`.
        labels: of the evaluation samples; None: those that come with them.
        task, output, label_offset: as `validate` takes them.
        measure_on: at most so many samples measure; None: all.
        checkpoint: path (without suffix); what was measured is in PATH.jsonl, and an
            interrupted run goes on from there.

    Raises:
        ModelError, DataError, RecipeError: what came cannot be used; the message says what to do.
    """
    _check(bits, activations, scopes)
    study = open_study(
        model,
        data,
        recipe=recipe,
        bits=bits,
        evaluation=evaluation,
        labels=labels,
        task=task,
        output=output,
        label_offset=label_offset,
        preprocess=preprocess,
        limit=limit,
        measure_on=measure_on,
        signatures=signatures,
        batch=batch,
        custom_objects=custom_objects,
        threads=threads,
        checkpoint=checkpoint,
        verbose=verbose,
        show_progress=show_progress,
    )
    return measure(study, bits, activations, scopes, partial(progress, enabled=show_progress))


def _check(bits: Sequence[int], activations: Sequence[int], scopes: Sequence[str]) -> None:
    for name, given, allowed in (
        ("bits", bits, (8, 4)),
        ("activations", activations, (8, 16)),
        ("scopes", scopes, SCOPES),
    ):
        if unknown := [str(value) for value in given if value not in allowed]:
            raise DataError(
                f"{name}: got {', '.join(unknown)}; allowed: {', '.join(map(str, allowed))}."
            )


def measure(
    study: Study,
    bits: Sequence[int],
    activations: Sequence[int],
    scopes: Sequence[str],
    watch: Watch,
) -> Sensitivity:
    """All rows of a study."""
    units = study.materials.units
    rows = list(_whole(study, bits, activations)) if ALL_BUT in scopes else []
    for unit in watch(units, label="layers", total=len(units)):
        if ONLY in scopes:
            rows += _only(study, unit, bits, activations)
        if ALL_BUT in scopes:
            rows += _all_but(study, unit, bits, activations)
    elements = {unit.name: unit.elements for unit in units}
    return Sensitivity(tuple(rows), study.meter.count, study.meter.float.metrics, elements)


def _row(unit: Unit | None, scope: str, weights: int, acts: int, r: Reading) -> SensitivityRow:
    layer, op = (unit.name, unit.op) if unit is not None else ("", "")
    numbers = (r.sqnr_db, r.kl, r.agreement, dict(r.metrics))
    return SensitivityRow(layer, op, scope, weights, acts, *numbers)


def _only(
    study: Study, unit: Unit, bits: Sequence[int], activations: Sequence[int]
) -> Iterator[SensitivityRow]:
    for b in bits:
        if unit.weight and any(w.weights == b for w in unit.widths):
            yield _row(unit, ONLY, b, 0, study.only_weights(unit, b))
    for a in activations:
        for k in sorted(unit.made)[:1]:  # one grid, but for ops with several results (SPLIT)
            yield _row(unit, ONLY, 0, a, study.only_grid(k, a))


def _whole(
    study: Study, bits: Sequence[int], activations: Sequence[int]
) -> Iterator[SensitivityRow]:
    for b in bits:
        for a in activations:
            whole = study.materials.uniform(b, 8)
            reading = study.file(whole) if a == 8 else study.simulated(b)
            yield _row(None, ALL, b, a, reading)


def _all_but(
    study: Study, unit: Unit, bits: Sequence[int], activations: Sequence[int]
) -> Iterator[SensitivityRow]:
    for b in bits:
        for a in activations:
            if a == 8:
                reading = study.file({**study.materials.uniform(b, 8), unit.name: FLOAT})
            else:
                reading = study.simulated(b, unit)
            yield _row(unit, ALL_BUT, b, a, reading)
