"""Noise, one source at a time: the float model with only some of its tensors rounded.

    weights     integers for the weights, activations float
    activations every activation on a grid of its own exact range, weights float
    shared      what is added when ops such as CONCATENATION force tensors onto one grid
    ranges      what is added when the grids are those given instead of the exact ones

Each is a float file with FAKE_QUANT ops, run on the evaluation samples. Noise is power over signal
power, so that independent sources add; the steps of the activations add by construction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from tfq_ext.emit import simulate
from tfq_ext.emit.plan import Plan
from tfq_ext.repair.audit.values import SharedGrid, Step, Waterfall
from tfq_ext.spec import INT8_ACTIVATION, QParams, QSpec, Range
from tfq_ext.tflite.facts import SAME_GRID
from tfq_ext.tflite.read import Graph, Model

WEIGHTS, ACTIVATIONS, SHARED, RANGES = "weights", "activations", "shared", "ranges"
FINE = QSpec(16, symmetric=False)  # where values are on a grid already: 48 dB below 8 bits
_COMPUTED = ("AVERAGE_POOL_2D", "RESIZE_BILINEAR")  # share a grid, but make new values


def trials(
    pivot: Model, given: Plan, exact: Mapping[str, Range], own: Mapping[str, Range]
) -> dict[str, bytes]:
    """The float files that the steps are measured on, by step.

    Args:
        pivot: float model.
        given: the plan of the integer file: its weights, and its ranges.
        exact: tensor -> exact range, tensors that must share a grid joined.
        own: tensor -> exact range of its own.
    """
    shared = simulate.emit(pivot, Plan(ranges=exact, keep_float=given.keep_float)).content
    grids = Plan(ranges=given.ranges, keep_float=given.keep_float)
    return {
        WEIGHTS: simulate.emit(pivot, replace(given, ranges={})).content,
        ACTIVATIONS: apart(shared, own, copies(pivot)),
        SHARED: shared,
        RANGES: simulate.emit(pivot, grids).content,
    }


def apart(content: bytes, own: Mapping[str, Range], copied: Iterable[str]) -> bytes:
    """A simulated file in which every tensor has its own grid again.

    Args:
        content: with FAKE_QUANT ops on shared grids.
        own: tensor -> its own range.
        copied: tensors that only repeat values which are on a grid; they are not rounded again.
    """
    model, skip = Model.parse(content, source="the simulation"), set(copied)
    for graph, _, op, code in model.walk():
        if code != "FAKE_QUANT":
            continue
        name = _rounded_tensor(graph, op, own)
        if name is None or name in skip:
            ends = Range(float(op.builtinOptions.min), float(op.builtinOptions.max))
            grid = QParams.from_range(FINE, ends)
        else:
            grid = QParams.from_range(INT8_ACTIVATION, own[name])
        options = op.builtinOptions
        options.min, options.max = (np.float32(e) for e in (grid.range.min, grid.range.max))
        options.numBits = grid.spec.bits
    return model.to_bytes()


def _rounded_tensor(graph: Graph, op: object, own: Mapping[str, Range]) -> str | None:
    """The pivot's name of what FAKE_QUANT rounds: its output, or for inputs its input."""
    ends = (op.outputs[0], op.inputs[0])  # type: ignore[attr-defined]
    return next((name for t in ends if (name := graph.name(int(t))) in own), None)


def copies(pivot: Model) -> tuple[str, ...]:
    """Tensors that hold values of other tensors unchanged (CONCATENATION, RESHAPE, ...)."""
    return tuple(
        graph.name(int(out))
        for graph, _, op, code in pivot.walk()
        if code in SAME_GRID and code not in _COMPUTED
        for out in op.outputs
    )


def steps(sqnr: Mapping[str, float], shared: Iterable[SharedGrid]) -> tuple[Step, ...]:
    """Noise powers of the trials, taken apart.

    Args:
        sqnr: dB, by step as from `trials`.
        shared: grids that several tensors share; without any the step `shared` is left out.
    """
    power = {name: 10 ** (-value / 10) for name, value in sqnr.items()}
    added = {
        WEIGHTS: power[WEIGHTS],
        ACTIVATIONS: power[ACTIVATIONS],
        SHARED: power[SHARED] - power[ACTIVATIONS],
        RANGES: power[RANGES] - power[SHARED],
    }
    if not list(shared):  # the difference is rounding of the simulation
        added[ACTIVATIONS] += added.pop(SHARED)
    return tuple(Step(name, value, sqnr[name]) for name, value in added.items())


def waterfall(
    whose: str, sqnr: Mapping[str, float], shared: Iterable[SharedGrid], together: float
) -> Waterfall:
    """All steps, and the integer file itself."""
    return Waterfall(whose, steps(sqnr, shared), together)
