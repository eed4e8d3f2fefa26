"""The integers of every width and the ranges, read from finished files; plans made of them.

Whatever the recipe's rounder does, its integers are those in the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from tfq_ext.emit.emitters import emit
from tfq_ext.emit.patched.kernels import fixed_grid
from tfq_ext.emit.plan import Plan, WeightCodes
from tfq_ext.errors import RecipeError
from tfq_ext.pipeline import finish
from tfq_ext.recipe import Recipe
from tfq_ext.repair.calibrated import Calibrated
from tfq_ext.repair.layerwise import with_constants
from tfq_ext.repair.ranges import MARGIN_16, RangeChoice
from tfq_ext.repair.variants import equalized, replace_steps
from tfq_ext.result import Result
from tfq_ext.samples import progress
from tfq_ext.search.apart import taken_apart
from tfq_ext.search.units import FLOAT, Unit, Width, find_units
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, Range
from tfq_ext.tflite.facts import FLOAT_ONLY
from tfq_ext.tflite.grids import float_activations
from tfq_ext.tflite.read import Model

Choice = Mapping[str, Width]  # unit name -> width
FOUR_BIT_SCALE = "mse"  # where the recipe says "max": at 4 bits clipping outliers pays


@dataclass(frozen=True)
class Materials:
    """What files are made of.

    Args:
        pivot: float model.
        ranges: one a grid.
        codes: bits -> weight constant -> integers.
        biases: bits -> bias constant -> the reals in that file, where the recipe corrects them.
        units: what can be chosen.
        stayed: ops that are float in the 8-bit file -> why.
        base: the 8-bit file, finished by the recipe.
    """

    pivot: Model
    ranges: tuple[RangeChoice, ...]
    codes: Mapping[int, Mapping[str, WeightCodes]]
    biases: Mapping[int, Mapping[str, np.ndarray]]
    units: tuple[Unit, ...]
    stayed: Mapping[str, str]
    base: Result
    _makers: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for graph, _, op, code in self.pivot.walk():
            self._makers.update({graph.name(int(t)): code for t in op.outputs})

    def grid(self, k: int, bits: int) -> dict[str, QParams]:
        """Tensor -> grid `k` in so many bits, for the tensors that have values of their own."""
        row = self.ranges[k]
        wide = bits == 16
        spec = INT16_ACTIVATION if wide else INT8_ACTIVATION
        r = row.widest.scaled(MARGIN_16) if wide else row.range
        free = QParams.from_range(spec, r)
        names = [name for name in row.tensors if name in row.sources] or list(row.tensors)
        dtype = "int16" if wide else "int8"
        return {n: fixed_grid(self._makers.get(n, ""), dtype) or free for n in names}

    def uniform(self, weights: int, activations: int) -> dict[str, Width]:
        """Every unit in the given width, or 8 bits where it cannot."""
        wanted = (Width(weights, activations), Width(0, activations))
        return {u.name: next((w for w in wanted if w in u.widths), u.base) for u in self.units}

    def content(self, choice: Choice, *, packed: bool = False) -> bytes:
        """A file of these widths, on the ranges and integers that are at hand: 0.1 to 0.5 s.

        Args:
            choice: widths; units that it lacks have 8 bits.
            packed: store 4-bit codes in 4 bits. In 8 bits the values are the same, and the fast
                kernels take them.
        """
        plan = self._plan(choice)
        if not packed:
            weights = {name: replace(w, stored="int8") for name, w in plan.weights.items()}
            plan = replace(plan, weights=weights)
        return emit("patched", self._corrected(choice), plan).content

    def _corrected(self, choice: Choice) -> Model:
        """The pivot with the biases that go with each unit's width."""
        values = {}
        for unit in self.units:
            bits = choice.get(unit.name, unit.base).weights
            if unit.bias in self.biases.get(bits, {}):
                values[unit.bias] = self.biases[bits][unit.bias]
        return with_constants(self.pivot, values) if values else self.pivot

    def _plan(self, choice: Choice) -> Plan:
        codes, keep, int16 = dict(self.codes[8]), dict(self.stayed), set[str]()
        sixteen: dict[int, bool] = {}
        for unit in self.units:
            width = choice.get(unit.name, unit.base)
            if width == FLOAT:
                keep.update(dict.fromkeys(unit.ops, "kept float"))
                codes.pop(unit.weight, None)
            elif unit.weight and width.weights != 8:
                codes[unit.weight] = self.codes[width.weights][unit.weight]
            if width.activations == 16:
                int16.update(unit.ops)
            if width != FLOAT:
                for k in unit.grids:
                    sixteen[k] = sixteen.get(k, True) and width.activations == 16
        ranges: dict[str, Range] = {}
        for k, row in enumerate(self.ranges):
            r = row.widest.scaled(MARGIN_16) if sixteen.get(k) else row.range
            ranges.update(dict.fromkeys(row.tensors, r))
        return Plan(ranges, codes, keep, frozenset(int16))


