"""The plan: every integer, scale and range that the file shall hold, by the pivot's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tfq_ext.errors import SpecError
from tfq_ext.spec import QParams, Range


@dataclass(frozen=True)
class WeightCodes:
    """The chosen integers of one constant.

    Args:
        codes: int8[weight shape], row-major as the pivot stores it.
        params: their grid; per channel along `params.spec.axis`, or per tensor.
        stored: "int8" or "int4" (4 bits packed two a byte; 2-bit codes are stored so too).
    """

    codes: np.ndarray
    params: QParams
    stored: str = "int8"

    def __post_init__(self) -> None:
        spec = self.params.spec
        if self.codes.dtype != np.int8:
            raise SpecError(f"Codes must be int8, got {self.codes.dtype}.")
        if self.codes.size and (self.codes.min() < spec.qmin or self.codes.max() > spec.qmax):
            raise SpecError(
                f"Codes lie in [{self.codes.min()}, {self.codes.max()}], "
                f"the grid ends at [{spec.qmin}, {spec.qmax}]."
            )


@dataclass(frozen=True)
class Plan:
    """What to emit. Ops are named by their first output tensor, unique in the pivot.

    Args:
        ranges: activation tensor -> the range its grid shall cover.
        weights: constant tensor -> its codes. A constant that is absent stays float.
        keep_float: op -> why it stays float.
        int16: ops whose activations are 16 bits (the rest are 8).
        input_type, output_type: "float32", "int8", "uint8" or "int16".
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)
    weights: Mapping[str, WeightCodes] = field(default_factory=dict)
    keep_float: Mapping[str, str] = field(default_factory=dict)
    int16: frozenset[str] = frozenset()
    input_type: str = "float32"
    output_type: str = "float32"
