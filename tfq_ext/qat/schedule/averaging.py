"""A moving average of the weights, and whether it is any better than the weights themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._optional import need
from tfq_ext.errors import SpecError
from tfq_ext.qat.schedule.apply import quantizers
from tfq_ext.qat.schedule.weights import student_of

keras = need("keras", why="Quantization-aware training")
ops = keras.ops
HIGHER_IS_BETTER = ("acc", "auc", "precision", "recall", "iou", "f1", "r2", "dice")


@dataclass(frozen=True)
class Comparison:
    """Both sets of weights on the same data.

    Args:
        weights, average: metric -> value.
        monitor: the metric that decides.
        kept: "weights" or "average".
    """

    weights: Mapping[str, float]
    average: Mapping[str, float]
    monitor: str
    kept: str

    def __str__(self) -> str:
        mine, other = self.weights[self.monitor], self.average[self.monitor]
        return (
            f"{self.monitor} {mine:.5g} with the weights, {other:.5g} with their average: "
            f"kept the {self.kept}"
        )


class Average:
    r"""Moving average of the trained weights, kept on the host.

    .. math:: a \leftarrow d^n a + (1 - d^n) w \quad \text{after } n \text{ steps}

    Weights in training sit on the borders of bins, so their average can have other codes than any
    of them had; hence both are evaluated at the end and the better one stays.

    Args:
        decay: d per step.
        every: steps between two updates.

    Source: Krishnamoorthi 1806.08342, section 3.2.3 ("exponential moving averaging ... with
    caution").
    """

    def __init__(self, decay: float, every: int = 10):
        if not (0 < decay < 1):
            raise SpecError(f"average must be a decay between 0 and 1 (0.999); got {decay!r}.")
        self.decay, self.every = decay, every
        self.step = 0
        self.values: list[np.ndarray] = []

    def update(self, model: Any, step: int) -> None:
        """Take in the weights of `step`; the first ones as they are."""
        now = _read(model)
        keep = self.decay ** max(step - self.step, 0)
        if self.values:
            now = [keep * a + (1 - keep) * w for a, w in zip(self.values, now, strict=True)]
        self.values, self.step = [np.asarray(a, np.float32) for a in now], step

    def decide(self, model: Any, data: Any, monitor: str) -> Comparison:
        """Evaluate weights and average; leave the better ones in the model.

        Args:
            model: compiled; evaluated by `model.evaluate`.
            data: (x, y), (x, y, sample weights) or a dataset.
            monitor: a name of evaluate's result. A tie keeps the weights.
        """
        weights = _read(model)
        mine = _evaluate(model, data, monitor)
        _assign(model, self.values)
        other = _evaluate(model, data, monitor)
        higher = any(part in monitor.lower() for part in HIGHER_IS_BETTER)
        gain = (other[monitor] - mine[monitor]) * (1 if higher else -1)
        if not gain > 0:
            _assign(model, weights)
        return Comparison(mine, other, monitor, "average" if gain > 0 else "weights")


def _variables(model: Any) -> list[Any]:
    """What is averaged: all that is trained but the quantizers' own numbers.

    Those jump when ranges freeze or bits change, and a jump has no average.
    """
    own = {id(v) for q in quantizers(model) for v in q.trainable_variables}
    return [v for v in student_of(model).trainable_variables if id(v) not in own]


def _read(model: Any) -> list[np.ndarray]:
    return [np.array(ops.convert_to_numpy(v)) for v in _variables(model)]


def _assign(model: Any, values: list[np.ndarray]) -> None:
    for variable, value in zip(_variables(model), values, strict=True):
        variable.assign(value)


def _evaluate(model: Any, data: Any, monitor: str) -> dict[str, float]:
    parts = data if isinstance(data, tuple) else (data,)
    names = ("x", "y", "sample_weight")
    inputs = dict(zip(names, parts, strict=False))
    found = model.evaluate(**inputs, verbose=0, return_dict=True)
    result = {name: float(value) for name, value in found.items()}
    if monitor not in result:
        raise SpecError(f"monitor={monitor!r} is no metric of the model: {', '.join(result)}.")
    return result
