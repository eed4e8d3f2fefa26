"""What damaged files are put through; each returns, or raises a TfqError."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from tfq_ext.errors import TfqError
from tfq_ext.tflite.arithmetic import arithmetic
from tfq_ext.tflite.read import Graph, Model
from tfq_ext.validation.sandbox import Child, Limits, ModelDied

LIMITS = Limits(memory_bytes=2 * 2**30, seconds=5.0)
MOST_FED = 2**22  # elements


class Target:
    """One thing to do with a file. `deaths` counts the children that it cost."""

    deaths = 0

    def __call__(self, data: bytes) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what lives on between files."""


class Calls(Target):
    """A function of the file's bytes in this process, and then something with its result."""

    def __init__(self, function: Callable[[bytes], Any], then: Callable[[Any], Any]):
        self.function, self.then = function, then

    def __call__(self, data: bytes) -> None:
        self.then(self.function(data))


class Runs(Target):
    """LiteRT on ones, in a child that serves until a file kills it."""

    def __init__(self) -> None:
        self.child = Child(LIMITS)

    def __call__(self, data: bytes) -> None:
        if not self.child.alive:
            self.child = Child(LIMITS)
        try:
            runner = self.child.make("tfq_ext.tflite.runner:Runner", data)
            feeds = {name: _ones(port) for name, port in runner.get("inputs").items()}
            runner.call("__call__", feeds)
            runner.drop()
        except ModelDied:
            self.deaths += 1
            raise

    def close(self) -> None:
        self.child.close()


def _ones(port: Any) -> np.ndarray:
    shape = [1 if n < 0 else n for n in port.shape]
    if np.prod(shape, dtype=float) > MOST_FED:
        shape = [1]
    return np.ones(shape, port.dtype if port.dtype.kind != "O" else np.float32)


def read_all(model: Model) -> None:
    """Every accessor of Model and Graph."""
    for graph, _, op, _ in model.walk():
        arithmetic(graph, op)
    for graph in model.graphs:
        _ = graph.producer, graph.consumers, graph.by_name, graph.inputs, graph.outputs
        for t in range(len(graph.tensors)):
            _ = graph.name(t), graph.dtype(t), graph.shape(t), graph.is_constant(t)
            _constant(graph, t)
    for key in model.signatures:
        model.graph_of(key)


def _constant(graph: Graph, tensor: int) -> None:
    with suppress(TfqError):  # too short, text: allowed for one tensor of a file
        graph.constant(tensor)


def _late(module: str, name: str) -> Callable[[bytes], Any]:
    return lambda data: getattr(import_module(module), name)(data)


def _told(report: Any) -> None:
    """A report must also be printable and go to JSON."""
    str(report)
    report.to_json() if hasattr(report, "to_json") else report.to_dict()


# name -> (module that must exist, maker)
_ROWS: dict[str, tuple[str, Callable[[], Target]]] = {
    "parse": ("tfq_ext.tflite.read", lambda: Calls(Model.parse, read_all)),
    "inspect": (
        "tfq_ext.validation.inspection",
        lambda: Calls(_late("tfq_ext.validation.inspection", "inspect"), _told),
    ),
    "lint": (
        "tfq_ext.validation.lint",
        lambda: Calls(_late("tfq_ext.validation.lint", "lint"), _told),
    ),
    "run": ("tfq_ext.validation.sandbox", Runs),
}
TARGETS = {name: make for name, (module, make) in _ROWS.items() if find_spec(module) is not None}
