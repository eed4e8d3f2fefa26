"""What `check_integers` found: one row an op."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tfq_ext.validation.finding import Finding


@dataclass(frozen=True)
class Accumulator:
    """The sums of one op that has weights.

    Args:
        largest: the largest |sum| seen, bias included.
        bound: the largest that weights, bias and input type allow: sum|w| max|x - z| + |b|.
        width: bits that the kernel gives it: 32, or 64 for int16 activations.
    """

    largest: int
    bound: int
    width: int = 32

    @property
    def bits(self) -> int:
        """Signed bits that the sums seen need."""
        return self.largest.bit_length() + 1

    @property
    def bound_bits(self) -> int:
        """Signed bits that any input can need."""
        return self.bound.bit_length() + 1


@dataclass(frozen=True)
class Multipliers:
    """The fixed-point multipliers M = M0 / 2^31 2^shift of an op's output channels.

    Args:
        first: (M0, shift) of the first channel.
        m0, shift: smallest and largest.
    """

    first: tuple[int, int]
    m0: tuple[int, int]
    shift: tuple[int, int]


@dataclass(frozen=True)
class OpCheck:
    """One op against the integer reference.

    Args:
        index, subgraph: where. op: its code. tensor: its first output's name.
        values: codes compared, over all kernel sets and samples.
        differing: kernel set -> how many were not equal.
        max_lsb: kernel set -> the largest difference, in codes of the output.
        arithmetic: kernel set -> the rounding compared with (numerics/fixedpoint.py).
        delegated: whether XNNPACK took it; None if that run was not made.
        multipliers, accumulator: of ops that have weights, else None.
    """

    index: int
    subgraph: int
    op: str
    tensor: str
    values: int
    differing: Mapping[str, int]
    max_lsb: Mapping[str, int]
    arithmetic: Mapping[str, str]
    delegated: bool | None = None
    multipliers: Multipliers | None = None
    accumulator: Accumulator | None = None

    @property
    def exact(self) -> bool:
        """Whether all codes were equal."""
        return not any(self.differing.values())

    @property
    def multiplier(self) -> int | None:
        """M0 of the first channel."""
        return None if self.multipliers is None else self.multipliers.first[0]

    @property
    def shift(self) -> int | None:
        """Shift of the first channel."""
        return None if self.multipliers is None else self.multipliers.first[1]

    @property
    def accumulator_bits(self) -> int | None:
        """Signed bits of the largest sum seen."""
        return None if self.accumulator is None else self.accumulator.bits

    @property
    def accumulator_bound(self) -> int | None:
        """Signed bits of the largest sum that any input can make."""
        return None if self.accumulator is None else self.accumulator.bound_bits

    @property
    def fits16(self) -> bool | None:
        """Whether 16 bits hold every sum that any input can make."""
        return None if self.accumulator is None else self.accumulator.bound_bits <= 16

    @property
    def fits32(self) -> bool | None:
        """Whether 32 bits do."""
        return None if self.accumulator is None else self.accumulator.bound_bits <= 32


@dataclass(frozen=True)
class IntegerReport:
    """A file against the integer reference.

    Args:
        rows: ops that were compared, in the order of execution.
        skipped: (op, tensor, why not compared).
        findings: kernels that disagree, accumulators that overflow.
        compared: codes compared, over all kernel sets.
        samples: how many were run on each kernel set.
        kernels: the kernel sets that ran.
        notes: what to know: kernel sets that did not run and why, random inputs.
    """

    rows: tuple[OpCheck, ...]
    skipped: tuple[tuple[str, str, str], ...]
    findings: tuple[Finding, ...]
    compared: int
    samples: int
    kernels: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def exact(self) -> bool:
        """Whether something was compared and no code differed."""
        return bool(self.compared) and all(row.exact for row in self.rows)

    @property
    def differing(self) -> int:
        """Codes that were not equal."""
        return sum(sum(row.differing.values()) for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "exact": self.exact,
            "compared": self.compared,
            "differing": self.differing,
            "samples": self.samples,
            "kernels": list(self.kernels),
            "rows": [_row(row) for row in self.rows],
            "skipped": [{"op": o, "tensor": t, "why": w} for o, t, w in self.skipped],
            "findings": [
                {"id": f.rule.id, "severity": f.severity, "message": f.message, "tensor": f.tensor}
                for f in self.findings
            ],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """`to_dict` as text."""
        from tfq_ext.report.machine import dumps

        return dumps(self.to_dict())

    def __str__(self) -> str:
        wrong = [row for row in self.rows if not row.exact]
        verdict = "exact" if self.exact else f"{self.differing} codes differ in {len(wrong)} ops"
        if not self.compared:
            verdict = "nothing to compare"
        return (
            f"Integer reference: {verdict}. {self.compared} codes of {len(self.rows)} ops compared "
            f"on {', '.join(self.kernels) or 'no kernels'}, {self.samples} samples; "
            f"{len(self.skipped)} ops not compared."
        )


def _row(row: OpCheck) -> dict[str, Any]:
    derived = ("multiplier", "shift", "accumulator_bits", "accumulator_bound", "fits16", "fits32")
    return asdict(row) | {name: getattr(row, name) for name in derived}
