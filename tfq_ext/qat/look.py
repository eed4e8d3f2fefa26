"""What of a QAT model is integer, on how many bits, and what stays float and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tfq_ext.errors import ModelError
from tfq_ext.qat.conv_bn import FoldedBatchNorm
from tfq_ext.qat.kinds import KINDS, activation_name, kind_of
from tfq_ext.qat.layers import qat_layers
from tfq_ext.qat.quantizers import Quantizer

_UNKNOWN = "no row in the table of kinds: its result is quantized, what happens inside is not"
_RULE = "kept float by a rule"


@dataclass(frozen=True)
class Row:
    """One layer.

    Args:
        layer, kind: name and class.
        weights: "4 bits, 32 scales, LearnedScale"; "" for a layer without any.
        norm: "corrected", "naive" or "frozen"; "" without a folded BatchNormalization.
        reason: why it is float, or partly so; "" for an integer layer.
    """

    layer: str
    kind: str
    weights: str = ""
    norm: str = ""
    reason: str = ""

    def __str__(self) -> str:
        details = "; ".join(filter(None, [self.weights, self.norm and f"norm {self.norm}"]))
        end = f"float: {self.reason}" if self.reason else details
        return f"{self.layer:<28} {self.kind:<20} {end}"


@dataclass(frozen=True)
class Overview:
    """Every layer that computes, in the model's order.

    Args:
        rows: one a layer; those that only move values are left out.
        activations: number of activation grids, and how many are switched on and frozen.
    """

    rows: tuple[Row, ...]
    activations: tuple[int, int, int]

    @property
    def floats(self) -> tuple[Row, ...]:
        """The layers that are not integer throughout."""
        return tuple(row for row in self.rows if row.reason)

    def __str__(self) -> str:
        count, on, frozen = self.activations
        head = (
            f"{len(self.rows) - len(self.floats)} of {len(self.rows)} layers are integer; "
            f"{count} activation grids, {on} switched on, {frozen} frozen."
        )
        return "\n".join([head, *map(str, self.rows)])


def overview(model: Any) -> Overview:
    """Tell what `quantize_aware` made of a model.

    Raises:
        ModelError: the model has no quantizers.
    """
    grids = [layer for layer in model.layers if isinstance(layer, Quantizer)]
    if next(qat_layers(model), None) is None:
        raise ModelError(f"Model {model.name!r} has no quantizers: quantize_aware makes them.")
    counts = len(grids), sum(q.enabled for q in grids), sum(q.frozen for q in grids)
    return Overview(tuple(_rows(model)), counts)


def _rows(model: Any) -> Iterator[Row]:
    for layer in model.operations:
        name = type(layer).__name__
        if isinstance(layer, Quantizer) or name == "InputLayer":
            continue
        if hasattr(layer, "quantizers"):
            yield _weighted(layer)
        elif kind_of(layer).grid == "float":
            yield Row(layer.name, name, reason=kind_of(layer).reason)
        elif kind_of(layer).weights or name == "BatchNormalization":
            yield Row(layer.name, name, reason=_RULE)
        elif kind_of(layer).grid != "same":
            yield Row(layer.name, name, reason="" if _known(layer) else _UNKNOWN)


def _known(layer: Any) -> bool:
    """Whether the table of kinds has it."""
    name = activation_name(layer) if type(layer).__name__ == "Activation" else type(layer).__name__
    return name in KINDS


def _weighted(layer: Any) -> Row:
    inner = layer.layer
    parts = []
    for name, q in layer.quantizers.items():
        scales = int(q.grid(layer.weight(name))[0].size)
        parts.append(f"{q.bits} bits, {scales} scale{'s'[: scales != 1]}, {type(q).__name__}")
    return Row(layer.name, type(inner).__name__, ", ".join(parts), _norm(layer))


def _norm(layer: Any) -> str:
    if not isinstance(layer, FoldedBatchNorm):
        return ""
    return "frozen" if layer.frozen else str(layer.mode)
