"""Float networks with what BatchNormalization would remember of them: the truth, measured."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from equalize_nets import RELU, Sketch, feed
from one_op import run

from tfq_ext.emit.to_float import Pivot, to_float
from tfq_ext.emit.to_float.norms import Norm, Remembered
from tfq_ext.tflite.facts import WEIGHTS
from tfq_ext.tflite.read import Model
from tfq_ext.tflite.slice import cut

FEEDS = 24


def pointwise(cap: int = RELU) -> Model:
    """Layers that look at one position, unpadded: nothing but independence is assumed of them."""
    n = Sketch((2, 8, 8, 3))
    n.conv("a", "x", 3, 16, 1, act=cap)
    n.conv("b", "a", 16, 12, 1, act=cap)
    n.conv("c", "b", 12, 16, 1, act=0)
    n.op("RELU", "r", "c")
    n.conv("d", "r", 16, 8, 1, act=cap)
    n.dense("y", n.mean("m", "d"), 8, 4)
    return n.done("y")


def before_activation(model: Model, k: int, feeds: list[dict[str, Any]]) -> np.ndarray:
    """What op `k` writes without its own activation, float64[values, C]."""
    part = cut(model.graphs[0], range(k + 1))
    graph = part.graphs[0]
    last = graph.ops[-1]
    last.builtinOptions = copy.copy(last.builtinOptions)
    last.builtinOptions.fusedActivationFunction = 0
    graph.tree.outputs = [int(last.outputs[0])]
    names = {graph.name(t) for t in graph.inputs}
    content = part.to_bytes()
    rows = [run(content, {n: f[n] for n in names})[0] for f in feeds]
    return np.concatenate([y.reshape(-1, y.shape[-1]) for y in rows]).astype(np.float64)


def true_moments(model: Model, *, skip: tuple[str, ...] = ("y",)) -> dict[str, Any]:
    """Layer output -> (mean, deviation) before its activation, over FEEDS random feeds."""
    feeds = [feed(model, seed=k) for k in range(FEEDS)]
    graph, found = model.graphs[0], {}
    for k, op in enumerate(graph.ops):
        name = graph.name(int(op.outputs[0]))
        if graph.code(op) in WEIGHTS and name not in skip:
            y = before_activation(model, k, feeds)
            found[name] = y.mean(axis=0), y.std(axis=0)
    return found


def remembering(model: Model, **more: Any) -> Pivot:
    """The pivot of a model, as if its layers had been folded with BatchNormalization."""
    graph, norms = model.graphs[0], []
    moments = true_moments(model, **more)
    for op in graph.ops:
        name = graph.name(int(op.outputs[0]))
        if name not in moments:
            continue
        mean, deviation = moments[name]
        fact = WEIGHTS[graph.code(op)]
        bias = np.asarray(graph.constant(int(op.inputs[fact.bias])), np.float64)
        one = np.ones_like(bias)
        norms.append(Norm(f"norm of {name}", mean, deviation, one, bias, np.abs(bias)))
    return replace(to_float(model.to_bytes()), remembered=Remembered(tuple(norms)))
