"""Data for a Keras model: any source that `samples` opens, checked, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import DataError
from tfq_ext.rewrite.graph import read_flow
from tfq_ext.samples import InputSpec, Samples, open_samples

keras = need("keras", why="Running a Keras model")


def specs(model: Any) -> list[InputSpec]:
    """What a functional model takes; an open axis is -1."""
    return [
        InputSpec(
            str(ref.name),
            tuple(-1 if n is None else int(n) for n in ref.shape),
            "string" if ref.dtype == "string" else ref.dtype,
        )
        for ref in keras.tree.flatten(read_flow(model).inputs)
    ]


class Feed:
    """Batches of a model's samples, as often as asked.

    Args:
        model: functional.
        data: what `tfq.quantize` takes: arrays, a dict of them, tf.data, paths, generators.
        batch: samples at once; a fixed batch of the model goes before.
    """

    def __init__(self, model: Any, data: object, *, batch: int = 64) -> None:
        if batch < 1:
            raise DataError(f"batch must be 1 or more samples, got {batch}.")
        self._inputs = read_flow(model).inputs
        self._batch = batch
        wanted = specs(model)
        self._fixed = any(spec.shape and spec.shape[0] > 0 for spec in wanted)
        self._samples: Samples = open_samples(data, wanted).reusable()

    def __iter__(self) -> Iterator[Any]:
        """Yields what `model(...)` takes: float32[N, ...] and so on in the model's structure.

        Raises:
            DataError: NaN, a wrong shape, or no samples.
        """
        waiting: list[dict[str, np.ndarray]] = []
        found = False
        for sample in self._samples:
            found = True
            rows = dict(sample.inputs)
            if waiting and _shapes(rows) != _shapes(waiting[0]):
                yield self._joined(waiting)
                waiting = []
            waiting.append(rows)
            if self._fixed or len(waiting) == self._batch:
                yield self._joined(waiting)
                waiting = []
        if waiting:
            yield self._joined(waiting)
        if not found:
            raise DataError("There are no samples in the data; at least one is needed.")

    def _joined(self, rows: list[dict[str, np.ndarray]]) -> Any:
        def filled(ref: Any) -> np.ndarray:
            return np.concatenate([row[ref.name] for row in rows])

        return keras.tree.map_structure(filled, self._inputs)


def _shapes(rows: dict[str, np.ndarray]) -> list[tuple[int, ...]]:
    return [array.shape for array in rows.values()]


def run(model: Any, inputs: Any) -> list[np.ndarray]:
    """The outputs of one batch in inference mode, flat; eagerly, so that spies see values."""
    outputs = model(inputs, training=False)
    return [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(outputs)]
