"""What an audit found, as frozen values that turn into JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tfq_ext.emit.islands import FloatOp
from tfq_ext.spec import Range

Subject = Literal["converter", "file"]

# Variants that every audit has, beside the recipe's calibrator.
CONVERTER = "TFLiteConverter's ranges"
FILE = "this file"
EXACT = "exact min/max"
PLACEHOLDERS = frozenset({"MODEL", "DATA"})  # for a model or data that is no path

# A ratio of widths beyond this is called too wide. The converter saw the same samples, so what is
# left is the rounding of kernels; a file was calibrated on samples that we do not know.
TOO_WIDE: Mapping[Subject, float] = {"converter": 1.001, "file": 1.1}
CLIPS = 1e-3  # share of values outside that is worth a word
SPREAD = 2.0  # a shared grid that costs one of its tensors a bit or more


@dataclass(frozen=True)
class Leak:
    """The op whose output range explains a range that is too wide.

    Args:
        op: its code, "ADD".
        tensor, label: its output, in full and for people.
    """

    op: str
    tensor: str
    label: str


@dataclass(frozen=True)
class TensorRow:
    """One activation: the range it was given against the one it needs.

    Args:
        tensor, label: full name in the float model, and a short one.
        op: code of the op that makes it; "input" for an input.
        given: what the calibrator recorded, or what the file's grid covers; contains 0.
        true: the exact range that was observed; contains 0. Of a file: that of all tensors which
            must share the grid.
        outside: share of the observed values that `given` clips, 0..1.
        leak: where the excess comes from, if some op's output explains it.
        prescribed: the kernel dictates the grid (softmax), whatever the data.
    """

    tensor: str
    label: str
    op: str
    given: Range
    true: Range
    outside: float = 0.0
    leak: Leak | None = None
    prescribed: bool = False

    @property
    def ratio(self) -> float:
        """Width given over width needed; 1 for a tensor that is constantly 0."""
        return self.given.width / self.true.width if self.true.width > 0 else 1.0

    @property
    def bits_lost(self) -> float:
        """log2(ratio): the bits of resolution that the excess width wastes; < 0 when clipped."""
        return math.log2(self.ratio) if self.ratio > 0 else 0.0


@dataclass(frozen=True)
class Variant:
    """One integer file, against the float model on the evaluation samples.

    Args:
        name: whose ranges.
        sqnr_db: of the first output; inf where it is equal.
        agreement, agreement_interval: share of samples with the float model's argmax, 0..1, and
            Wilson's 95 % interval; None where there is nothing to rank.
    """

    name: str
    sqnr_db: float
    agreement: float | None
    agreement_interval: tuple[float, float] | None


@dataclass(frozen=True)
class Step:
    """One source of noise.

    Args:
        name: key in `advice.STEPS`.
        power: noise power over the signal's. Below 0: choosing so removes noise.
        tried: SQNR of the measurement behind it, dB.
    """

    name: str
    power: float
    tried: float

    @property
    def sqnr_db(self) -> float | None:
        """-10 log10(power); None where the step adds no noise."""
        return -10 * math.log10(self.power) if self.power > 0 else None


@dataclass(frozen=True)
class Waterfall:
    """The noise of an integer file, taken apart.

    Args:
        whose: the name of the variant that it is about.
        steps: sources, each alone; the steps of the activations add up.
        together: output SQNR of the integer file, dB.
    """

    whose: str
    steps: tuple[Step, ...]
    together: float

    @property
    def naive(self) -> float:
        """SQNR if the noises were independent and simply added, dB."""
        total = sum(step.power for step in self.steps)
        return -10 * math.log10(total) if total > 0 else math.inf

    @property
    def dominant(self) -> Step | None:
        """The step with the most noise; None if there is none."""
        loudest = max(self.steps, key=lambda step: step.power, default=None)
        return loudest if loudest is not None and loudest.power > 0 else None


@dataclass(frozen=True)
class SharedGrid:
    """Tensors that an op forces onto one grid, with the one that suffers most.

    Args:
        ops: op codes that force them.
        tensor, label: the tensor with the narrowest range of its own.
        own, shared: its range, and that of the grid.
    """

    ops: tuple[str, ...]
    tensor: str
    label: str
    own: Range
    shared: Range

    @property
    def ratio(self) -> float:
        """Width of the grid over that of the tensor; log2 of it are the bits lost."""
        return self.shared.width / self.own.width if self.own.width > 0 else 1.0


@dataclass(frozen=True)
class FileFacts:
    """What an integer file is made of.

    Args:
        weights: number of weight tensors with one scale per channel.
        per_tensor: ops (by output, short names) whose weight has one scale only.
        float_ops: ops that stayed float, with reasons.
        unmatched: tensors of the float model that the file does not have.
    """

    weights: int
    per_tensor: tuple[str, ...]
    float_ops: tuple[FloatOp, ...]
    unmatched: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """The findings.

    Args:
        subject: whose ranges were examined: TFLiteConverter's calibrator's, or a file's.
        who: what to call it, "TFLiteConverter 2.21.0" or the file's name.
        model, data, preprocess: as given, for commands; placeholders when they were objects.
        samples, judges: how many samples made the true ranges, and how many others judged.
        tensors: every observed activation, worst first.
        variants: integer files with the same weights, by whose ranges.
        waterfall: of the subject's file; None when it could not be taken apart (see notes).
        shared: grids that several tensors must share, worst first.
        file: for a finished file.
        notes: sentences.
    """

    subject: Subject
    who: str
    model: str
    data: str
    preprocess: str
    samples: int
    judges: int
    tensors: tuple[TensorRow, ...]
    variants: tuple[Variant, ...]
    waterfall: Waterfall | None = None
    shared: tuple[SharedGrid, ...] = ()
    file: FileFacts | None = None
    notes: tuple[str, ...] = ()

    @property
    def wide(self) -> tuple[TensorRow, ...]:
        """Tensors whose range is too wide, worst first."""
        return tuple(
            row for row in self.tensors if row.ratio > TOO_WIDE[self.subject] and not row.prescribed
        )

    @property
    def clipping(self) -> tuple[TensorRow, ...]:
        """Tensors of which a noticeable share lies outside their range."""
        return tuple(row for row in self.tensors if row.outside > CLIPS and not row.prescribed)

    def variant(self, name: str) -> Variant | None:
        """By name, None when it was not made."""
        return next((v for v in self.variants if v.name == name), None)

    @property
    def headline(self) -> str:
        """What was found and what it costs, one line."""
        from tfq_ext.repair.audit.advice import headline, scores

        return f"{headline(self)} {scores(self)}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values; what is not finite becomes null."""
        from tfq_ext.repair.audit.advice import next_steps

        fields = asdict(self)
        for row, values in zip(self.tensors, fields["tensors"], strict=True):
            values |= {"ratio": row.ratio, "bits_lost": row.bits_lost}
        for shared, values in zip(self.shared, fields["shared"], strict=True):
            values["ratio"] = shared.ratio
        if self.waterfall is not None:
            fields["waterfall"]["naive"] = self.waterfall.naive
            for step, values in zip(
                self.waterfall.steps, fields["waterfall"]["steps"], strict=True
            ):
                values["sqnr_db"] = step.sqnr_db
        told = [asdict(step) for step in next_steps(self)]
        head = {"headline": self.headline, "too_wide": len(self.wide)}
        plain: dict[str, Any] = _plain({**head, **fields, "next": told})
        return plain

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)

    def __str__(self) -> str:
        from tfq_ext.report.audit_text import to_text

        return to_text(self)


def _plain(value: Any) -> Any:
    """Lists for tuples, None for inf and NaN, Python numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
