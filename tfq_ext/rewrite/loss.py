"""How far the outputs of two models lie apart on the same data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tfq_ext.numerics.metrics import SqnrAccumulator
from tfq_ext.rewrite.rows import table


@dataclass(frozen=True)
class OutputLoss:
    """One output, original against rewritten.

    Args:
        name: of the output.
        sqnr_db: signal over difference, dB; inf where they are equal.
        agreement: share of rows with the same arg max on the last axis, 0..1; None where that
            axis has one element.
        max_abs: greatest absolute difference, in units of the output.
        scale: greatest magnitude of the original, in the same units.
    """

    name: str
    sqnr_db: float
    agreement: float | None
    max_abs: float
    scale: float

    @property
    def relative(self) -> float:
        """max_abs over scale."""
        return self.max_abs / self.scale if self.scale else float(self.max_abs > 0)


@dataclass
class Losses:
    """Sums over batches, one entry an output."""

    names: list[str]
    _sqnr: list[SqnrAccumulator] = field(default_factory=list)
    _same: list[list[int]] = field(default_factory=list)
    _worst: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sqnr = [SqnrAccumulator() for _ in self.names]
        self._same = [[0, 0] for _ in self.names]
        self._worst = [[0.0, 0.0] for _ in self.names]

    def add(self, original: list[np.ndarray], rewritten: list[np.ndarray]) -> None:
        """One batch of both."""
        for k, (r, c) in enumerate(zip(original, rewritten, strict=True)):
            r, c = (np.asarray(x, np.float64) for x in (r, c))
            self._sqnr[k] = self._sqnr[k].add(r, c)
            worst = self._worst[k]
            worst[0] = max(worst[0], float(np.abs(r - c).max()))
            worst[1] = max(worst[1], float(np.abs(r).max()))
            if r.ndim > 1 and r.shape[-1] > 1:
                same = r.argmax(-1) == c.argmax(-1)
                self._same[k][0] += int(same.sum())
                self._same[k][1] += same.size

    def rows(self) -> tuple[OutputLoss, ...]:
        """What came out."""
        return tuple(
            OutputLoss(name, sqnr.value, same / total if total else None, worst, scale)
            for name, sqnr, (same, total), (worst, scale) in zip(
                self.names, self._sqnr, self._same, self._worst, strict=True
            )
        )


def loss_table(rows: tuple[OutputLoss, ...]) -> str:
    """Outputs with units."""
    header = ("output", "SQNR", "same arg max", "greatest difference", "greatest output")
    return table(header, (_cells(row) for row in rows))


def _cells(row: OutputLoss) -> tuple[str, ...]:
    sqnr = "equal" if np.isinf(row.sqnr_db) and row.sqnr_db > 0 else f"{row.sqnr_db:.1f} dB"
    same = "one value" if row.agreement is None else f"{row.agreement:.2%}"
    return row.name, sqnr, same, f"{row.max_abs:.3g}", f"{row.scale:.3g}"
