"""Fake quantization in a pivot becomes ranges and integer weights: what was trained is the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tfq_ext.emit.absorb.constants import Coded, as_weight, settle_constants
from tfq_ext.emit.absorb.grids import range_of, same
from tfq_ext.emit.absorb.pairs import Found, take_pairs
from tfq_ext.emit.absorb.requantize import ONE
from tfq_ext.emit.absorb.shared import settle_shared
from tfq_ext.emit.plan import WeightCodes
from tfq_ext.emit.result import Note
from tfq_ext.emit.to_float.flatbuffer import drop_unread, empty_unused_buffers
from tfq_ext.spec import INT8_ACTIVATION, INT16_ACTIVATION, QParams, Range
from tfq_ext.tflite.read import Model


@dataclass(frozen=True)
class Absorbed:
    """A float pivot without fake quantization, and the grids that it carried.

    Args:
        model: a copy; names of inputs, outputs and signatures are the pivot's.
        ranges: activation -> the range that makes its trained grid (`spec.range_for`).
        weights: constant -> its trained codes; the constant holds their values.
        int16: ops (by first output) whose result was trained on 16 bits.
        notes: where an integer file departs from what was trained, and why.
    """

    model: Model
    ranges: Mapping[str, Range] = field(default_factory=dict)
    weights: Mapping[str, WeightCodes] = field(default_factory=dict)
    int16: frozenset[str] = frozenset()
    notes: tuple[Note, ...] = ()


def absorb_fake_quant(pivot: Model) -> Absorbed:
    """Take QUANTIZE/DEQUANTIZE out of a copy of a pivot, and say what they were.

    Args:
        pivot: float model that `carries_fake_quant`; others come back as they are.
    """
    model = pivot.copy()
    ranges: dict[str, Range] = {}
    weights: dict[str, WeightCodes] = {}
    notes: list[Note] = []
    wide: set[str] = set()
    for graph in model.graphs:
        coded = settle_constants(graph)
        found = take_pairs(graph)
        settle_shared(found)
        trained = {graph.name(t): as_weight(made) for t, made in coded.items()}
        weights |= {name: codes for name, codes in trained.items() if codes is not None}
        weights |= dict.fromkeys(found.ones, ONE)
        ranges |= {graph.name(t): range_of(g) for t, g in found.grids.items()}
        wide |= {graph.name(t) for t, g in found.grids.items() if g.spec.bits == 16}
        notes += [*found.notes, *_unlike(found), *_uncoded(found, coded)]
        drop_unread(graph)
    empty_unused_buffers(model)
    there = {g.name(t) for g in model.graphs for t in range(len(g.tensors))}
    return Absorbed(
        model,
        {name: r for name, r in ranges.items() if name in there},
        {name: codes for name, codes in weights.items() if name in there},
        frozenset(_first_outputs(model) & wide),
        tuple(notes),
    )


def _first_outputs(model: Model) -> set[str]:
    return {g.name(op.outputs[0]) for g, _, op, _ in model.walk() if len(op.outputs)}


def _unlike(found: Found) -> Iterator[Note]:
    """Grids that no range makes exactly."""
    for tensor, grid in found.grids.items():
        reason = _departure(grid)
        if reason:
            yield Note("trained grid", found.graph.name(tensor), reason)


def _departure(grid: QParams) -> str:
    bits = grid.spec.bits
    if grid.spec.axis is not None:
        return "trained per channel; activations have one scale in TFLite: the union"
    if bits not in (8, 16):
        return f"trained on {bits} bits; the file has 8 over the same range"
    if bits == 16 and grid.zero_point:
        return "trained with a zero point; 16-bit files are symmetric: the larger end decides"
    spec = INT8_ACTIVATION if bits == 8 else INT16_ACTIVATION
    made = QParams.from_range(spec, range_of(grid))
    if not same(made, grid):
        return f"scale {float(made.scale):.9g} for {float(grid.scale):.9g}: no float32 range has it"
    return ""


def _uncoded(found: Found, coded: Mapping[int, Coded]) -> Iterator[Note]:
    for tensor, made in coded.items():
        if as_weight(made) is None:
            reason = (
                f"{made[1].spec.bits}-bit codes with a zero point, which integer kernels do not "
                "take for constants: its values are rounded anew"
            )
            yield Note("trained grid", found.graph.name(tensor), reason)


__all__ = ["Absorbed", "absorb_fake_quant"]
