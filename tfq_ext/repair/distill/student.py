"""What is learned: of every layer its scales, codes and bias, as TensorFlow variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfq_ext.emit.plan import WeightCodes
from tfq_ext.spec import QParams
from tfq_ext.tflite.read import Graph

FURTHEST = 1.5  # times the first scale, and its inverse: what a learned scale may become


@dataclass(eq=False)
class LearnedWeight:
    """One weight: codes with a straight-through gradient times a scale that is learned, too.

    Args:
        tf: TensorFlow.
        start: codes and scales that it begins with.
        free: bool, of the weight's shape: codes that may move; None: none may.
    """

    tf: Any
    start: WeightCodes
    free: np.ndarray | None = None

    def __post_init__(self) -> None:
        params = self.start.params
        shape = [-1 if k == params.spec.axis else 1 for k in range(self.start.codes.ndim)]
        self._shape = shape if params.spec.axis is not None else []
        self._zero = np.reshape(params.zero_point, self._shape).astype(np.float32)
        self._scale = np.reshape(params.scale, self._shape).astype(np.float32)
        self._first = self.start.codes.astype(np.float32)
        self.moved = None if self.free is None else self.tf.Variable(np.zeros_like(self._first))
        self.factor = self.tf.Variable(np.ones_like(self._scale))

    def value(self) -> Any:
        """float32, of the weight's shape."""
        tf, whole = self.tf, self._codes()
        if self.moved is not None:
            whole = whole + tf.stop_gradient(tf.round(whole) - whole)
        factor = tf.clip_by_value(self.factor, 1 / FURTHEST, FURTHEST)
        return (whole - self._zero) * (self._scale * factor)

    def _codes(self) -> Any:
        """Between whole numbers while they are learned."""
        spec = self.start.params.spec
        if self.moved is None:
            return self._first
        codes = self._first + self.moved * np.float32(self.free)
        return self.tf.clip_by_value(codes, float(spec.qmin), float(spec.qmax))

    def found(self) -> WeightCodes:
        """The learned codes and scales."""
        spec = self.start.params.spec
        codes = np.rint(np.asarray(self._codes())).astype(np.int8)
        factor = np.clip(self.factor.numpy(), 1 / FURTHEST, FURTHEST)
        scale = (self._scale * factor).reshape(np.shape(self.start.params.scale))
        params = QParams(spec, scale.astype(np.float32), self.start.params.zero_point)
        return replace(self.start, codes=codes, params=params)


@dataclass(eq=False)
class LearnedBias:
    """One bias: the first one plus something in units of its layer's output.

    Args:
        tf: TensorFlow.
        start: float32[C].
        unit: what one unit is, in units of the output.
    """

    tf: Any
    start: np.ndarray
    unit: float

    def __post_init__(self) -> None:
        self.moved = self.tf.Variable(np.zeros_like(self.start))

    def value(self) -> Any:
        """float32[C]"""
        return self.start + self.moved * self.unit

    def found(self) -> np.ndarray:
        """The learned bias, float32[C]."""
        return np.asarray(self.value().numpy(), np.float32)


class Student:
    """The variables of one subgraph.

    Args:
        tf: TensorFlow.
        graph: of the pivot.
        weights: constant -> first codes.
        free: constant -> which of them may move; absent: none.
        biases: constant -> first values.
        units: constant of a bias -> the deviation of its layer's output.
    """

    def __init__(
        self,
        tf: Any,
        graph: Graph,
        weights: Mapping[str, WeightCodes],
        free: Mapping[str, np.ndarray],
        biases: Mapping[str, np.ndarray],
        units: Mapping[str, float],
    ) -> None:
        self._graph = graph
        self.weights = {name: LearnedWeight(tf, c, free.get(name)) for name, c in weights.items()}
        self.biases = {n: LearnedBias(tf, b, units.get(n, 1.0)) for n, b in biases.items()}

    def constants(self) -> dict[int, Any]:
        """Tensor index -> its present value."""
        place = self._graph.by_name
        rows: list[tuple[str, LearnedWeight | LearnedBias]] = [*self.weights.items()]
        rows += self.biases.items()
        return {place[name]: each.value() for name, each in rows}

    @property
    def is_finite(self) -> bool:
        """Whether no variable is NaN or inf."""
        rows = (variable for variable, _ in self.variables(0.0, 0.0))
        return all(bool(np.all(np.isfinite(v.numpy()))) for v in rows)

    def variables(self, rate: float, code_rate: float) -> list[tuple[Any, float]]:
        """What the optimiser moves, each with its rate."""
        rows = [(w.factor, rate) for w in self.weights.values()]
        rows += [(b.moved, rate) for b in self.biases.values()]
        moved = (w.moved for w in self.weights.values())
        return rows + [(variable, code_rate) for variable in moved if variable is not None]
