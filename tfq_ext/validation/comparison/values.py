"""What a comparison found, as frozen values that turn into JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tfq_ext.validation.finding import Finding

REFERENCE, CANDIDATE = "reference", "candidate"
BINS = 64
LOST = 0.25  # share of channels of which nothing is left that ranks a layer by itself
# Sources of an op's own noise.
INPUT_GRID, WEIGHTS, BIAS = "input grid", "weights", "bias"
OUTPUT_GRID, CLIPPING, SHIFT = "output grid", "clipping", "mean shift"


@dataclass(frozen=True)
class Shift:
    """The channel whose mean is off most.

    Args:
        channel: index on the last axis.
        real: mean of candidate minus reference.
        lsb: the same in codes of the candidate; None for floats.
        share: part of the noise power that channel means make up, 0..1.
    """

    channel: int
    real: float
    lsb: float | None
    share: float


@dataclass(frozen=True)
class Part:
    """One source of an op's own noise.

    Args:
        name: "input grid", "weights", "bias", "output grid", "clipping", "mean shift".
        share: of the own noise power; parts overlap, so they need not sum to 1.
        where: tensor that it comes from, "" for the op itself.
        label: a short name of that tensor.
    """

    name: str
    share: float
    where: str = ""
    label: str = ""


@dataclass(frozen=True)
class LayerRow:
    """One tensor of the candidate against the reference's.

    Args:
        index: of the candidate's op; -1 for an input.
        subgraph: of the candidate.
        op: code of the op that writes it; "input".
        tensor, reference_tensor: full names.
        label: a short one for people, printable.
        matched_by: "name", "position", "neighbours", "output", "input", "bridge".
        shape: of the tensor, -1 where dynamic.
        arithmetic: "integer", "hybrid", "float", "bridge", ...
        dtype: what the candidate stores.
        scale, zero_point: its grid; None for floats.
        grid: (min, max) that it can represent; None for floats.
        range: (min, max) of the reference's values; rms: root of their mean square.
        wasted_bits: log2(width of the grid / width of the range with 0 in it), at least 0.
        sqnr_db: with all errors before it, dB; inf where equal.
        own_sqnr_db: with the reference's values fed to the op; None where it cannot run alone.
        own_reason: why it could not.
        grid_sqnr_db: the reference's values rounded to the grid, nothing else; None for floats.
        cosine: of the angle between both.
        mean_error_lsb, max_error_lsb: mean and greatest |error| in codes; None for floats.
        mean_error, max_error: the same in reals.
        clipped_low, clipped_high: share of the reference's values over half a code beyond an end.
        shift: with all errors before it.
        own_shift: of the op alone.
        weight_bits, weight_scales, weight_sqnr_db, weight_spread: of its weight; None without.
        weight_lost: share of the weight's channels of which next to nothing is left (15 dB).
        bias_headroom: bits that the greatest bias code leaves below the end of its type.
        bias_lsb: greatest change of a bias, in codes of the output, with its channel.
        inputs: names of the tensors that the op reads.
        joined_by: code of the op that reads it together with others on one grid; "" without.
        parts: where the own noise comes from, greatest first.
        loss: own noise over signal as a share of the sum over all layers, 0..1.
        verdict: in words; "" for a layer that is fine.
        causes: ids in CAUSES.
        remedies: sentences.
        histogram: 64 counts of the reference's values over `range`.
    """

    index: int
    subgraph: int
    op: str
    tensor: str
    reference_tensor: str
    matched_by: str
    shape: tuple[int, ...]
    arithmetic: str
    dtype: str
    scale: float | None
    zero_point: int | None
    grid: tuple[float, float] | None
    range: tuple[float, float]
    wasted_bits: float
    sqnr_db: float
    own_sqnr_db: float | None
    own_reason: str
    grid_sqnr_db: float | None
    cosine: float
    mean_error_lsb: float | None
    max_error_lsb: float | None
    mean_error: float
    max_error: float
    clipped_low: float
    clipped_high: float
    shift: Shift | None
    own_shift: Shift | None
    weight_bits: int | None = None
    weight_scales: int | None = None
    weight_sqnr_db: float | None = None
    weight_spread: float | None = None
    weight_lost: float = 0.0
    bias_headroom: float | None = None
    bias_lsb: tuple[float, int] | None = None
    inputs: tuple[str, ...] = ()
    joined_by: str = ""
    parts: tuple[Part, ...] = ()
    rms: float = 0.0
    label: str = ""
    loss: float = 0.0
    verdict: str = ""
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    histogram: tuple[int, ...] = ()

    @property
    def clipped(self) -> float:
        """Share of the reference's values beyond either end."""
        return self.clipped_low + self.clipped_high

    def part(self, name: str) -> float:
        """Share of a source of noise; 0 where it was not measured."""
        return sum(p.share for p in self.parts if p.name == name)


@dataclass(frozen=True)
class Unmatched:
    """A tensor that no row is about.

    Args:
        tensor: its name.
        op: code of the op that makes it.
        side: "reference" or "candidate".
        why: a reason.
    """

    tensor: str
    op: str
    side: str
    why: str


@dataclass(frozen=True)
class Comparison:
    """A candidate against its reference, layer by layer.

    Args:
        reference, candidate: what to call them.
        data: where samples came from, for commands; "" for objects.
        preprocess: as given.
        signature: that was run, "" without one.
        rows: in the candidate's order.
        outputs: one for each output, named as in the signature.
        unmatched: tensors left out.
        samples: how many.
        findings: of this package's RULES.
        notes: sentences.
    """

    reference: str
    candidate: str
    data: str
    preprocess: str
    signature: str
    rows: tuple[LayerRow, ...]
    outputs: tuple[LayerRow, ...]
    unmatched: tuple[Unmatched, ...]
    samples: int
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def worst(self, n: int = 10) -> tuple[LayerRow, ...]:
        """The rows that lose most: by what the op adds itself, then by what has gathered."""
        return tuple(sorted(self.rows, key=badness)[:n])

    @property
    def culprits(self) -> tuple[LayerRow, ...]:
        """Rows with a verdict of their own, worst first; victims left out."""
        return tuple(r for r in self.worst(len(self.rows)) if r.causes and "victim" not in r.causes)

    @property
    def headline(self) -> str:
        """How good the outputs are and where it is lost."""
        from tfq_ext.validation.comparison.summary import headline

        return headline(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; what is not finite becomes null."""
        from tfq_ext.validation.comparison.summary import next_steps

        plain: dict[str, Any] = _plain(self)
        plain["headline"] = self.headline
        plain["next"] = [_plain(step) for step in next_steps(self)]
        return plain

    def to_json(self) -> str:
        """The same as text."""
        import json

        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        from tfq_ext.report.compare_text import to_text

        return to_text(self)


def badness(row: LayerRow) -> tuple[bool, float, float]:
    """Sorting key: the greatest loss first, then the lowest accumulated SQNR."""
    lost = row.weight_lost if row.weight_lost >= LOST else 0.0
    return "victim" in row.causes, -max(row.loss, lost), row.sqnr_db


def _plain(value: Any) -> Any:
    if isinstance(value, Finding):
        return {
            "rule": value.rule.id,
            "severity": value.severity,
            "message": value.message,
            "remedy": value.rule.remedy,
            "op": value.op,
            "tensor": value.tensor,
            "op_index": value.op_index,
        }
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
