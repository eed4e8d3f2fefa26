"""What a model takes: the inputs of its signatures, and what is known of them beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfq_ext.samples import InputSpec, Preprocess
from tfq_ext.spec import Range
from tfq_ext.tflite.arithmetic import QUANTIZED, has_grid
from tfq_ext.tflite.read import Model, text


def input_specs(model: Model) -> list[InputSpec]:
    """What every signature takes; the first subgraph's inputs when the file has no signature."""
    specs = []
    for key, signature in model.signatures.items():
        graph = model.graph_of(key)
        for entry in signature.inputs or ():
            tensor = int(entry.tensorIndex)
            shape = graph.shape(tensor)
            specs.append(InputSpec(text(entry.name), shape, graph.dtype(tensor), key))
    if not specs:
        graph = model.graphs[0]
        specs = [InputSpec(graph.name(t), graph.shape(t), graph.dtype(t)) for t in graph.inputs]
    return specs


def real_specs(model: Model) -> list[InputSpec]:
    """`input_specs` for a file of any kind, fed with reals: a quantized input is one of float32.

    `Runner` encodes them, so that one sample means the same to every model.
    """
    grids = {
        (key, text(entry.name)): has_grid(model.graph_of(key), int(entry.tensorIndex))
        for key, signature in model.signatures.items()
        for entry in signature.inputs or ()
    }
    if not grids:
        graph = model.graphs[0]
        grids = {("", graph.name(t)): has_grid(graph, t) for t in graph.inputs}
    return [
        replace(spec, dtype="float32")
        if grids[spec.signature, spec.name] and spec.dtype in QUANTIZED
        else spec
        for spec in input_specs(model)
    ]


def pixel_ranges(model: Model, preprocess: Preprocess | None) -> dict[str, Range]:
    """Image input -> the interval that pixels 0..255 map to: known, so it is not calibrated.

    With one scale and a whole-number zero point the uint8 input is quantized without error.
    """
    if preprocess is None:
        return {}
    a, b = preprocess.coefficients()
    ends = np.stack([b, 255 * a + b])
    interval = Range.of(ends.min(), ends.max())
    graphs = {model.graph_of(key) for key in model.signatures} or {model.graphs[0]}
    return {
        graph.name(t): interval
        for graph in graphs
        for t in graph.inputs
        if len(graph.shape(t)) == 4 and graph.dtype(t) == "float32"
    }
