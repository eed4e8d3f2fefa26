"""The callback: every so many steps, a row for every quantizer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tfq_ext._optional import need
from tfq_ext.errors import ModelError, SpecError
from tfq_ext.qat.journal.board import Board
from tfq_ext.qat.journal.file import append, go_on
from tfq_ext.qat.journal.measure import Meter
from tfq_ext.qat.schedule.apply import quantizers
from tfq_ext.qat.schedule.clock import Clock

keras = need("keras", why="Quantization-aware training")
Callback: Any = keras.callbacks.Callback


class Journal(Callback):
    """Writes ranges, scales, changing and oscillating codes, and SQNR, while a model trains.

    `read_journal(path)` gives it back as arrays. A run that goes on (load_model, fit) goes on in
    the same file; a new run starts it anew.

    Args:
        path: of the CSV; one line a quantizer and step, the columns are those of `Row`.
        every: optimizer steps between two looks; the first and the last step are always there.
        data: a small batch of inputs, for the SQNR of activations.
        tensorboard: a folder for TensorBoard too; needs TensorFlow, on any Keras backend.

    Raises:
        SpecError: `every` is not a positive whole number.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: int = 100,
        data: Any = None,
        tensorboard: str | os.PathLike[str] | None = None,
    ):
        super().__init__()
        if not (isinstance(every, int) and every > 0):
            raise SpecError(f"every must be a number of optimizer steps (100); got {every!r}.")
        self.path, self.every, self.data = Path(path), every, data
        self.board = None if tensorboard is None else Board(tensorboard)
        self.clock = Clock(self._read)
        self.meter: Meter | None = None
        self.epoch, self.logged, self.due = 0, -1, 0

    def on_train_begin(self, logs: Any = None) -> None:
        """Check the model; cut what a lost run wrote after the step from which this one goes on."""
        if not quantizers(self.model):
            raise ModelError(
                f"Model {self.model.name!r} has no quantizers; Journal watches what "
                "tfq.qat.quantize_aware(model) returns."
            )
        go_on(self.path, self.clock.exact())
        self.meter, self.logged = Meter(self.model, self.data), -1

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """In the first epoch: the first look, when a Schedule has set its phase."""
        self.epoch = epoch
        if self.logged < 0:
            self._log(self.clock.exact())

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Note where the batches of this call begin."""
        self.clock.began(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Look when it is due."""
        self.clock.ended(batch)
        if self.clock.reached(self.due) and (step := self.clock.exact()) >= self.due:
            self._log(step)

    def on_train_end(self, logs: Any = None) -> None:
        """The last look."""
        if (step := self.clock.exact()) != self.logged:
            self._log(step)
        if self.board is not None:
            self.board.writer.flush()

    def _read(self) -> int:
        """The optimizer's step; on JAX `self.model` brings the variables up to date first."""
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def _log(self, step: int) -> None:
        assert self.meter is not None
        rows = self.meter.rows(step, self.epoch)
        append(self.path, rows)
        if self.board is not None:
            self.board.write(rows)
        self.logged, self.due = step, step + self.every
