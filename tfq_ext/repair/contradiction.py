"""Do the samples look like what the model was trained on? Asked of its first layer."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import islice

import numpy as np

from tfq_ext.calibrate.stats import Stats
from tfq_ext.emit.to_float import Pivot
from tfq_ext.samples import Sample, range_warning
from tfq_ext.tflite.facts import ACTIVATIONS, WEIGHTS
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import Keeper, input_tensors
from tfq_ext.tflite.slice import can_cut, cut

SAMPLES = 8
SPREAD = 4.0  # times wider or narrower than in training before a word is said
AT_THE_CAP = 0.6  # share of active units at the cap; trained networks have a few percent


def contradiction(pivot: Pivot, samples: Iterable[Sample], stats: Stats) -> str | None:
    """A sentence with the numbers when the samples contradict the model's first layer, else None.

    A file that records its inputs' range is asked first. A Keras model with BatchNorm says what
    its first layer's outputs were in training (mean beta, deviation gamma); other models are asked
    how much of a first ReLU6 sits at its cap.

    Args:
        pivot: float model, with `remembered.first` where the source had one.
        samples: the first few are run.
        stats: observed ranges, for the message.
    """
    graph = pivot.model.graphs[0]
    recorded = _against_record(graph, stats)
    if recorded is not None:
        return recorded
    k = _first_layer(graph)
    if k is None or any(not can_cut(graph, j) for j in range(k + 1)):
        return None
    outputs = _without_activation(pivot.model, k, islice(samples, SAMPLES))
    if not len(outputs):
        return None
    fed = _fed(graph, stats)
    norm = pivot.remembered.first
    if norm is not None and outputs.shape[-1] == len(norm.mean):
        return _against_training(outputs, norm.mean, norm.deviation, norm.layer, fed)
    if _activation(graph, k) == "RELU6":
        active = outputs[outputs > 0]
        share = float(np.mean(active >= 6.0)) if active.size else 0.0
        if share > AT_THE_CAP:
            return (
                f"{share:.0%} of the first layer's active units are at the cap of its ReLU6, for "
                f"inputs of {fed}: they look too large for this model. Check the preprocessing."
            )
    return None


def _against_record(graph: Graph, stats: Stats) -> str | None:
    """What the file itself records of its inputs (a calibrated float file carries min and max)."""
    for tensor in graph.inputs:
        q, name = graph.tensors[tensor].quantization, graph.name(tensor)
        low, high = (getattr(q, end, None) for end in ("min", "max"))
        if name in stats and low is not None and high is not None and len(low) and len(high):
            seen = stats[name].min, stats[name].max
            sentence = range_warning(seen, (float(low[0]), float(high[0])))
            if sentence is not None:
                return sentence
    return None


def _against_training(
    outputs: np.ndarray, mean: np.ndarray, deviation: np.ndarray, layer: str, fed: str
) -> str | None:
    alive = deviation > 1e-3 * deviation.max(initial=0.0)
    if not np.any(alive):
        return None
    ratio = float(np.median(outputs.std(axis=0)[alive] / deviation[alive]))
    if 1 / SPREAD <= ratio <= SPREAD:
        return None
    times = f"{ratio:.3g} times as wide" if ratio > 1 else f"only {ratio:.2g} times as wide"
    return (
        f"The first layer's outputs spread {times} as its BatchNorm ({layer}) recorded in "
        f"training, for inputs of {fed}. The values are probably scaled differently than in "
        "training (pixels 0..255 against -1..1, say): check the preprocessing."
    )


def _fed(graph: Graph, stats: Stats) -> str:
    names = [graph.name(t) for t in graph.inputs if graph.name(t) in stats]
    return ", ".join(f"{stats[n].min:.4g} to {stats[n].max:.4g}" for n in names) or "these values"


def _first_layer(graph: Graph) -> int | None:
    return next((k for k, op in enumerate(graph.ops) if graph.code(op) in WEIGHTS), None)


def _activation(graph: Graph, k: int) -> str:
    options = graph.ops[k].builtinOptions
    return ACTIVATIONS.get(getattr(options, "fusedActivationFunction", 0), "NONE")


def _without_activation(model: Model, k: int, samples: Iterable[Sample]) -> np.ndarray:
    """The first layer before its fused activation: float32[positions, C] over all samples."""
    graph = model.graphs[0]
    part = cut(graph, range(k + 1))
    last = part.graphs[0].ops[-1]
    last.builtinOptions = copy.copy(last.builtinOptions)
    last.builtinOptions.fusedActivationFunction = 0
    inner = part.graphs[0]
    keeper = Keeper(part)
    fed = {inner.name(t) for t in inner.inputs}
    rows = []
    for sample in samples:
        if model.graph_of(sample.signature or None) is not graph:
            continue
        names = input_tensors(model, sample.signature or None)
        inputs = {graph.name(t): sample.inputs[n] for n, t in names.items()}
        if fed <= inputs.keys():
            read = keeper.invoke({n: inputs[n] for n in fed})
            y = np.array(read(int(last.outputs[0])))
            rows.append(y.reshape(-1, y.shape[-1]))
    return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)
