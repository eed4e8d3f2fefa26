"""One worker: a sandboxed child with both models in it, and what happens when it dies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfq_ext.errors import TfqError
from tfq_ext.validation.accuracy.evaluator import Chunk
from tfq_ext.validation.accuracy.rowwise import Columns
from tfq_ext.validation.sandbox import Child, Limits, ModelDied

_EVALUATOR = "tfq_ext.validation.accuracy.evaluator:Evaluator"


class Worker:
    """An `Evaluator` in a process of its own.

    Args:
        limits: on the process.
        setup: the Evaluator's arguments.
    """

    def __init__(self, limits: Limits | None, setup: Mapping[str, Any]):
        self._limits, self._setup = limits, setup
        self._closed = False
        self._open()

    def _open(self) -> None:
        self._child = Child(self._limits)
        try:
            self._remote = self._child.make(_EVALUATOR, **self._setup)
        except BaseException:
            self._child.close()
            raise

    def run(self, chunk: Chunk, stacked: bool) -> Columns:
        """See `Evaluator.run`.

        A death in the middle of many samples is tried again one by one in a new process, so that
        the message names the sample, and a model that is only slow is not taken for a dead one.

        Raises:
            ModelDied: naming the sample.
        """
        try:
            return self._ask("run", chunk, stacked)
        except ModelDied as error:
            if self._closed:
                raise
            pieces = chunk.singles()
            if len(pieces) == 1:
                raise self._told(error, chunk) from None
            return joined([self._alone(piece) for piece in pieces])

    def _alone(self, piece: Chunk) -> Columns:
        if not self._child.alive and not self._closed:
            self._open()
        try:
            return self._ask("run", piece, False)
        except ModelDied as error:
            if self._closed:
                raise
            raise self._told(error, piece) from None

    def _told(self, error: ModelDied, piece: Chunk) -> ModelDied:
        """The same death, with the sample and the model that did it."""
        who = "candidate"
        if self._setup["reference"] is not None and self._survives(piece):
            who = "reference"
        keys = sorted({int(key) for key in piece.keys})
        which = f"Sample {keys[0]}" if len(keys) == 1 else f"Samples {keys[0]}..{keys[-1]}"
        told = ModelDied(error.kind, error.how, error.stage, error.stderr)
        told.args = (f"{which}, the {who}: {error}",)
        return told

    def _survives(self, piece: Chunk) -> bool:
        """Whether the candidate alone takes this sample."""
        with Child(self._limits) as child:
            try:
                alone = child.make(_EVALUATOR, **{**self._setup, "reference": None})
                alone.call("run", piece, False)
            except ModelDied:
                return False
            except TfqError:
                return True
        return True

    def stackable(self, chunk: Chunk) -> bool:
        """See `Evaluator.stackable`; False for a model that dies of it."""
        try:
            return bool(self._ask("stackable", chunk))
        except ModelDied:
            if not self._closed:
                self._open()
            return False

    def grids(self) -> Mapping[int, tuple[str, float, float]]:
        """See `Evaluator.grids`."""
        return dict(self._ask("grids"))

    def _ask(self, method: str, *args: Any) -> Any:
        return self._remote.call(method, *args)

    def close(self) -> None:
        """End the process."""
        self._closed = True
        self._child.close()


def joined(parts: list[Columns]) -> Columns:
    """Columns of several chunks, one after the other; narrower rows of counts get zeros."""
    names = dict.fromkeys(name for part in parts for name in part)
    made = {}
    for name in names:
        pieces = [part[name] for part in parts if name in part]
        if pieces[0].ndim == 2 and len({piece.shape[1] for piece in pieces}) > 1:
            widest = max(piece.shape[1] for piece in pieces)
            pieces = [np.pad(p, ((0, 0), (0, widest - p.shape[1]))) for p in pieces]
        made[name] = np.concatenate(pieces)
    return made
