"""The inputs that all sides get: samples, or noise where there are none."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tfq_ext.errors import DataError, ModelError
from tfq_ext.samples import InputSpec, Preprocess, Samples, open_samples
from tfq_ext.tflite.inputs import real_specs
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import input_tensors
from tfq_ext.tflite.runner import Arrays

NOISE = 2  # calls, where there are no samples
MOST = 1 << 27  # values of one input of noise: half a GiB
NOISE_NOTE = "No samples were given: the figures are of noise in -1..1; give --data for real ones."


def open_inputs(
    model: Model,
    data: Any,
    *,
    preprocess: Preprocess | str | None,
    limit: int,
    seed: int,
    signature: str | None,
) -> tuple[list[Arrays], tuple[str, ...]]:
    """At most `limit` calls of one signature, and what to know about them.

    Raises:
        DataError: data that do not fit the model.
    """
    chosen = model.key_of(signature)
    if data is None:
        return [_noise(model, chosen, seed + k) for k in range(min(limit, NOISE))], (NOISE_NOTE,)
    specs: list[InputSpec] = real_specs(model)
    own = data if isinstance(data, Samples) else None
    samples = own or open_samples(data, specs, preprocess=preprocess)
    count = samples.count
    few = open_samples(samples, specs, limit=limit, seed=seed, shuffle=count is not None)
    try:
        inputs = [
            {name: np.array(x) for name, x in sample.inputs.items()}
            for sample in few
            if not sample.signature or sample.signature == chosen
        ]
    finally:
        if own is None:
            samples.close()
    if not inputs:
        raise DataError(f"None of the samples is for the signature {chosen!r}.")
    return inputs, samples.notes


def _noise(model: Model, signature: str | None, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    graph = model.graph_of(signature)
    return {name: _values(graph, t, rng) for name, t in input_tensors(model, signature).items()}


def _values(graph: Graph, tensor: int, rng: np.random.Generator) -> np.ndarray:
    """Reals: -1..1 for floats, the whole grid for codes, zeros for ids and masks."""
    shape = tuple(max(n, 1) for n in graph.shape(tensor))
    if math.prod(shape) > MOST:
        raise ModelError(
            f"Input {graph.name(tensor)!r} has shape {list(shape)}, over {MOST} values; no noise "
            "is made for that. Give --data, or export the model with smaller inputs."
        )
    q, dtype = graph.tensors[tensor].quantization, graph.dtype(tensor)
    if dtype == "string":
        raise ModelError(
            f"Input {graph.name(tensor)!r} takes text; delegates are checked on numbers only."
        )
    if dtype in ("int8", "uint8", "int16") and q is not None and q.scale is not None:
        ends, zero = np.iinfo(dtype), int(q.zeroPoint[0]) if q.zeroPoint is not None else 0
        codes = rng.integers(ends.min, ends.max + 1, shape)
        return ((codes - zero) * float(q.scale[0])).astype(np.float32)
    if dtype.startswith("float"):
        return rng.uniform(-1, 1, shape).astype(np.float32)
    return np.zeros(shape, dtype if dtype != "bool" else np.bool_)
