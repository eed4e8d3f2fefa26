"""Run a float .tflite in LiteRT with every tensor kept, and hand out views of them."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from tfq_ext._table import Table
from tfq_ext.errors import ModelError
from tfq_ext.tflite.facts import STATEFUL
from tfq_ext.tflite.read import Model, text
from tfq_ext.tflite.stage import stage, watched


class Keeper:
    """An interpreter of one signature that keeps all tensors.

    Args:
        model: the float model.
        signature: key of the signature to run; None for the first subgraph.
        threads: LiteRT threads.
        content: the model's bytes, where the caller has them already.

    A stateful model (variables, sequence LSTM) gets a fresh interpreter for every sample,
    because `reset_all_variables` does not restore it.
    """

    def __init__(
        self,
        model: Model,
        *,
        signature: str | None = None,
        threads: int = 2,
        content: bytes | None = None,
    ):
        self.model = model
        self.graph = model.graph_of(signature)
        self.signature = signature if signature in model.signatures else None
        self._threads = threads
        self._content = model.to_bytes() if content is None else content
        self._stateful = is_stateful(model)
        self._interpreter: Any = None
        self._runner: Any = None
        self._names = input_tensors(model, signature)
        self._fresh()

    def _fresh(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._interpreter = open_interpreter(
                self._content, threads=self._threads, keep=True, allocate=False
            )
        if self.graph.index:
            self._runner = self._interpreter.get_signature_runner(self.signature)
        self._invoked = False
        self._shapes: dict[int, tuple[int, ...]] = {}  # as last set; asking LiteRT costs 20 us

    def invoke(self, inputs: Mapping[str, np.ndarray]) -> Callable[[int], np.ndarray]:
        """Run one sample; returns `read(tensor index) -> array`.

        The array is a view into the interpreter, valid until the next `invoke` (a copy for
        subgraphs other than the first).
        """
        if self._stateful and self._invoked:
            self._fresh()
        self._invoked = True
        try:
            return self._run(inputs)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"LiteRT could not run the model: {reason(error)}") from None

    def _run(self, inputs: Mapping[str, np.ndarray]) -> Callable[[int], np.ndarray]:
        if self._runner is not None:
            stage("invoke")
            self._runner(**inputs)
            index = self.graph.index
            return lambda i: self._interpreter.get_tensor(i, index)
        resized = not self._shapes  # a fresh interpreter is allocated on its first sample
        for name, i in self._names.items():
            shape = np.shape(inputs[name])
            if self._shapes.get(i) != shape:
                if self._current(i) != list(shape):
                    self._interpreter.resize_tensor_input(i, list(shape))
                    resized = True
                self._shapes[i] = shape
        if resized:
            allocate_tensors(self._interpreter)
        for name, i in self._names.items():
            self._interpreter.set_tensor(i, inputs[name])
        stage("invoke")
        self._interpreter.invoke()
        return lambda i: self._interpreter.tensor(i)()

    def _current(self, tensor: int) -> list[int]:
        for d in self._interpreter.get_input_details():
            if d["index"] == tensor:
                return [int(n) for n in d["shape"]]
        return []


def is_stateful(model: Model) -> bool:
    """Whether an op remembers something from one sample to the next."""
    return any(code in STATEFUL for _, _, _, code in model.walk())


def input_tensors(model: Model, signature: str | None) -> dict[str, int]:
    """Input name -> tensor index: the signature's names, or the tensors' own without one."""
    if signature in model.signatures:
        entries = model.signatures[str(signature)].inputs or ()
        return {text(entry.name): int(entry.tensorIndex) for entry in entries}
    graph = model.graph_of(signature)
    return {graph.name(i): i for i in graph.inputs}


# Whose arithmetic runs: the default delegate, LiteRT's optimized kernels, its reference ones.
KERNEL_SETS: Table[OpResolverType] = Table(
    "kernel set",
    {
        "xnnpack": OpResolverType.AUTO,
        "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        "reference": OpResolverType.BUILTIN_REF,
    },
)


def open_interpreter(
    content: bytes,
    *,
    threads: int = 1,
    keep: bool = False,
    allocate: bool = True,
    kernels: str = "xnnpack",
) -> Interpreter:
    """An interpreter, its memory allocated unless the caller wants to set shapes first.

    Args:
        content: the .tflite.
        threads: LiteRT threads.
        keep: all tensors stay readable after a run.
        allocate: at once.
        kernels: of KERNEL_SETS.

    Raises:
        ModelError: LiteRT refuses the model (unknown custom op, damaged file).
    """
    try:
        stage("load")
        with _without_greeting():
            interpreter = Interpreter(
                model_content=content,
                num_threads=threads,
                experimental_preserve_all_tensors=keep,
                experimental_op_resolver_type=KERNEL_SETS[kernels],
            )
        if allocate:
            allocate_tensors(interpreter)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"LiteRT cannot load this model: {reason(error)}") from None
    return interpreter


def reason(error: Exception) -> str:
    """LiteRT's own words, or what its silence means: an allocation that fails says nothing."""
    if isinstance(error, UnicodeDecodeError):
        return (
            "a tensor's name is not UTF-8 text, which LiteRT's Python interface cannot read (the "
            "C++ and Java ones can). Rename the tensor."
        )
    text = re.sub(r"(.{8,}?)\1+", r"\1", " ".join(str(error).split()))  # said once per delegate
    if text and not re.fullmatch(r"Node number \d+ \(\w+\) failed to invoke\.", text):
        return text
    silent = "no reason given; as a rule it cannot get the memory that the shapes ask for."
    return f"{text} {silent}".strip()


def allocate_tensors(interpreter: Interpreter) -> None:
    """Give an interpreter its memory, without LiteRT's greeting on the terminal."""
    stage("allocate")
    with _without_greeting():
        interpreter.allocate_tensors()


_GREETING = b"INFO: Created TensorFlow Lite XNNPACK delegate"
_greeted: list[bool] = []  # LiteRT says it once a process


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep LiteRT's line about its delegate off the terminal; all else that it says passes."""
    if _greeted or watched():  # a crash's last words must get out of a sandbox's child
        yield
        return
    try:
        before = os.dup(2)
    except OSError:  # descriptor 2 is closed: there is no terminal to spare
        yield
        return
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            sink.seek(0)
            for line in sink.readlines():
                if line.startswith(_GREETING):
                    _greeted.append(True)
                else:
                    os.write(2, line)
