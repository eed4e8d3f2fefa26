"""Ops of one computed input as functions of points, so that any of them passes on a distribution.

A function takes float64[K, C], K equally likely values of each of C channels, and returns the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tfq_ext.repair.beliefs.belief import Belief, from_moments
from tfq_ext.repair.beliefs.scene import CLAMPS, Scene, Unknown, fused

Function = Callable[[np.ndarray], np.ndarray]
_erf = np.vectorize(math.erf, otypes=[np.float64])
STEPS = 6  # ops between x and the factor that x is multiplied with; a hard-swish takes 4


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -x)))


FUNCTIONS: dict[str, Function] = {
    "ABS": np.abs,
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))),
    "EXP": lambda x: np.exp(np.minimum(x, 80.0)),
    "GELU": lambda x: x * (1.0 + _erf(x / math.sqrt(2.0))) / 2.0,
    "HARD_SWISH": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "LOGISTIC": _logistic,
    "NEG": np.negative,
    "SQRT": lambda x: np.sqrt(np.maximum(x, 0.0)),
    "SQUARE": np.square,
    "TANH": np.tanh,
    **{
        code: lambda x, ends=ends: np.clip(x, *ends)  # type: ignore[misc]
        for code, ends in CLAMPS.items()
        if code != "NONE"
    },
}


def function_of(scene: Scene, op: Any) -> tuple[int, Function] | None:
    """(the one computed input, what the op makes of its values); None for any other op."""
    live = scene.live(op)
    if len(live) != 1:
        return None
    code = scene.graph.code(op)
    if code in FUNCTIONS:
        return live[0], FUNCTIONS[code]
    if code == "LEAKY_RELU":
        slope = float(op.builtinOptions.alpha)
        return live[0], lambda x: np.where(x > 0, x, slope * x)
    if code == "PRELU":
        slopes = row(scene, int(op.inputs[1]))
        return live[0], lambda x: np.where(x > 0, x, slopes * x)
    if code in _ARITHMETIC and len(op.inputs) == 2:
        return live[0], _with_constant(scene, op, live[0])
    return None


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
    "SQUARED_DIFFERENCE": lambda a, b: np.square(a - b),
    "POW": lambda a, b: np.power(np.maximum(a, 0.0), b),
}


def _with_constant(scene: Scene, op: Any, live: int) -> Function:
    """The op with its other operand, a constant, filled in; its own clamp applied."""
    first = int(op.inputs[0]) == live
    values = row(scene, int(op.inputs[1 if first else 0]))
    act, ends = _ARITHMETIC[scene.graph.code(op)], fused(op)
    if first:
        return lambda x: np.clip(act(x, values), *ends)
    return lambda x: np.clip(act(values, x), *ends)


def row(scene: Scene, tensor: int) -> np.ndarray:
    """A constant with one value a channel (or one in all), float64[C].

    Raises:
        Unknown: it differs from position to position.
    """
    values = np.asarray(scene.graph.constant(tensor), np.float64)
    rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
    if np.any(rows != rows[0]):
        raise Unknown("its constant differs from position to position")
    return np.asarray(rows[0])


def mapped(belief: Belief, function: Function) -> Belief:
    """What a function makes of a distribution: its first two moments, and how far it reaches.

    Raises:
        Unknown: the function has no finite value somewhere.
    """
    inner = function(belief.points())
    outer = np.concatenate([inner, function(np.array(belief.reach))])
    if not np.all(np.isfinite(outer)):
        raise Unknown("it is infinite for some values")
    ends = outer.min(axis=0), outer.max(axis=0)
    return from_moments(inner.mean(axis=0), inner.var(axis=0), *ends, alpha=np.inf)


def gate(scene: Scene, op: Any) -> tuple[int, Function] | None:
    """x f(x), where a product's one factor is computed from the other: swish, written out."""
    a, b = (int(t) for t in op.inputs)
    for x, other in ((a, b), (b, a)):
        f = _composed(scene, other, x)
        if f is not None:
            return x, lambda v, f=f: v * f(v)
    return None


def _composed(scene: Scene, tensor: int, origin: int) -> Function | None:
    """`tensor` as a function of `origin`, through ops of one input."""
    steps: list[Function] = []
    while tensor != origin and len(steps) < STEPS:
        made = scene.graph.producer.get(tensor)
        found = None if made is None else function_of(scene, scene.graph.ops[made])
        if found is None:
            return None
        tensor = found[0]
        steps.append(found[1])
    if tensor != origin or not steps:
        return None

    def function(x: np.ndarray) -> np.ndarray:
        for step in reversed(steps):
            x = step(x)
        return x

    return function
