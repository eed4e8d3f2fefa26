"""Recipe and pivot to a plan: which op gets what, ranges, integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tfq_ext.emit.plan import Plan
from tfq_ext.recipe import OpChoice, Recipe
from tfq_ext.repair.ends import ends
from tfq_ext.repair.ranges import RangeChoice, by_name
from tfq_ext.repair.weights import WeightChoice
from tfq_ext.tflite.facts import FLOAT_ONLY
from tfq_ext.tflite.grids import float_activations
from tfq_ext.tflite.read import Model


@dataclass(frozen=True)
class Choices:
    """What the recipe says of every op, by name of its first output tensor.

    Args:
        ops: the choices.
        codes: op code by the same name.
        used: indices of the rules that matched something.
    """

    ops: Mapping[str, OpChoice]
    codes: Mapping[str, str]
    used: frozenset[int]

    @property
    def keep_float(self) -> dict[str, str]:
        """Ops that rules keep float, with the reason."""
        return {
            name: f"kept float by rule {', '.join(str(k) for k in sorted(choice.rules))}"
            for name, choice in self.ops.items()
            if choice.keep_float
        }

    @property
    def int16(self) -> frozenset[str]:
        """Ops whose activations are 16 bits."""
        return frozenset(
            name
            for name, choice in self.ops.items()
            if choice.activation_bits == 16 and not choice.keep_float
        )


def op_choices(pivot: Model, recipe: Recipe) -> Choices:
    """Ask the recipe about every op; "first" and "last" count the ops with weights."""
    rows = [(g.name(op.outputs[0]), code) for g, _, op, code in pivot.walk() if len(op.outputs)]
    positions = ends(pivot)
    ops = {name: recipe.for_op(code, name, positions.get(name, frozenset())) for name, code in rows}
    used = frozenset[int]().union(*(choice.rules for choice in ops.values()))
    return Choices(ops, dict(rows), used)


def make_plan(
    pivot: Model,
    recipe: Recipe,
    choices: Choices,
    ranges: Iterable[RangeChoice] = (),
    weights: Mapping[str, WeightChoice] | None = None,
) -> Plan:
    """Gather everything that was chosen.

    An output that the recipe keeps float gets no range, so that its op stays float.
    """
    chosen = by_name(ranges)
    codes = choices.codes.items()
    keep = {name: FLOAT_ONLY[code] for name, code in codes if code in FLOAT_ONLY}
    keep |= choices.keep_float
    if recipe.output_calibrator == "float":
        for graph in [g for g in pivot.graphs if g.is_entry]:
            outputs = set(graph.outputs) & set(float_activations(graph))
            names = {graph.name(t) for t in outputs}
            keep |= dict.fromkeys(names, "the recipe keeps the outputs float")
            chosen = {n: r for n, r in chosen.items() if n not in names}
    kept = {w.layer.weight for w in (weights or {}).values() if w.layer.output in keep}
    return Plan(
        ranges=chosen,
        weights={name: w.codes for name, w in (weights or {}).items() if name not in kept},
        keep_float=keep,
        int16=choices.int16,
        input_type=recipe.input_type,
        output_type=recipe.output_type,
    )
