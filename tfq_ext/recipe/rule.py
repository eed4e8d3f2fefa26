"""One rule of a recipe: which ops or tensors it is about, and what it sets for them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, StrictStr, model_validator

from tfq_ext.recipe.fields import (
    Bits,
    Calibrator,
    Choice,
    Position,
    RecipeModel,
    WeightBits,
    WeightScale,
)
from tfq_ext.recipe.match import check_op_pattern, compile_pattern, matches_op, matches_tensor

MATCH_FIELDS = ("op", "tensor", "position")
OP_FIELDS = (
    "keep_float",
    "weight_bits",
    "activation_bits",
    "per_channel",
    "weight_scale",
    "rounding",
)
TENSOR_FIELDS = ("calibrator", "range")


def _check_pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


def _check_range(ends: tuple[float, float]) -> tuple[float, float]:
    lo, hi = ends
    if not lo < hi:
        raise ValueError(f"got [{lo}, {hi}]; allowed: [min, max] with min < max.")
    if not lo <= 0.0 <= hi:
        raise ValueError(
            f"got [{lo}, {hi}], which does not contain 0; every TFLite grid does: "
            f"write [{min(lo, 0.0)}, {max(hi, 0.0)}]."
        )
    return ends


Real = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Ends = Annotated[tuple[Real, Real], AfterValidator(_check_range)]


class Rule(RecipeModel):
    """What differs for some ops or tensors. All conditions that a rule states must hold.

    Conditions:
        op: flatbuffer operator code, glob or "re:..." ("CONV_2D", "*_2D"). For a calibrator or
            range, the op that produces the tensor.
        tensor: glob or "re:..." on the op's output tensor; for a calibrator or range, on the
            tensor itself, graph inputs too. A fused name "a;b" matches as a whole or by a part.
        position: "first" or "last" op of the model that has weights.

    Settings (those left out stay as the recipe and earlier rules have them):
        keep_float: the op is not quantized, whatever bits any rule gives it, until a later
            rule says false.
        weight_bits, per_channel, weight_scale, rounding: as in the recipe's `weights`.
        activation_bits: 8 or 16 (any of 2..16 in mode "simulate").
        calibrator: how the tensor's range is chosen, `name` or `name:number`.
        range: [min, max] in units of the tensor; contains 0.
    """

    op: Annotated[StrictStr, AfterValidator(check_op_pattern)] | None = None
    tensor: Annotated[StrictStr, AfterValidator(_check_pattern)] | None = None
    position: Position | None = None

    keep_float: StrictBool | None = None
    weight_bits: WeightBits | None = None
    activation_bits: Bits | None = None
    per_channel: StrictBool | None = None
    weight_scale: WeightScale | None = None
    rounding: Choice | None = None
    calibrator: Calibrator | None = None
    range: Ends | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> Rule:
        if not self.stated(MATCH_FIELDS):
            raise ValueError(f"matches nothing; it needs one of {', '.join(MATCH_FIELDS)}.")
        settings = self.stated(OP_FIELDS + TENSOR_FIELDS)
        if not settings:
            allowed = ", ".join(OP_FIELDS + TENSOR_FIELDS)
            raise ValueError(f"sets nothing; it needs one of {allowed}.")
        if self.keep_float and len(settings) > 1:
            others = ", ".join(name for name in settings if name != "keep_float")
            raise ValueError(f"keep_float = true leaves nothing for {others} to act on.")
        if len(self.stated(TENSOR_FIELDS)) == 2:
            raise ValueError("range fixes what calibrator would choose; keep one of them.")
        return self

    def stated(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those of the fields that this rule gives."""
        return tuple(name for name in names if getattr(self, name) is not None)

    def holds(self, code: str, name: str, position: frozenset[str]) -> bool:
        """Do all stated conditions hold for this op code, tensor name and position?"""
        return (
            (self.op is None or matches_op(self.op, code))
            and (self.tensor is None or matches_tensor(self.tensor, name))
            and (self.position is None or self.position in position)
        )

    def __str__(self) -> str:
        stated = self.stated(MATCH_FIELDS)
        return ", ".join(f"{name} = {getattr(self, name)!r}" for name in stated)
