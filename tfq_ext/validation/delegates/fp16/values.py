"""The numbers behind the fp16 risk, and where fp16 ends."""

from __future__ import annotations

from dataclasses import dataclass

from tfq_ext.validation.delegates.values import OutputError

MAX = 65504.0  # the largest finite fp16
NORMAL = 2.0**-14  # 6.1e-5: below, digits go one by one
ZERO = 2.0**-25  # 3e-8: below, what is rounded to nearest becomes 0
UNIT = 2.0**-11  # largest relative error of rounding a normal number


@dataclass(frozen=True)
class TensorRisk:
    """One tensor under fp16, over the samples.

    Args:
        index, op, tensor: the op that makes it (-1 and "CONST" for a constant) and its name.
        max_abs: largest magnitude, in the tensor's own unit.
        over: share of values past 65504, which become infinite.
        small: share of non-zero values under 6.1e-5, which lose digits.
        vanishing: share of non-zero values under 3e-8, which become 0.
        cast_error: |f16(x) - x| / |x| over the values that do not overflow; 2e-4 is usual.
        values: how many were seen.
        length: how many products its op adds up for one output; 0 where it adds none.
        bound: the worst relative growth of rounding errors in fp16 for that length,
            `K u / (1 - K u)` with u = 2^-11, relative to sum |x w|; inf from K = 2048 on.
        emulated_error: |fp16 sum - exact sum| / |exact sum| at sampled outputs, with every
            product and every partial sum rounded to fp16; None where it was not emulated.
        emulated_over: share of those outputs that are infinite in fp16 and finite exactly.
        why_not: why it was not emulated, "" otherwise.
    """

    index: int
    op: str
    tensor: str
    max_abs: float
    over: float
    small: float
    vanishing: float
    cast_error: float
    values: int
    length: int = 0
    bound: float = 0.0
    emulated_error: float | None = None
    emulated_over: float = 0.0
    why_not: str = ""

    @property
    def severity(self) -> float:
        """For ranking: infinite values first, then the greatest error."""
        lost = self.over + self.emulated_over
        return 1e6 * lost + max(self.emulated_error or 0.0, self.cast_error)


@dataclass(frozen=True)
class Fp16Risk:
    """All tensors, the riskiest first, and the whole model in XNNPACK's fp16.

    Args:
        rows: a row a tensor that is computed, and for constants that fp16 cannot hold.
        xnnpack: error of each output in XNNPACK's fp16 against XNNPACK's fp32. Its sums are
            fp32, so a GPU's error is larger; on a CPU that computes in fp16 (AVX512-FP16,
            ARMv8.2) they are fp16 as well. Empty where it does not apply.
        xnnpack_why_not: why it is empty, "" otherwise.
        samples: seen.
        notes: which parts apply to this kind of file.
    """

    rows: tuple[TensorRisk, ...]
    xnnpack: tuple[OutputError, ...] = ()
    xnnpack_why_not: str = ""
    samples: int = 0
    notes: tuple[str, ...] = ()

    def worst(self, n: int = 10) -> tuple[TensorRisk, ...]:
        """The n riskiest."""
        return self.rows[:n]

    @property
    def overflows(self) -> bool:
        """Whether any value or sum passes 65504."""
        return any(row.over or row.emulated_over for row in self.rows)
