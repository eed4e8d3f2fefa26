"""Sampled outputs of ops that add products, for the emulation of fp16 sums."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext._table import Table
from tfq_ext.tflite.facts import ACTIVATIONS
from tfq_ext.tflite.read import Graph
from tfq_ext.tflite.windows import positions, take, windows_of

WORK = 1 << 24  # products emulated for one op, which takes about a second
MOST = 64  # output positions


@dataclass(frozen=True)
class Case:
    """Sampled outputs of one op.

    Args:
        x: float32[P, K] or [P, K, O], in the order in which a GPU adds.
        w: float32[K, O].
        activation: name of the fused one.
    """

    x: np.ndarray
    w: np.ndarray
    activation: str


Cutter = Callable[[Any, np.ndarray, np.ndarray, np.random.Generator], Case]


@dataclass(frozen=True)
class Adder:
    """An op that adds products.

    Args:
        length: (graph, op) -> how many it adds for one output.
        cut: (options, x, w, generator) -> sampled outputs; None: not emulated.
    """

    length: Callable[[Graph, Any], int]
    cut: Cutter | None = None


def _count(p: int, k: int, o: int) -> int:
    """How many positions fit the work."""
    return max(1, min(p, MOST, WORK // max(k * o, 1)))


def _conv(options: Any, x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> Case:
    """x float32[N, H, W, I], w float32[O, KH, KW, I]."""
    o, kh, kw, i = w.shape
    if i != x.shape[3]:
        raise ValueError("grouped")
    windows = _windows(options, x, (kh, kw), kh * kw * i * o, rng)
    flat = w.transpose(1, 2, 3, 0).reshape(-1, o)
    return Case(windows.reshape(len(windows), -1), flat, _activation(options))


def _depthwise(options: Any, x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> Case:
    """w float32[1, KH, KW, O]; output channel o reads input channel o // multiplier."""
    _, kh, kw, o = w.shape
    windows = _windows(options, x, (kh, kw), kh * kw * o, rng)
    windows = np.repeat(windows, o // x.shape[3], axis=3)
    flat = windows.reshape(len(windows), kh * kw, o)
    return Case(flat, w.reshape(kh * kw, o), _activation(options))


def _dense(options: Any, x: np.ndarray, w: np.ndarray, rng: np.random.Generator) -> Case:
    """w float32[O, I]."""
    rows = x.reshape(-1, w.shape[1])
    few = rng.permutation(len(rows))[: _count(len(rows), w.shape[1], w.shape[0])]
    return Case(rows[few], w.T, _activation(options))


def _windows(
    options: Any, x: np.ndarray, kernel: tuple[int, int], work: int, rng: np.random.Generator
) -> np.ndarray:
    """float32[P, KH, KW, I] at random output positions; zeros where padding lies."""
    axes = windows_of(options, x.shape, kernel)
    total = positions(axes, x.shape[0])
    return take(x, axes, rng.permutation(total)[: _count(total, work, 1)])


def _activation(options: Any) -> str:
    return ACTIVATIONS[options.fusedActivationFunction]


def _weight_length(axes: tuple[int, ...], position: int = 1) -> Callable[[Graph, Any], int]:
    """Product of the weight's sizes along the axes that are added over."""

    def length(graph: Graph, op: Any) -> int:
        shape = graph.shape(int(op.inputs[position]))
        return int(np.prod([shape[a] for a in axes])) if len(shape) > max(axes) else 0

    return length


def _matmul_length(graph: Graph, op: Any) -> int:
    shape = graph.shape(int(op.inputs[0]))
    adjoint = bool(op.builtinOptions and op.builtinOptions.adjX)
    return max(int(shape[-2 if adjoint else -1]), 0) if len(shape) > 1 else 0


def _pool_length(graph: Graph, op: Any) -> int:
    return int(op.builtinOptions.filterHeight * op.builtinOptions.filterWidth)


def _reduced(graph: Graph, op: Any) -> int:
    """How many values become one."""
    before, after = (abs(int(np.prod(graph.shape(int(t)) or (1,)))) for t in _ends(op))
    return before // after if after else 0


def _ends(op: Any) -> tuple[int, int]:
    return int(op.inputs[0]), int(op.outputs[0])


ADDERS: Table[Adder] = Table(
    "op that adds",
    {
        "CONV_2D": Adder(_weight_length((1, 2, 3)), _conv),
        "DEPTHWISE_CONV_2D": Adder(_weight_length((1, 2)), _depthwise),
        "FULLY_CONNECTED": Adder(_weight_length((1,)), _dense),
        "TRANSPOSE_CONV": Adder(_weight_length((1, 2, 3))),
        "CONV_3D": Adder(_weight_length((0, 1, 2, 3))),
        "BATCH_MATMUL": Adder(_matmul_length),
        "MEAN": Adder(_reduced),
        "SUM": Adder(_reduced),
        "AVERAGE_POOL_2D": Adder(_pool_length),
    },
)
