"""Recipe: everything that decides how a model is quantized, as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from tfq_ext._files import write_text
from tfq_ext.recipe import text
from tfq_ext.recipe.contradictions import contradictions
from tfq_ext.recipe.fields import (
    ActivationGrid,
    Calibrator,
    Choice,
    IoType,
    Mode,
    RecipeModel,
    Search,
    WeightGrid,
)
from tfq_ext.recipe.rule import OP_FIELDS, TENSOR_FIELDS, Rule
from tfq_ext.spec import Range


@dataclass(frozen=True)
class OpChoice:
    """What the recipe decides for one op; `rules` are the indices of the rules it comes from.

    A field that the recipe's mode does not read (weight bits in fp16) holds the default.
    """

    keep_float: bool
    weight_bits: int
    activation_bits: int
    per_channel: bool
    weight_scale: str
    rounding: str
    rules: frozenset[int] = frozenset()


@dataclass(frozen=True)
class TensorChoice:
    """How one activation tensor gets its range: a fixed one where `range` is given."""

    calibrator: str
    range: Range | None
    rules: frozenset[int] = frozenset()


class Recipe(RecipeModel):
    """How to quantize a model.

    Args:
        mode: "static" (integers throughout), "dynamic" (activation ranges at run time),
            "weight_only", "fp16", or "simulate" (FAKE_QUANT in a float file: any grid).
        activations: "int8", "int16", or in mode "simulate" a table of bits and symmetric.
        weights: bits, per_channel, symmetric, scale, rounding.
        calibrator: how activation ranges are chosen, `name` or `name:number`.
        output_calibrator: the same for the graph's outputs; "float" leaves them unquantized;
            None: by cross-entropy where the calibrator is "auto", else as every tensor.
        input_type, output_type: of the graph's inputs and outputs.
        relu6: "relu" replaces ReLU6 by ReLU, which changes the float model.
        statistics: where activation ranges come from: "samples", or "norms", the
            BatchNormalization layers of a Keras model, without data.
        bias: "analytic" takes off what rounded weights add on average, the means of their inputs
            from samples or from BatchNormalization; weights that were rounded on data need it
            not. "match" makes each channel's mean after the activation the float network's, layer
            by layer.
        equalize: scale channels between layers so that they use their grids alike; "try" makes
            the file both ways and keeps the one that is nearer to float on held-back samples.
        distill: passes over the samples in which the scales and biases of all layers are learned
            together, the float network being the teacher; needs TensorFlow. Kept if it helps.
        absorb: with `equalize` and statistics "norms": what a channel hardly ever goes below moves
            into the biases of its readers.
        at_least: name of a preset that is made as well, and kept if it is nearer to float there.
        search: budgets under which each layer gets its own width before the file is made; the
            result's recipe has the widths as rules, and no search.
        strict: an op left float is an error, not a row in the account.
        seed: of everything random.
        hold_back: share of the samples (0 to 0.5) that judges choices and makes none.
        limit: at most so many samples; None: all.
        rules: exceptions, in order. Later rules win over earlier ones, field by field;
            `calibrator` and `range` count as one field, for they answer one question.
    """

    mode: Mode = "static"
    activations: ActivationGrid = ActivationGrid()
    weights: WeightGrid = WeightGrid()
    calibrator: Calibrator = "auto"
    output_calibrator: Choice | None = None
    input_type: IoType = "float32"
    output_type: IoType = "float32"
    relu6: Literal["keep", "relu"] = "keep"
    statistics: Literal["samples", "norms"] = "samples"
    bias: Literal["keep", "match", "analytic"] = "analytic"
    equalize: Literal["off", "on", "try"] = "off"
    distill: Annotated[StrictInt, Field(ge=0)] = 0
    absorb: StrictBool = False
    at_least: StrictStr | None = None
    search: Search | None = None
    strict: StrictBool = False
    seed: Annotated[StrictInt, Field(ge=0)] = 0
    hold_back: Annotated[float, Field(strict=True, ge=0.0, le=0.5)] = 0.2
    limit: Annotated[StrictInt, Field(ge=1)] | None = None
    rules: tuple[Rule, ...] = ()

    @model_validator(mode="after")
    def _is_coherent(self) -> Recipe:
        if sentences := contradictions(self):
            raise ValueError("\n".join(sentences))
        return self

    @property
    def needs_ranges(self) -> bool:
        """Does the file hold a range of every activation?"""
        return self.mode in ("static", "simulate")

    @property
    def is_unseen(self) -> bool:
        """Are ranges chosen, and by no sample?"""
        return self.needs_ranges and self.statistics == "norms"

    @property
    def needs_data(self) -> bool:
        """Must representative samples be given?"""
        return self.needs_ranges and not self.is_unseen

    @property
    def uses_auto(self) -> bool:
        """Does any tensor ask for calibrator "auto", which judges on samples held back?"""
        asked = (self.calibrator, self.output_calibrator, *(r.calibrator for r in self.rules))
        return "auto" in asked

    def changed(self, **fields: Any) -> Recipe:
        """The same recipe with other values for some fields, checked again."""
        return Recipe(**{**self.to_dict(), **fields})

    def for_op(self, code: str, output: str, position: frozenset[str] = frozenset()) -> OpChoice:
        """The settings for one op.

        Args:
            code: flatbuffer operator code, "CONV_2D".
            output: name of the op's (first) output tensor.
            position: which of "first" and "last" the op is, among the ops that have weights.
        """
        choice = OpChoice(
            keep_float=False,
            weight_bits=self.weights.bits,
            activation_bits=self.activations.bits,
            per_channel=self.weights.per_channel,
            weight_scale=self.weights.scale,
            rounding=self.weights.rounding,
        )
        for index, rule in enumerate(self.rules):
            stated = rule.stated(OP_FIELDS)
            if stated and rule.holds(code, output, position):
                values: dict[str, Any] = {name: getattr(rule, name) for name in stated}
                choice = replace(choice, **values, rules=choice.rules | {index})
        return choice

    def for_tensor(
        self,
        name: str,
        producer_code: str = "",
        position: frozenset[str] = frozenset(),
        *,
        is_output: bool = False,
    ) -> TensorChoice:
        """How one activation tensor gets its range.

        Args:
            name: of the tensor.
            producer_code: operator code of the op that writes it; "" for a graph input.
            position: of that op, as in `for_op`.
            is_output: the tensor is an output of the graph: output_calibrator applies, unless
                a rule says otherwise.
        """
        calibrator = (is_output and self.output_calibrator) or self.calibrator
        choice = TensorChoice(calibrator, None)
        for index, rule in enumerate(self.rules):
            if not (rule.stated(TENSOR_FIELDS) and rule.holds(producer_code, name, position)):
                continue
            choice = TensorChoice(
                calibrator=rule.calibrator or choice.calibrator,
                range=Range(*rule.range) if rule.range else None,
                rules=choice.rules | {index},
            )
        return choice

    def unused(self, matched: Iterable[int]) -> tuple[str, ...]:
        """A sentence for every rule that matched nothing.

        Args:
            matched: the union of `.rules` over every OpChoice and TensorChoice of the model.
        """
        seen = set(matched)
        return tuple(
            f"rules[{index}] ({rule}) matched nothing in this model."
            for index, rule in enumerate(self.rules)
            if index not in seen
        )

    def to_dict(self) -> dict[str, Any]:
        """Every field that is not None, as plain JSON values."""
        return self.model_dump(mode="json", exclude_none=True)

    def to_json(self) -> str:
        """The recipe as JSON text that `load_recipe` reads back."""
        return text.to_json(self.to_dict())

    def to_toml(self) -> str:
        """The recipe as TOML text that `load_recipe` reads back."""
        return text.to_toml(self.to_dict())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the recipe as .toml or .json, atomically.

        Raises:
            RecipeError: another suffix, which `load_recipe` would not read.
            OutputError: it cannot be written.
        """
        target = Path(path)
        text.check_suffix(target)
        json = target.suffix.lower() == ".json"
        return write_text(target, self.to_json() if json else self.to_toml())

    def digest(self) -> str:
        """sha256 of the recipe, 64 hexadecimal digits; equal recipes, however written, agree."""
        return text.digest(self.to_dict())
