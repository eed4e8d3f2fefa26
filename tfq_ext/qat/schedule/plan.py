"""Which phase of a training run a step lies in. Pure: no Keras, no state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from tfq_ext.errors import SpecError
from tfq_ext.spec import QSpec

T = TypeVar("T")
D = TypeVar("D")
Step = int | float  # int: optimizer steps; float in (0, 1): share of the whole run


@dataclass(frozen=True)
class Phase:
    """How a model trains at one step.

    Args:
        quantize: quantizers are on; off, they only observe.
        freeze_ranges: ranges and scales stand still.
        freeze_bn: BatchNormalization uses its moving statistics and leaves them as they are.
        bits: of the weights that follow the schedule; None leaves them as they were built.
        damping: strength of the loss against oscillation.
    """

    quantize: bool = True
    freeze_ranges: bool = False
    freeze_bn: bool = False
    bits: int | None = None
    damping: float = 0.0

    def since(self, before: Phase | None) -> str:
        """What is new, as a phrase; "" for nothing. Without a phase before: all that is unusual."""
        old = before or Phase()
        names = (f.name for f in fields(self) if getattr(self, f.name) != getattr(old, f.name))
        return ", ".join(_PHRASES[name](getattr(self, name)) for name in names)


_PHRASES = {
    "quantize": lambda on: "quantizers on" if on else "quantizers off, ranges observed",
    "freeze_ranges": lambda on: "ranges frozen" if on else "ranges move",
    "freeze_bn": lambda on: "BatchNorm frozen" if on else "BatchNorm moves",
    "bits": lambda bits: f"weights at {bits} bits" if bits else "weights' bits as built",
    "damping": lambda strength: f"damping {strength:.3g}",
}


@dataclass(frozen=True)
class Plan:
    """When what begins, in optimizer steps; a step belongs to what began at or before it.

    Args:
        quantize_after: first step with quantizers on.
        freeze_ranges_after, freeze_bn_after: first frozen step; None: never.
        bits: (first step, bits), ascending.
        damping: (first step, strength), ascending.
        total: steps of the whole run; None where nobody knows.
    """

    quantize_after: int = 0
    freeze_ranges_after: int | None = None
    freeze_bn_after: int | None = None
    bits: tuple[tuple[int, int], ...] = ()
    damping: tuple[tuple[int, float], ...] = ()
    total: int | None = None

    def at(self, step: int) -> Phase:
        """The phase of step number `step`, counted from 0."""
        quantize = step >= self.quantize_after
        return Phase(
            quantize=quantize,
            freeze_ranges=_reached(self.freeze_ranges_after, step),
            freeze_bn=_reached(self.freeze_bn_after, step),
            bits=_latest(self.bits, step, None),
            damping=_latest(self.damping, step, 0.0) if quantize else 0.0,
        )

    def next_change(self, step: int) -> int | None:
        """The first boundary after `step`; None when nothing more comes."""
        return min((bound for bound in self._bounds() if bound > step), default=None)

    def progress(self, step: int) -> float:
        """Share of the quantized part of the run that is over, 0 to 1; 1 if the end is unknown."""
        if self.total is None or self.total <= self.quantize_after:
            return 1.0
        share = (step - self.quantize_after) / (self.total - self.quantize_after)
        return min(max(share, 0.0), 1.0)

    def _bounds(self) -> Iterator[int]:
        yield self.quantize_after
        for bound in (self.freeze_ranges_after, self.freeze_bn_after):
            if bound is not None:
                yield bound
        yield from (first for first, _ in self.bits)
        yield from (first for first, _ in self.damping)


def _reached(bound: int | None, step: int) -> bool:
    return bound is not None and step >= bound


def _latest(rows: tuple[tuple[int, T], ...], step: int, default: D) -> T | D:
    return next((value for first, value in reversed(rows) if first <= step), default)


@dataclass(frozen=True)
class Outline:
    """A Plan before the length of the run is known.

    Args:
        quantize_after, freeze_ranges_after, freeze_bn_after: int optimizer steps or float shares.
        bits: first step -> bits of the weights.
        damping: strength in equal parts of the quantized run, first to last.

    Raises:
        SpecError: a step that is neither, or bits outside 2..16.
    """

    quantize_after: Step = 0
    freeze_ranges_after: Step | None = 0.8
    freeze_bn_after: Step | None = 0.6
    bits: tuple[tuple[Step, int], ...] = ()
    damping: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        checked("quantize_after", self.quantize_after)
        for name in ("freeze_ranges_after", "freeze_bn_after"):
            if (value := getattr(self, name)) is not None:
                checked(name, value)
        for first, bits in self.bits:
            checked("bits", first)
            QSpec(bits)

    @classmethod
    def of(cls, bits: Mapping[Step, int] | None = None, **rest: object) -> Outline:
        """The same, with bits as a mapping."""
        return cls(bits=tuple((bits or {}).items()), **rest)  # type: ignore[arg-type]

    def resolve(self, total: int | None) -> Plan:
        """Shares become steps.

        Args:
            total: steps of the whole run; None where nobody knows.

        Raises:
            SpecError: a share, or damping, of a run whose length nobody knows.
        """
        start = _steps(self.quantize_after, total, "quantize_after")
        rows = [(_steps(first, total, "bits"), bits) for first, bits in self.bits]
        return Plan(
            quantize_after=start,
            freeze_ranges_after=_maybe(self.freeze_ranges_after, total, "freeze_ranges_after"),
            freeze_bn_after=_maybe(self.freeze_bn_after, total, "freeze_bn_after"),
            bits=tuple(sorted(rows)),
            damping=tuple(self._stages(start, total)),
            total=total,
        )

    def _stages(self, start: int, total: int | None) -> Iterator[tuple[int, float]]:
        if self.damping and total is None:
            raise SpecError(_UNKNOWN.format(what="oscillation='dampen'"))
        for k, strength in enumerate(self.damping):
            yield start + max((total or 0) - start, 0) * k // len(self.damping), strength


_UNKNOWN = (
    "{what} needs the length of the run, and the data do not tell it: pass steps_per_epoch to "
    "fit(), or give all steps of the Schedule as whole numbers (freeze_bn_after=2000, ...)."
)


def checked(name: str, value: Step) -> None:
    """Complain about what is neither a number of steps nor a share."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    share = isinstance(value, float) and 0 < value < 1
    if not (whole or share):
        raise SpecError(
            f"{name} must be a whole number of optimizer steps (2000) or a share of the run "
            f"between 0 and 1 (0.6); got {value!r}."
        )


def _steps(value: Step, total: int | None, name: str) -> int:
    if isinstance(value, int):
        return value
    if total is None:
        raise SpecError(_UNKNOWN.format(what=f"{name}={value}"))
    return round(value * total)


def _maybe(value: Step | None, total: int | None, name: str) -> int | None:
    return None if value is None else _steps(value, total, name)


def cosine(start: float, end: float, progress: float) -> float:
    r"""From start to end along half a cosine.

    .. math:: e + (s - e)(1 + \cos \pi p) / 2

    Args:
        start, end: s and e.
        progress: p, 0 to 1.
    """
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
