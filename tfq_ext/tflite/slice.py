"""Cut one op out of a graph and run it alone: the bench on which choices are compared."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfq_ext.errors import ModelError
from tfq_ext.tflite.facts import CONTROL, STATEFUL
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.tflite.run import allocate_tensors, open_interpreter


def can_cut(graph: Graph, op_index: int) -> bool:
    """False for ops that need the rest of the model: state, control flow, custom kernels."""
    code = graph.code(graph.ops[op_index])
    return code not in CONTROL | STATEFUL and not code.startswith(("CUSTOM:", "FLEX:"))


def cut(graph: Graph, ops: Sequence[int]) -> Model:
    """A model of the ops numbered `ops` (ascending) of one subgraph.

    Its inputs are the activations that they read and do not make, in order of first use; its
    outputs are what they make and do not read. Constants share their bytes with the original.
    """
    chosen = [graph.ops[k] for k in ops]
    made = dict.fromkeys(int(t) for op in chosen for t in op.outputs)
    read = dict.fromkeys(int(t) for op in chosen for t in op.inputs if t >= 0)
    order = list(dict.fromkeys([*read, *made]))
    place = {t: k for k, t in enumerate(order)}
    sub = schema.SubGraphT()
    sub.name = b"cut"
    sub.tensors = [copy.copy(graph.tensors[t]) for t in order]
    sub.inputs = [place[t] for t in read if t not in made and not graph.is_constant(t)]
    sub.outputs = [place[t] for t in made if t not in read or t in graph.outputs]
    sub.operators = []
    for op in chosen:
        twin = copy.copy(op)
        twin.inputs = [place[int(t)] if t >= 0 else -1 for t in op.inputs]
        twin.outputs = [place[int(t)] for t in op.outputs]
        twin.intermediates = []
        sub.operators.append(twin)
    return Model(_wrap(graph.model, sub))


def _wrap(model: Model, sub: schema.SubGraphT) -> schema.ModelT:
    """A model of one subgraph that holds only the buffers which it uses."""
    tree = schema.ModelT()
    tree.version = model.tree.version
    tree.operatorCodes = model.tree.operatorCodes
    tree.subgraphs = [sub]
    empty = schema.BufferT()
    tree.buffers = [empty]
    moved: dict[int, int] = {0: 0}
    for t in sub.tensors:
        if t.buffer not in moved:
            source = model.tree.buffers[t.buffer]
            if source.data is None:
                moved[t.buffer] = 0
            else:
                moved[t.buffer] = len(tree.buffers)
                tree.buffers.append(source)
        t.buffer = moved[t.buffer]
    return tree


class Bench:
    """One op on its own interpreter.

    Args:
        graph, op_index: the op.
        threads: LiteRT threads.
    """

    def __init__(self, graph: Graph, op_index: int, *, threads: int = 1):
        if not can_cut(graph, op_index):
            raise ModelError(f"{graph.code(graph.ops[op_index])} cannot run on its own.")
        op = graph.ops[op_index]
        self.feeds = [
            t
            for t in dict.fromkeys(int(i) for i in op.inputs if i >= 0)
            if not graph.is_constant(t)
        ]
        self.results = [int(t) for t in op.outputs]
        content = cut(graph, [op_index]).to_bytes()
        self._interpreter = open_interpreter(content, threads=threads, allocate=False)
        # Where shapes are dynamic the file has 1 for each unknown, which need not fit a weight:
        # memory is asked for once the shapes of all inputs have been seen.
        self._waiting: dict[int, np.ndarray] | None = {}
        self._inputs = [d["index"] for d in self._interpreter.get_input_details()]
        self._outputs = [d["index"] for d in self._interpreter.get_output_details()]

    def set(self, values: Mapping[int, np.ndarray]) -> None:
        """Feed activations by tensor index of the original graph; shapes may change."""
        if self._waiting is not None:
            self._waiting |= {t: values[t] for t in self.feeds if t in values}
            if len(self._waiting) == len(self.feeds):
                self._allocate(self._waiting)
            return
        resized = False
        for tensor, place in zip(self.feeds, self._inputs, strict=True):
            if tensor not in values:
                continue
            current = self._interpreter.tensor(place)().shape
            if current != values[tensor].shape:
                self._interpreter.resize_tensor_input(place, values[tensor].shape)
                resized = True
        if resized:
            allocate_tensors(self._interpreter)
        for tensor, place in zip(self.feeds, self._inputs, strict=True):
            if tensor in values:
                self._interpreter.set_tensor(place, values[tensor])

    def _allocate(self, values: Mapping[int, np.ndarray]) -> None:
        places = list(zip(self.feeds, self._inputs, strict=True))
        for tensor, place in places:
            self._interpreter.resize_tensor_input(place, np.shape(values[tensor]))
        allocate_tensors(self._interpreter)
        for tensor, place in places:
            self._interpreter.set_tensor(place, values[tensor])
        self._waiting = None

    def _invoke(self) -> None:
        if self._waiting is not None:  # an op that reads constants only
            self._allocate(self._waiting)
        self._interpreter.invoke()

    def run(self) -> np.ndarray:
        """Invoke; a view of the first output, valid until the next call."""
        self._invoke()
        return self._interpreter.tensor(self._outputs[0])()

    def run_all(self) -> dict[int, np.ndarray]:
        """Invoke; copies of all outputs by tensor index of the original graph."""
        self._invoke()
        return {
            tensor: self._interpreter.get_tensor(place)
            for tensor, place in zip(self.results, self._outputs, strict=True)
        }
