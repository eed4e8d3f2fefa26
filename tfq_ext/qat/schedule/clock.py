"""Optimizer steps, counted without asking the device at every batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Clock:
    """An upper bound of the step that is made exact only when something may be due.

    Batches are counted on the host. A batch is at most one optimizer step (fewer with gradient
    accumulation, none when a loss scale overflows), so the bound never lags. Reading the exact
    step costs a synchronisation of the whole model on the JAX backend.

    Args:
        read: gives the exact step, `optimizer.iterations`.
        step: the last exact one.
        batches: trained since then.
    """

    read: Callable[[], int]
    step: int = 0
    batches: int = 0
    first: int = 0

    def exact(self) -> int:
        """The step now; one synchronisation."""
        self.step, self.batches = self.read(), 0
        return self.step

    def began(self, batch: int) -> None:
        """A call of the train function starts with this batch of the epoch."""
        self.first = batch

    def ended(self, batch: int) -> None:
        """It ended with this one; with steps_per_execution there are several in between."""
        self.batches += batch - self.first + 1

    def reached(self, due: int | None) -> bool:
        """Whether step `due` may have come; then `exact` tells."""
        return due is not None and self.step + self.batches >= due
