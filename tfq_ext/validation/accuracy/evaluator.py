"""The work on one chunk of samples, in a child process: run both models, judge every row."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.tflite.runner import Runner
from tfq_ext.validation.accuracy.rowwise import Columns, compared, flat
from tfq_ext.validation.accuracy.structure import feeds
from tfq_ext.validation.accuracy.tasks import TASKS, Rules

CANDIDATE, REFERENCE = "candidate", "reference"
_RANKED = (None, "classification")  # tasks whose outputs are compared by their argmax


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples of equal shapes, stacked.

    Args:
        keys: int64[R], the sample that each row came from.
        inputs: by name, [R, ...]; reals.
        labels: [R, ...], or None.
        rows: of one sample: how many rows one call of the model takes.
    """

    keys: np.ndarray
    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    rows: int

    def cut(self, start: int) -> Chunk:
        """The one sample whose first row is `start`."""
        rows = slice(start, start + self.rows)
        labels = None if self.labels is None else self.labels[rows]
        inputs = {name: x[rows] if x.ndim else x for name, x in self.inputs.items()}
        return Chunk(self.keys[rows], inputs, labels, self.rows)

    def singles(self) -> list[Chunk]:
        """One sample each."""
        return [self.cut(start) for start in range(0, len(self.keys), self.rows)]


@dataclass(frozen=True)
class Side:
    """One model and what is judged of it.

    Args:
        model: absolute path or bytes.
        output: name of the judged output.
        final: the op that makes it.
        signature: key, or None.
    """

    model: str | bytes
    output: str
    final: str
    signature: str | None


