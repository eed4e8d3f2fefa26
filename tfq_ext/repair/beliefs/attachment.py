"""From the BatchNormalization layers of a Keras model to tensors of the pivot, by value.

The converter folds a norm into the layer before it and names the result as it likes; but the bias
that folding gives, \\( \\gamma (b - \\mu) / \\sigma + \\beta \\), is there to be found: C float32
values that no other layer has. A norm that stands alone is a MUL and an ADD of that constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfq_ext.emit.to_float.norms import Norm, Remembered
from tfq_ext.repair.beliefs.belief import Belief
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Graph, Model

TOLERANCE = 1e-4  # of the terms that a folded bias is the sum of; float32 leaves 1e-6


@dataclass(frozen=True, eq=False)
class Attached:
    """Norms found again.

    Args:
        beliefs: tensor -> distribution before the op's own activation.
        lost: norms that no constant of the pivot shows.
        ambiguous: tensors whose constant fits norms of different statistics: they get none.
    """

    beliefs: dict[str, Belief]
    lost: tuple[str, ...]
    ambiguous: tuple[str, ...]


def attach_norms(model: Model, known: Remembered) -> Attached:
    """Find the tensor that each norm speaks of.

    Args:
        model: the pivot, or what a pass that keeps biases made of it.
        known: of the Keras model that it was converted from.
    """
    beliefs: dict[str, Belief] = {}
    found: set[str] = set()
    ambiguous = []
    for graph in model.graphs:
        for op in graph.ops:
            offset = _offset(graph, op)
            fits = [] if offset is None else list(_fits(offset, known))
            if not fits:
                continue
            found |= {norm.layer for norm in fits}
            name = graph.name(int(op.outputs[0]))
            if all(_agree(fits[0], norm) for norm in fits):
                beliefs[name] = Belief.of(fits[0].mean, fits[0].deviation, source="norm")
            else:
                ambiguous.append(name)
    lost = tuple(norm.layer for norm in known.norms if norm.layer not in found)
    return Attached(beliefs, lost, tuple(ambiguous))


def _offset(graph: Graph, op: Any) -> np.ndarray | None:
    """The constant that an op adds to the channels of its output, float32[C]."""
    code = graph.code(op)
    if code in WEIGHTS:
        positions: list[int | None] = [WEIGHTS[code].bias]
    else:
        positions = [0, 1] if code in ("ADD", "SUB") else []
    for k in positions:
        if k is not None and k < len(op.inputs) and op.inputs[k] >= 0:
            values = graph.constant(int(op.inputs[k]))
            width = graph.shape(int(op.outputs[0]))[-1:]
            if values is not None and values.dtype == np.float32 and width == (values.size,):
                return -values.reshape(-1) if code == "SUB" and k == 1 else values.reshape(-1)
    return None


def _fits(offset: np.ndarray, known: Remembered) -> Iterator[Norm]:
    """Norms that fold into this bias: behind a layer without a bias of its own, or with one."""
    for norm in known.norms:
        if norm.offset.shape != offset.shape:
            continue
        inner = [b for b in known.biases if b.shape == offset.shape]
        for b in (np.zeros_like(norm.offset), *inner):
            term = norm.factor * b
            allowed = TOLERANCE * (norm.scale + np.abs(term)) + 1e-6
            if np.all(np.abs(norm.offset + term - offset) <= allowed):
                yield norm
                break


def _agree(a: Norm, b: Norm) -> bool:
    return np.allclose(a.mean, b.mean, atol=1e-6) and np.allclose(
        a.deviation, b.deviation, atol=1e-6
    )