def materials(
    calibrated: Calibrated,
    recipe: Recipe,
    bits: Sequence[int] = (8, 4),
    *,
    threads: int = 2,
    show_progress: bool | None = None,
) -> Materials:
    """Finish a file for each number of weight bits and take it apart.

    Raises:
        RecipeError: the recipe has no 8-bit activations, or the model's bits are trained.
    """
    check(calibrated, recipe)
    plain, start = replace_steps(recipe), calibrated
    if recipe.equalize != "off" and calibrated.samples is not None:
        start = equalized(
            calibrated, threads=threads, watch=partial(progress, enabled=show_progress)
        )
    pivot = start.pivot.model
    codes: dict[int, dict[str, WeightCodes]] = {}
    biases: dict[int, dict[str, np.ndarray]] = {}
    base = finish(start, in_bits(plain, 8), threads=threads, show_progress=show_progress)
    for b in dict.fromkeys((8, *bits)):
        file = base
        if b != 8:
            fast = in_bits(plain, b).changed(calibrator="minmax", output_calibrator="minmax")
            file = finish(start, fast, threads=threads, show_progress=show_progress)
        found = taken_apart(file.content, pivot)
        codes[b] = {n: c for n, c in found.codes.items() if c.stored == f"int{b}"}
        biases[b] = found.biases if recipe.bias != "keep" else {}
    stayed = {row.tensor: row.reason for row in base.account.float_ops}
    stayed |= _never(pivot, recipe)
    ranges = base.account.ranges
    units = find_units(pivot, ranges, stayed, codes)
    return Materials(pivot, ranges, codes, biases, tuple(units), stayed, base)


def check(calibrated: Calibrated, recipe: Recipe) -> None:
    """Whether there is anything to choose.

    Raises:
        RecipeError: no.
    """
    if recipe.mode != "static" or recipe.activations.name != "int8":
        raise RecipeError(
            "Widths are chosen around an int8 recipe; got mode = "
            f"{recipe.mode!r} with {recipe.activations.bits}-bit activations. Use 'int8' or a "
            "recipe based on it."
        )
    if calibrated.trained is not None:
        raise RecipeError(
            "The model was trained with quantization, which settled its bits: tfq quantize obeys "
            "them. Give the float model to choose them after training."
        )


def in_bits(recipe: Recipe, bits: int) -> Recipe:
    """The recipe with every weight in so many bits."""
    clip = bits == 4 and recipe.weights.scale == "max"
    rule: dict[str, Any] = {"op": "*", "weight_bits": bits}
    rule |= {"weight_scale": FOUR_BIT_SCALE} if clip else {}
    return recipe.changed(rules=[*recipe.to_dict()["rules"], rule])


def _never(pivot: Model, recipe: Recipe) -> dict[str, str]:
    """Ops that stay float whatever is chosen."""
    keep = {
        graph.name(op.outputs[0]): FLOAT_ONLY[code]
        for graph, _, op, code in pivot.walk()
        if code in FLOAT_ONLY and len(op.outputs)
    }
    if recipe.output_calibrator == "float":
        for graph in (g for g in pivot.graphs if g.is_entry):
            for t in set(graph.outputs) & set(float_activations(graph)):
                keep[graph.name(t)] = "the recipe keeps the outputs float"
    return keep
