"""The types of recipe fields: closed choices as literals, `name:number` texts, weight grids."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
    model_serializer,
    model_validator,
)

from tfq_ext.errors import RecipeError
from tfq_ext.recipe.explain import explain
from tfq_ext.spec import QSpec

Mode = Literal["static", "dynamic", "weight_only", "fp16", "simulate"]
IoType = Literal["float32", "int8", "uint8", "int16"]
Position = Literal["first", "last"]
WeightBits = Literal[8, 4, 2]
WeightScale = Literal["max", "mse", "output"]
WidthName = Literal["w4", "w8", "a16", "float"]
Bits = Annotated[StrictInt, Field(ge=2, le=16)]

_CHOICE = re.compile(r"[a-z][a-z0-9_]*(:[0-9]+(\.[0-9]+)?(e-?[0-9]+)?)?")


def _check_choice(text: str) -> str:
    # Only the syntax: which names exist is known to the tables in calibrate and rounding.
    if not _CHOICE.fullmatch(text):
        raise ValueError(
            f"got {text!r}; allowed: a name, or name:number, such as 'mse' or 'percentile:99.99'."
        )
    return text


def _not_float(text: str) -> str:
    if text == "float":
        raise ValueError(
            "got 'float'; only output_calibrator may say so. To leave ops unquantized, "
            "write a rule with keep_float = true."
        )
    return text


Choice = Annotated[StrictStr, AfterValidator(_check_choice)]
Calibrator = Annotated[Choice, AfterValidator(_not_float)]


class RecipeModel(BaseModel):
    """A frozen pydantic model whose constructor raises RecipeError, one sentence a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **data: Any) -> None:
        try:
            self.__pydantic_validator__.validate_python(data, self_instance=self)
        except ValidationError as error:
            raise RecipeError(explain(error, type(self))) from None

    # As pydantic's own RootModel does: nested models keep their own place in the error.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


class WeightGrid(RecipeModel):
    """How weights become integers.

    Args:
        bits: width of the codes. 2 is stored as 4: LiteRT's CPU kernels refuse INT2.
        per_channel: one scale per output channel, else one per tensor.
        symmetric: zero point 0. The only kind with kernels; False needs mode "simulate".
        scale: "max" covers max|w|; "mse" clips where the squared error is least, "output" where
            that of the layer's output is (on the calibration samples; "mse" without any).
        rounding: name of an entry in the table of rounders, `name` or `name:number`.
    """

    bits: WeightBits = 8
    per_channel: StrictBool = True
    symmetric: StrictBool = True
    scale: WeightScale = "max"
    rounding: Choice = "nearest"

    @property
    def stored_bits(self) -> int:
        """Bits per weight in the file."""
        return max(self.bits, 4)


class Search(RecipeModel):
    """Widths of single layers, chosen before the file is made; at least one budget.

    Both are relative to the same recipe with 8 bits throughout, so that they fit any model.

    Args:
        max_loss: dB that the SQNR of the outputs may fall; bytes are then made few.
        enough: dB of SQNR that are good enough even if `max_loss` would ask for more.
        max_size: share of the bytes, over 0, 1 at most.
        choices: "w4", "w8", "a16" (16-bit activations), "float".
    """

    max_loss: Annotated[float, Field(strict=True, ge=0.0, allow_inf_nan=False)] | None = None
    enough: Annotated[float, Field(strict=True, allow_inf_nan=False)] | None = None
    max_size: Annotated[float, Field(strict=True, gt=0.0, le=1.0)] | None = None
    choices: tuple[WidthName, ...] = ("w4", "w8", "float")

    @model_validator(mode="after")
    def _is_bounded(self) -> Search:
        if self.max_loss is None and self.max_size is None:
            raise ValueError("no budget; it needs max_loss (dB) or max_size (a share), or both.")
        if self.enough is not None and self.max_loss is None:
            raise ValueError("enough softens max_loss; state that one, too.")
        if not {"w4", "w8"} & set(self.choices):
            raise ValueError(
                f"choices = {list(self.choices)} leaves no integers; it needs 'w8' or 'w4'."
            )
        return self


NAMED_ACTIVATIONS = {
    "int8": {"bits": 8, "symmetric": False},
    "int16": {"bits": 16, "symmetric": True},
}


class ActivationGrid(RecipeModel):
    """How activations become integers; "int8" and "int16" are short for the two with kernels.

    Args:
        bits: 2..16; mode "static" has kernels for 8 and 16.
        symmetric: zero point 0; when left out, as the kernels have it: only with 16 bits.
    """

    bits: Bits = 8
    symmetric: StrictBool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in NAMED_ACTIVATIONS:
                raise ValueError(
                    f"got {value!r}; allowed: 'int8', 'int16', or a table of bits (2 to 16) and "
                    "symmetric (mode = 'simulate' only)."
                )
            return NAMED_ACTIVATIONS[value]
        if isinstance(value, dict) and "symmetric" not in value:
            return {**value, "symmetric": value.get("bits") == 16}
        return value

    @model_serializer
    def _to_name(self) -> str | dict[str, Any]:
        return self.name or {"bits": self.bits, "symmetric": self.symmetric}

    @property
    def name(self) -> str | None:
        """ "int8" or "int16", or None for a grid that no kernel has."""
        mine = {"bits": self.bits, "symmetric": self.symmetric}
        return next((name for name, grid in NAMED_ACTIVATIONS.items() if grid == mine), None)

    @property
    def spec(self) -> QSpec:
        """The codes of one activation tensor."""
        return QSpec(self.bits, symmetric=self.symmetric)
