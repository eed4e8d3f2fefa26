"""Run a model with one of LiteRT's kernel sets, every tensor kept, and read calls of its ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tfq_ext.errors import ModelError
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import (
    allocate_tensors,
    input_tensors,
    is_stateful,
    open_interpreter,
)
from tfq_ext.tflite.runner import Port
from tfq_ext.tflite.stage import stage
from tfq_ext.validation.integer.call import Array, Call, Grid

Read = Callable[[int], Array]


class Recorder:
    """An interpreter of the first subgraph on one kernel set, all tensors kept.

    Args:
        model: parsed; content: the same as bytes.
        kernels: of tflite.run.KERNEL_SETS.

    Raises:
        ModelError: LiteRT refuses the model.
    """

    def __init__(self, model: Model, content: bytes, kernels: str):
        self._model = model
        self._content = content
        self._kernels = kernels
        self._stateful = is_stateful(model)
        self._names = input_tensors(model, model.primary)
        self._interpreter: Any = None

    def _open(self) -> None:
        self._interpreter = open_interpreter(
            self._content, keep=True, allocate=False, kernels=self._kernels
        )
        details = {d["index"]: d for d in self._interpreter.get_input_details()}
        self._ports = {name: Port.of(name, details[t]) for name, t in self._names.items()}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def invoke(self, inputs: Mapping[str, Array]) -> Read:
        """Run one sample of reals (ids and masks as they are).

        Returns:
            `read(tensor index) -> values`, a copy.

        Raises:
            ModelError: LiteRT cannot load or run it. DataError: an input that has no code.
        """
        if self._interpreter is None or self._stateful:
            self._open()
        codes = {name: port.encode(inputs[name]) for name, port in self._ports.items()}
        try:
            self._feed(codes)
            stage("invoke")
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not run the model: {error}") from None
        return lambda i: np.asarray(self._interpreter.get_tensor(i))

    def delegated(self) -> frozenset[int] | None:
        """Tensors that the delegate writes; None where LiteRT does not tell."""
        details = getattr(self._interpreter, "_get_ops_details", None)
        if details is None:
            return None
        taken = [d["outputs"] for d in details() if d["op_name"] == "DELEGATE"]
        return frozenset(int(t) for outputs in taken for t in outputs)

    def _feed(self, codes: Mapping[str, Array]) -> None:
        shapes = {name: np.shape(x) for name, x in codes.items()}
        if shapes != self._shapes:
            for name, port in self._ports.items():
                self._interpreter.resize_tensor_input(port.index, list(shapes[name]))
            allocate_tensors(self._interpreter)
            self._shapes = shapes
        for name, port in self._ports.items():
            self._interpreter.set_tensor(port.index, codes[name])


def grid_of(graph: Graph, tensor: int, shape: tuple[int, ...]) -> Grid:
    """What the file says of a tensor, and its shape in this call."""
    q = graph.tensors[tensor].quantization
    scale = () if q is None or q.scale is None else q.scale
    zero = () if q is None or q.zeroPoint is None else q.zeroPoint
    return Grid(
        graph.dtype(tensor),
        np.asarray(scale, np.float32),
        np.asarray(zero, np.int64),
        0 if q is None else int(q.quantizedDimension or 0),
        shape,
    )


def read_call(graph: Graph, op: Any, read: Read) -> tuple[Call, tuple[Array, ...]]:
    """An op's call with its recorded inputs, and the outputs recorded with them."""
    inputs, grids = [], []
    for t in (int(i) for i in op.inputs):
        values = None if t < 0 else graph.constant(t)
        if t >= 0 and values is None:
            values = read(t)
        inputs.append(values)
        grids.append(None if values is None else grid_of(graph, t, values.shape))
    recorded = tuple(read(int(t)) for t in op.outputs)
    outputs = tuple(
        grid_of(graph, int(t), r.shape) for t, r in zip(op.outputs, recorded, strict=True)
    )
    call = Call(graph.code(op), op.builtinOptions, tuple(inputs), tuple(grids), outputs)
    return call, recorded
