"""Rows to findings: what of it somebody should act on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tfq_ext.validation.delegates.fp16.values import Fp16Risk, TensorRisk
from tfq_ext.validation.delegates.rules import RULES
from tfq_ext.validation.delegates.values import (
    DIED,
    NOT_CHECKED,
    OK,
    REFUSED,
    WRONG,
    Bisection,
    GpuRow,
)
from tfq_ext.validation.finding import Finding

ACCUMULATED = 1e-2  # own relative error of a sum in fp16; 5e-4 to 1e-3 is usual
UNDERFLOW = 5e-3  # error of rounding a tensor to fp16; 2e-4 is usual
SHOWN = 5  # findings of one rule about tensors: the table has the rest

_BY_STATUS = {WRONG: "gpu-wrong", DIED: "gpu-died", REFUSED: "gpu-refused"}


def gpu_findings(rows: Sequence[GpuRow]) -> Iterator[Finding]:
    """About both precisions; what is the same in both is told once."""
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.status in _BY_STATUS:
            told.setdefault((_BY_STATUS[row.status], row.reason), []).append(row.precision)
        elif row.status == NOT_CHECKED and row.really_fp16 is not False:
            told.setdefault(("gpu-not-checked", row.reason), []).append(row.precision)
        if row.really_fp16 is False:
            text = f"{row.adapter}: fp16 results equal fp32's bit for bit."
            yield RULES["fp16-not-really"].at(text)
    for (rule, reason), precisions in told.items():
        yield RULES[rule].at(f"{' and '.join(precisions)}: {reason}")
    yield from _refused(rows)


def _refused(rows: Sequence[GpuRow]) -> Iterator[Finding]:
    row = next((r for r in rows if r.refused and r.status in (OK, WRONG)), None)
    if row is None:
        return
    for entry in row.refused:
        where = f" ({entry.tensor})" if entry.tensor else ""
        text = f"{entry.op}{where}: {entry.reason}. {row.on_gpu} of {row.ops} ops run on the GPU."
        yield RULES["gpu-refused-op"].at(text, op=entry.op, tensor=entry.tensor)


def named_culprit(findings: Sequence[Finding], bisection: Bisection | None) -> tuple[Finding, ...]:
    """The findings, those about the precision that was bisected with the op that it found."""
    bad = bisection.first_bad if bisection is not None else None
    if bisection is None or bad is None:
        return tuple(findings)
    return tuple(
        replace(
            f,
            message=f"{f.message} {bisection.verdict}",
            op=bad.op,
            tensor=bad.tensor,
            op_index=bad.index,
        )
        if f.rule.id in ("gpu-wrong", "gpu-died") and bisection.precision in f.message
        else f
        for f in findings
    )


def risk_findings(risk: Fp16Risk) -> Iterator[Finding]:
    """About fp16, from the CPU."""
    over = [row for row in risk.rows if row.over]
    sums = [row for row in risk.rows if row.emulated_over and not row.over]
    long = [
        row
        for row in risk.rows
        if row.emulated_error is not None
        and not row.emulated_over
        and row.emulated_error > ACCUMULATED
    ]
    small = [row for row in risk.rows if row.cast_error > UNDERFLOW]
    for rule, rows, say in (
        ("gpu-fp16-overflow", over, _over),
        ("gpu-fp16-overflow", sums, _sum_over),
        ("gpu-fp16-accumulation", long, _long),
        ("gpu-fp16-underflow", small, _small),
    ):
        for row in rows[:SHOWN]:
            index = row.index if row.index >= 0 else None
            yield RULES[rule].at(say(row), op=row.op, tensor=row.tensor, op_index=index)


def _over(row: TensorRisk) -> str:
    kind = "constant" if row.index < 0 else "value"
    return f"Its largest {kind} is {row.max_abs:.3g}; {row.over:.2%} of them pass 65504."


def _sum_over(row: TensorRisk) -> str:
    return (
        f"A sum of {row.length} products passes 65504 on the way, in {row.emulated_over:.2%} of "
        f"the emulated outputs; the outputs themselves reach {row.max_abs:.3g}."
    )


def _long(row: TensorRisk) -> str:
    return (
        f"Adding {row.length} products in fp16 costs {row.emulated_error:.2g} of the output "
        "(relative L2, emulated; in fp32 it is 1e-7)."
    )


def _small(row: TensorRisk) -> str:
    return (
        f"{row.small:.0%} of its non-zero values lie under 6.1e-5 and {row.vanishing:.0%} become "
        f"0 (largest {row.max_abs:.2g}): rounding it to fp16 costs {row.cast_error:.2g} of it."
    )
