"""Quantized models of one op with arbitrary grids, and what to feed them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import one_op
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.tflite import patch
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import open_interpreter

Random = np.random.Generator


@dataclass(frozen=True)
class T:
    """One tensor: a constant where `values` is given, else fed (or made)."""

    shape: tuple[int, ...] = ()
    dtype: str = "int8"
    scale: Any = None
    zero: Any = 0
    values: Any = None
    axis: int = 0


@dataclass(frozen=True)
class OneOp:
    """One op on given grids."""

    code: str
    inputs: tuple[T | None, ...]
    outputs: tuple[T, ...]
    options: tuple[str, dict[str, Any]] | None = None
    version: int = 1
    # input position -> values to feed instead of random codes
    feeds: dict[int, Any] = field(default_factory=dict)


def _grid(graph: Graph, tensor: int, t: T) -> None:
    if t.scale is None:
        return
    q = schema.QuantizationParametersT()
    q.scale = [float(s) for s in np.atleast_1d(np.asarray(t.scale, np.float32))]
    q.zeroPoint = [int(z) for z in np.broadcast_to(np.atleast_1d(t.zero), len(q.scale))]
    q.quantizedDimension = t.axis
    graph.tensors[tensor].quantization = q


def build(one: OneOp) -> Model:
    """The model; inputs are x0, x1, ... by position, outputs out, out_1, ..."""
    model = model_of(one)
    _settle(model)
    return model


def model_of(one: OneOp) -> Model:
    """The same with the outputs' shapes as given, without running LiteRT."""
    model = one_op.empty_model()
    graph = model.graphs[0]
    read = []
    for k, t in enumerate(one.inputs):
        if t is None:
            read.append(-1)
            continue
        shape = t.shape if t.values is None else np.shape(t.values)
        new = patch.add_tensor(graph, f"x{k}", t.dtype, shape, values=t.values)
        _grid(graph, new, t)
        if t.values is None:
            graph.tree.inputs.append(new)
        read.append(new)
    made = []
    for t in one.outputs:
        made.append(patch.add_tensor(graph, one_op.OUT, t.dtype, t.shape))
        _grid(graph, made[-1], t)
    options = one_op.options_of(one.options)
    patch.insert_op(graph, 0, one.code, read, made, version=one.version, options=options)
    graph.tree.outputs = made
    return model


def _settle(model: Model) -> None:
    """Write the outputs' shapes: XNNPACK takes no op whose file does not state them."""
    graph = model.graphs[0]
    interpreter = open_interpreter(model.to_bytes(), kernels="builtin")
    for t, detail in zip(graph.outputs, interpreter.get_output_details(), strict=True):
        graph.tensors[t].shape = [int(d) for d in detail["shape"]]


def codes(rng: Random, t: T) -> np.ndarray:
    """Random values of the tensor's type; whole range, ends included."""
    if t.dtype == "float32":
        return rng.normal(0, 3, t.shape).astype(np.float32)
    if t.dtype == "bool":
        return rng.integers(0, 2, t.shape).astype(bool)
    ends = np.iinfo(t.dtype)
    values = np.asarray(rng.integers(ends.min, ends.max, t.shape, endpoint=True), t.dtype)
    flat = values.reshape(-1)
    if flat.size > 1:
        flat[rng.integers(flat.size)], flat[rng.integers(flat.size)] = ends.min, ends.max
    return values


def feeds(rng: Random, one: OneOp) -> dict[str, np.ndarray]:
    """A feed of every input."""
    return {
        f"x{k}": np.asarray(one.feeds[k]) if k in one.feeds else codes(rng, t)
        for k, t in enumerate(one.inputs)
        if t is not None and t.values is None
    }


def snap(one: OneOp) -> OneOp:
    """The same with every scale the nearest power of two: ties abound."""

    def near(t: T | None) -> T | None:
        if t is None or t.scale is None:
            return t
        return replace(t, scale=np.exp2(np.rint(np.log2(np.asarray(t.scale, np.float64)))))

    inputs, outputs = tuple(near(t) for t in one.inputs), tuple(near(t) for t in one.outputs)
    return replace(one, inputs=inputs, outputs=outputs)


def reals(one: OneOp, fed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the codes of a feed stand for; ids, masks and floats as they are."""
    found = {}
    for name, values in fed.items():
        t = one.inputs[int(name[1:])]
        if t is None or t.scale is None:
            found[name] = values
        else:
            shifted = values.astype(np.int32) - int(np.atleast_1d(t.zero)[0])
            found[name] = (shifted * np.float32(t.scale)).astype(np.float32)
    return found