class Evaluator:
    """Both models, ready to run; lives in a worker.

    Args:
        candidate, reference: what to run; no reference: None.
        task: a name of TASKS, or None.
        rules: options of the task.
        threads: LiteRT threads of each model.
        keep: return the predictions too, for a metric of the user's.
    """

    def __init__(
        self,
        candidate: Side,
        reference: Side | None,
        *,
        task: str | None,
        rules: Rules,
        threads: int = 1,
        keep: bool = False,
    ):
        sides = {CANDIDATE: candidate} | ({} if reference is None else {REFERENCE: reference})
        self._sides = sides
        self._runners = {}
        for name, side in sides.items():
            with _Naming(f"The {name}"):
                self._runners[name] = Runner(side.model, threads=threads, signature=side.signature)
        self._task = None if task is None else TASKS[task]
        self._ranked = task in _RANKED
        self._rules = rules
        self._keep = keep
        self._feeds: dict[str, list[str]] = {}

    def stackable(self, chunk: Chunk) -> bool:
        """Whether many rows in one call give what each row gives alone, to the last bit.

        A free batch axis promises it, and a RESHAPE or a normalisation inside may not keep it.
        """
        try:
            for name in self._runners:
                together = self._call(name, chunk)
                alone = [self._call(name, piece) for piece in chunk.singles()]
                if not np.array_equal(together, np.concatenate(alone), equal_nan=True):
                    return False
        except (ModelError, DataError, ValueError):  # ValueError: outputs of several shapes
            return False
        return True

    def run(self, chunk: Chunk, stacked: bool) -> Columns:
        """What is known of every row afterwards.

        Args:
            chunk: the samples.
            stacked: give all rows to the model at once, as far as its batch allows.

        Raises:
            DataError, ModelError: name the sample.
        """
        outputs = {name: self._outputs(name, chunk, stacked) for name in self._runners}
        candidate, reference = outputs[CANDIDATE], outputs.get(REFERENCE)
        for name, values in outputs.items():
            self._refuse_nan(name, values, chunk)
        columns: Columns = self._input_use(chunk)
        if reference is not None:
            softmax = self._sides[REFERENCE].final == "SOFTMAX"
            with _Naming(_where(chunk)):
                columns |= compared(reference, candidate, ranked=self._ranked, softmax=softmax)
        if self._task is not None:
            columns |= self._judged(chunk, candidate, reference)
        if self._keep:
            columns |= {f"keep:{name}": values for name, values in outputs.items()}
            columns |= {} if chunk.labels is None else {"judged:keep": chunk.labels}
        return columns

    def _judged(self, chunk: Chunk, candidate: np.ndarray, reference: np.ndarray | None) -> Columns:
        """The task's columns; `judged:` ones are there for labelled rows only."""
        assert self._task is not None
        finals = {name: side.final for name, side in self._sides.items()}
        try:
            return self._task.columns(candidate, reference, chunk.labels, finals, self._rules)
        except DataError as error:
            for piece in chunk.singles() if len(chunk.keys) > chunk.rows else ():
                at = int(np.flatnonzero(chunk.keys == piece.keys[0])[0])
                rows = slice(at, at + piece.rows)
                theirs = None if reference is None else reference[rows]
                self._judged(piece, candidate[rows], theirs)
            raise DataError(f"{_where(chunk)}: {error}") from None

    def _outputs(self, name: str, chunk: Chunk, stacked: bool) -> np.ndarray:
        """float[R, ...] of the judged output."""
        if stacked:
            with suppress(ModelError, DataError):  # one by one it is known which sample it was
                return self._call(name, chunk)
        made = []
        for piece in chunk.singles():
            with _Naming(f"{_where(piece)}: the {name}"):
                made.append(self._call(name, piece))
        if len({values.shape for values in made}) > 1:
            raise DataError(
                f"{_where(chunk)}: the {name}'s output {self._sides[name].output!r} changes its "
                "shape from sample to sample; choose another output."
            )
        return np.concatenate(made)

    def _call(self, name: str, chunk: Chunk) -> np.ndarray:
        runner = self._runners[name]
        if name not in self._feeds:
            shapes = {key: x.shape for key, x in chunk.inputs.items()}
            ports = {key: port.shape for key, port in runner.inputs.items()}
            self._feeds[name] = feeds(shapes, ports)
        fed = zip(runner.inputs, self._feeds[name], strict=True)
        values = runner({port: chunk.inputs[key] for port, key in fed})[self._sides[name].output]
        rows = len(chunk.keys)
        if values.ndim == 0 or (rows == 1 and len(values) != 1):
            values = values[None]  # a model without a batch axis
        if len(values) != rows:
            raise DataError(
                f"output {self._sides[name].output!r} has shape {list(values.shape)} for {rows} "
                "row(s) of input; its first axis must count samples."
            )
        return values[:, None] if values.ndim == 1 else values

    def _refuse_nan(self, name: str, values: np.ndarray, chunk: Chunk) -> None:
        if values.dtype.kind != "f":
            return
        good = np.isfinite(values).reshape(len(values), -1).all(axis=1)
        if not good.all():
            row = int(np.argmin(good))
            bad = values[row][~np.isfinite(values[row])]
            raise DataError(
                f"Sample {chunk.keys[row]}: the {name}'s output {self._sides[name].output!r} holds "
                f"{bad.size} values that are NaN or infinite, of {values[row].size}."
            )

    def _input_use(self, chunk: Chunk) -> Columns:
        """How the values fit the candidate's input grid: least, greatest, share outside."""
        runner, made = self._runners[CANDIDATE], Columns()
        fed = zip(runner.inputs.values(), self._feeds[CANDIDATE], strict=True)
        for k, (port, key) in enumerate(fed):
            x = chunk.inputs[key]
            if not port.scale or not x.ndim or not x.size:
                continue
            ends = np.iinfo(port.dtype)
            lo, hi = ((end - port.zero_point) * port.scale for end in (ends.min, ends.max))
            rows = flat(x)
            least, most = rows.min(axis=1), rows.max(axis=1)
            outside = np.zeros(len(rows))
            if least.min() < lo - port.scale or most.max() > hi + port.scale:
                wrong = (rows < lo - port.scale) | (rows > hi + port.scale)
                outside = wrong.mean(axis=1)
            made[f"input:{k}"] = np.stack([least, most, outside], axis=1).astype(np.float64)
        return made

    def grids(self) -> Mapping[int, tuple[str, float, float]]:
        """Of the candidate's quantized inputs: position -> (name, least real, greatest real)."""
        found = {}
        for k, port in enumerate(self._runners[CANDIDATE].inputs.values()):
            if port.scale:
                ends = np.iinfo(port.dtype)
                lo, hi = ((end - port.zero_point) * port.scale for end in (ends.min, ends.max))
                found[k] = (port.name, float(lo), float(hi))
        return found


class _Naming:
    """Errors say where they arose."""

    def __init__(self, where: str):
        self.where = where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DataError | ModelError):
            raise type(error)(f"{self.where}: {error}") from None


def _where(chunk: Chunk) -> str:
    first, last = int(chunk.keys[0]), int(chunk.keys[-1])
    return f"Sample {first}" if first == last else f"Samples {first}..{last}"
